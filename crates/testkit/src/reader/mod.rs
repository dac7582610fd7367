//! Readers that read a tree non-stop while the daemon behind it is killed, stopped and upgraded.
//!
//! Two threads read every file: one opens it for each read, one keeps it open from the beginning and
//! goes back to its start. Each read is looked at: an error, a text of the wrong shape, another memory size
//! than the container's, or a counter that has fallen is counted as an error.

pub mod program;
mod shape;
mod thread;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use thread::{Progress, Thread};

/// What to read, and what is known about it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Files, and directories of which every file is read. Symbolic links in a directory are
    /// resolved and not followed.
    pub paths: Vec<PathBuf>,
    /// What `MemTotal` of `/proc/meminfo` has to say, in KiB.
    pub mem_total_kib: Option<u64>,
}

/// Threads that read until they are told to stop.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    threads: Vec<(Arc<Progress>, std::thread::JoinHandle<()>)>,
}

/// What the threads met.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Files opened, read to their end and closed.
    pub reads: u64,
    /// Files read to their end over a descriptor that had been open since the beginning.
    pub kept_reads: u64,
    /// How many files there are.
    pub files: usize,
    /// How many of the reads were wrong.
    pub errors: u64,
    /// The first errors of each sort, and how many of that sort there were.
    pub samples: BTreeMap<String, u64>,
    /// The longest read.
    pub longest: Duration,
    /// Which file that was.
    pub longest_of: String,
    /// Reads that did not end, and for how long they had not.
    pub hung: Vec<String>,
}

/// A file, and the error number with which the kernel itself refuses to show it: some files of sysfs
/// stand for something that the machine does not have.
#[derive(Clone, Debug)]
struct Found {
    path: PathBuf,
    refused: Option<i32>,
}

impl Reader {
    /// Opens every file and starts to read.
    ///
    /// # Errors
    /// A file that cannot be read or listed. One of sysfs may refuse with an error of its own; it
    /// has to go on doing so.
    pub fn start(wanted: &Wanted) -> std::io::Result<Self> {
        let mut files = Vec::new();
        for path in &wanted.paths {
            find(path, &mut files)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for kept in [false, true] {
            let thread = Thread::new(&files, kept, wanted.mem_total_kib)?;
            let progress = thread.progress();
            let stop = Arc::clone(&stop);
            threads.push((progress, std::thread::spawn(move || thread.run(&stop))));
        }
        Ok(Self { stop, threads })
    }

    /// Waits until every thread has read every file anew; says whether that happened within
    /// `patience`.
    #[must_use]
    pub fn wait_round(&self, patience: Duration) -> bool {
        let rounds = || self.threads.iter().map(|(progress, _)| progress.lock().rounds);
        // The round that a thread is in does not count: it has read some files already.
        let wanted: Vec<u64> = rounds().map(|round| round + 2).collect();
        until(patience, || rounds().zip(&wanted).all(|(round, wanted)| round >= *wanted))
    }

    /// What was met since the last report, or since the start. Waits at most `patience` for the
    /// reads that have begun.
    #[must_use]
    pub fn report(&self, patience: Duration) -> Report {
        let ended = || self.threads.iter().map(|(progress, _)| progress.lock().ended);
        let before: Vec<u64> = ended().collect();
        until(patience, || ended().zip(&before).all(|(ended, before)| ended > *before));
        let mut report = Report::default();
        for ((progress, _), before) in self.threads.iter().zip(before) {
            let mut progress = progress.lock();
            progress.move_to(&mut report);
            if progress.ended == before {
                report.hung.extend(progress.now());
            }
        }
        report
    }

    /// Lets every thread end its read, waiting at most `patience`, and says what was met since the
    /// last report.
    #[must_use]
    pub fn stop(self, patience: Duration) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        until(patience, || self.threads.iter().all(|(_, thread)| thread.is_finished()));
        let mut report = Report::default();
        for (progress, thread) in &self.threads {
            let mut progress = progress.lock();
            progress.move_to(&mut report);
            if !thread.is_finished() {
                report.hung.extend(progress.now());
            }
        }
        report
    }
}

/// Waits until something is so, at most for `patience`; says whether it is.
fn until(patience: Duration, so: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !so() {
        if begin.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

impl Report {
    /// Whether every read was right.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.errors == 0 && self.hung.is_empty() && self.reads > 0 && self.kept_reads > 0
    }

    /// The report in one line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        json!({
            "good": self.is_good(),
            "reads": self.reads,
            "kept_reads": self.kept_reads,
            "files": self.files,
            "errors": self.errors,
            "samples": self.samples,
            "longest_ms": u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX),
            "longest_of": self.longest_of,
            "hung": self.hung,
        })
        .to_string()
    }
}

