//! One thread that reads.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::shape::Expected;
use super::{Found, Report};

/// How many different errors are kept word by word.
const SAMPLES: usize = 20;

/// A file and what was read from it before.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    kept: Option<File>,
    refused: Option<i32>,
    expected: Expected,
}

/// What a thread has done so far, for others to see.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Done>);

/// The contents of [`Progress`].
#[derive(Debug, Default)]
pub(super) struct Done {
    /// How many reads have ended.
    pub(super) ended: u64,
    /// How often all files have been read.
    pub(super) rounds: u64,
    kept: bool,
    /// What was met since the last report.
    report: Report,
    /// The read that it is in, and since when.
    now: Option<(PathBuf, Instant)>,
}

impl Progress {
    pub(super) fn lock(&self) -> MutexGuard<'_, Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Done {
    /// Adds what was met since the last report to `sum`, and begins anew.
    pub(super) fn move_to(&mut self, sum: &mut Report) {
        let files = self.report.files;
        let met = std::mem::take(&mut self.report);
        self.report.files = files;
        sum.files = files;
        sum.reads += met.reads;
        sum.kept_reads += met.kept_reads;
        sum.errors += met.errors;
        for (sample, count) in met.samples {
            *sum.samples.entry(sample).or_default() += count;
        }
        if met.longest > sum.longest {
            sum.longest = met.longest;
            sum.longest_of = met.longest_of;
        }
    }

    /// The read that it is in, and for how long.
    pub(super) fn now(&self) -> Option<String> {
        let (path, since) = self.now.as_ref()?;
        Some(format!("{} for {} ms", path.display(), since.elapsed().as_millis()))
    }

    fn book(&mut self, path: &Path, took: Duration, result: Result<(), String>) {
        self.now = None;
        self.ended += 1;
        let reads = if self.kept { &mut self.report.kept_reads } else { &mut self.report.reads };
        *reads += 1;
        if took > self.report.longest {
            self.report.longest = took;
            self.report.longest_of = path.display().to_string();
        }
        if let Err(error) = result {
            self.report.errors += 1;
            let sample = format!("{}: {error}", path.display());
            let full = self.report.samples.len() >= SAMPLES;
            let sample = if full && !self.report.samples.contains_key(&sample) {
                "others".to_owned()
            } else {
                sample
            };
            *self.report.samples.entry(sample).or_default() += 1;
        }
    }
}

/// A thread that has not begun yet.
#[derive(Debug)]
pub(super) struct Thread {
    files: Vec<Watched>,
    progress: Arc<Progress>,
}

impl Thread {
    /// One that reads `files`, over descriptors opened now if `kept`.
    pub(super) fn new(
        files: &[Found],
        kept: bool,
        mem_total_kib: Option<u64>,
    ) -> std::io::Result<Self> {
        let watch = |Found { path, refused }: &Found| {
            let keep = kept && refused.is_none();
            let kept = keep.then(|| File::open(path)).transpose().map_err(|error| {
                std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            let expected = Expected::of(path, mem_total_kib);
            Ok(Watched { path: path.clone(), kept, refused: *refused, expected })
        };
        let files: Vec<Watched> = files.iter().map(watch).collect::<std::io::Result<_>>()?;
        let report = Report { files: files.len(), ..Report::default() };
        let done = Done { kept, report, ..Done::default() };
        Ok(Self { files, progress: Arc::new(Progress(Mutex::new(done))) })
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Reads all files again and again.
    pub(super) fn run(mut self, stop: &AtomicBool) {
        let mut buffer = Vec::new();
        while !self.files.is_empty() {
            for file in &mut self.files {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let begin = Instant::now();
                self.progress.lock().now = Some((file.path.clone(), begin));
                buffer.clear();
                let result = file.read(&mut buffer);
                let took = begin.elapsed();
                let result = file.judge(result, &buffer);
                self.progress.lock().book(&file.path, took, result);
            }
            self.progress.lock().rounds += 1;
        }
    }
}

impl Watched {
    fn read(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        match &mut self.kept {
            Some(file) => {
                file.seek(SeekFrom::Start(0))?;
                file.read_to_end(buffer)?;
            }
            None => {
                File::open(&self.path)?.read_to_end(buffer)?;
            }
        }
        Ok(())
    }

    fn judge(&mut self, result: std::io::Result<()>, text: &[u8]) -> Result<(), String> {
        match (result, self.refused) {
            (Ok(()), None) => self.expected.check(text),
            (Ok(()), Some(_)) => Err("was refused at first, and is not any more".to_owned()),
            (Err(error), refused) if error.raw_os_error() == refused && refused.is_some() => Ok(()),
            (Err(error), _) => Err(error.to_string()),
        }
    }
}
