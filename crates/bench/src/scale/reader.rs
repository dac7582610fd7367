//! The process in each of many containers: asleep, but for a moment in each period.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::quantiles::Samples;

/// What procps reads with, or more.
const BUFFER_BYTES: usize = 65536;
/// A thread that only sleeps needs no more of a stack.
const STACK_BYTES: usize = 32 << 10;

/// What a reader is to do.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Task {
    /// Read each time it wakes up; none: it only wakes up.
    pub(crate) paths: Vec<PathBuf>,
    /// When it wakes up for the first time: so that readers do not all come at once.
    pub(crate) phase: Duration,
    pub(crate) period: Duration,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Done {
    /// Files read, from open to close.
    pub(crate) reads: u64,
    /// Of each path, how long a read took; 0 where there was none.
    pub(crate) p50_ns: Vec<u64>,
    /// The first read that failed.
    pub(crate) failed: Option<String>,
}

/// Does what it is told on standard input, as one of `tasks` threads, until that ends.
///
/// `has_mounts`: its mounts are its own, and `/proc` is to be that of its pid namespace.
pub(crate) fn serve(tasks: u32, has_mounts: bool) -> Result<()> {
    if has_mounts {
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
            .context("cannot mount /proc")?;
    }
    for _ in 1..tasks {
        let sleeper = std::thread::Builder::new().stack_size(STACK_BYTES);
        sleeper.spawn(|| {
            loop {
                std::thread::park();
            }
        })?;
    }
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let done = execute(&serde_json::from_str(&line?).context("a task that is none")?);
        serde_json::to_writer(&mut output, &done)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn execute(task: &Task) -> Done {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut samples: Vec<Vec<u64>> = vec![Vec::new(); task.paths.len()];
    let mut failed = None;
    let begin = Instant::now();
    let mut next = task.phase;
    while next < task.duration {
        std::thread::sleep(next.saturating_sub(begin.elapsed()));
        for (path, samples) in task.paths.iter().zip(&mut samples) {
            let begin = Instant::now();
            match read(path, &mut buffer) {
                Ok(()) => samples.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(0)),
                Err(error) => failed = failed.or(Some(format!("{error:#}"))),
            }
        }
        next += task.period;
    }
    let reads = samples.iter().map(|samples| samples.len() as u64).sum();
    let p50_ns = samples.into_iter().map(p50_ns).collect();
    Done { reads, p50_ns, failed }
}

fn p50_ns(samples: Vec<u64>) -> u64 {
    let mut all = Samples::default();
    all.push(samples);
    all.p50_ns()
}

fn read(path: &Path, buffer: &mut [u8]) -> Result<()> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("cannot open {}", path.display()))?;
    let what = || format!("cannot read {}", path.display());
    while rustix::io::read(&file, &mut *buffer).with_context(what)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(path: &Path) -> Task {
        Task {
            paths: vec![path.to_owned()],
            phase: Duration::from_millis(1),
            period: Duration::from_millis(2),
            duration: Duration::from_millis(6),
        }
    }

    #[test]
    fn as_many_reads_as_periods_however_late() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let done = execute(&task(file.path()));
        assert_eq!((done.reads, done.failed), (3, None));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let done = execute(&task(Path::new("/proc/none")));
        assert_eq!(done.reads, 0);
        assert!(done.failed.unwrap().contains("/proc/none"));
    }
}