fn find(path: &Path, files: &mut Vec<Found>) -> std::io::Result<()> {
    let named = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    let kind = std::fs::symlink_metadata(path).map_err(named)?.file_type();
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).map_err(named)? {
            find(&entry.map_err(named)?.path(), files)?;
        }
    } else if kind.is_symlink() {
        std::fs::read_link(path).map_err(named)?;
    } else if kind.is_file() {
        let read = File::open(path).and_then(|mut file| file.read_to_end(&mut Vec::new()));
        let refused = match read {
            Ok(_) => None,
            Err(error) if may_refuse(path) && error.raw_os_error().is_some() => {
                error.raw_os_error()
            }
            Err(error) => return Err(named(error)),
        };
        files.push(Found { path: path.to_owned(), refused });
    } else {
        files.push(Found { path: path.to_owned(), refused: None });
    }
    Ok(())
}

fn may_refuse(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "sys")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(dir: &Path) -> Wanted {
        Wanted { paths: vec![dir.to_owned()], mem_total_kib: Some(1000) }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_good_tree_is_read_both_ways_without_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("meminfo"), "MemTotal:  1000 kB\nMemFree:  10 kB\n")
            .unwrap();
        std::fs::write(dir.path().join("uptime"), "12.34 5.60\n").unwrap();
        let reader = Reader::start(&wanted(dir.path())).unwrap();
        assert!(reader.wait_round(LONG));
        let report = reader.stop(LONG);
        assert!(report.is_good(), "{report:?}");
        assert_eq!(report.files, 2);
    }

    #[test]
    fn what_goes_wrong_meanwhile_is_counted_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (meminfo, uptime) = (dir.path().join("meminfo"), dir.path().join("uptime"));
        std::fs::write(&meminfo, "MemTotal:  1000 kB\n").unwrap();
        std::fs::write(&uptime, "12.34 5.60\n").unwrap();
        let reader = Reader::start(&wanted(dir.path())).unwrap();
        assert!(reader.wait_round(LONG));
        std::fs::write(&meminfo, "MemTotal:  2000 kB\n").unwrap();
        std::fs::remove_file(&uptime).unwrap();
        assert!(reader.wait_round(LONG));
        let report = reader.stop(LONG);
        assert!(!report.is_good());
        let samples: Vec<_> = report.samples.keys().map(String::as_str).collect();
        assert!(samples.iter().any(|sample| sample.contains("MemTotal is 2000 kB")), "{samples:?}");
        assert!(samples.iter().any(|sample| sample.contains("No such file")), "{samples:?}");
    }

    #[test]
    fn a_report_begins_where_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let uptime = dir.path().join("uptime");
        std::fs::write(&uptime, "12.34 5.60\n").unwrap();
        let reader = Reader::start(&wanted(dir.path())).unwrap();
        std::fs::write(&uptime, "nothing\n").unwrap();
        assert!(reader.wait_round(LONG));
        assert!(reader.report(LONG).errors > 0);
        std::fs::write(&uptime, "13.34 5.60\n").unwrap();
        assert!(reader.wait_round(LONG));
        let _ = reader.report(LONG);
        assert!(reader.wait_round(LONG));
        let report = reader.stop(LONG);
        assert!(report.is_good(), "{report:?}");
    }

    #[test]
    fn a_file_of_sysfs_that_refused_has_to_go_on_refusing() {
        let dir = tempfile::tempdir().unwrap();
        let sys = dir.path().join("sys");
        std::fs::create_dir(&sys).unwrap();
        std::fs::write(sys.join("good"), "1\n").unwrap();
        let mut files = Vec::new();
        find(&sys, &mut files).unwrap();
        files[0].refused = Some(rustix::io::Errno::IO.raw_os_error());
        let thread = Thread::new(&files, false, None).unwrap();
        let progress = thread.progress();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || thread.run(&stopped));
        assert!(until(LONG, || progress.lock().rounds > 0));
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        let mut report = Report::default();
        progress.lock().move_to(&mut report);
        assert!(report.samples.keys().any(|sample| sample.contains("refused")), "{report:?}");
    }

    #[test]
    fn a_reader_that_hangs_is_reported_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Held open here, so that opening it does not wait, and reading it does.
        let _held = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let reader = Reader::start(&wanted(dir.path())).unwrap();
        assert!(!reader.wait_round(Duration::from_millis(200)));
        assert!(until(LONG, || reader.threads[0].0.lock().now().is_some()));
        let report = reader.stop(Duration::from_millis(200));
        // The other thread cannot go back to the start of a pipe, which is an error.
        assert_eq!(report.hung.len(), 1, "{report:?}");
        assert!(!report.is_good());
    }
}
