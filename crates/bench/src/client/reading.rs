//! Open, read to the end, close: how long it takes, and how often it can be done.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags};

use crate::protocol::{Latency, Report};
use crate::quantiles::Samples;

/// As much as `cat` reads at once, or more: the second read finds the end, of every file but the
/// longest.
const BUFFER_BYTES: usize = 65536;

/// How often a file is read below a root before times are taken: what was read there before it shall
/// not be at its cost.
const WARM_UP: u32 = 3;

/// Reads the file below each root in turn, in a different order each round.
pub(super) fn latency(
    roots: &[PathBuf],
    file: &str,
    rounds: u32,
    reads: u32,
    gap: Duration,
) -> Result<Report> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut samples = vec![Samples::default(); roots.len()];
    let mut order: Vec<_> = roots.iter().enumerate().collect();
    for _ in 0..rounds {
        for (number, root) in &order {
            let times = round(root, file, reads, gap, &mut buffer)?;
            if let Some(samples) = samples.get_mut(*number) {
                samples.push(times);
            }
        }
        order.rotate_left(1.min(roots.len()));
    }
    let of = |one: &Samples| Latency { p50_ns: one.p50_ns(), p99_ns: one.p99_ns() };
    Ok(Report::Latency(samples.iter().map(of).collect()))
}

/// The times of `reads` reads, in nanoseconds.
fn round(
    root: &Path,
    file: &str,
    reads: u32,
    gap: Duration,
    buffer: &mut [u8],
) -> Result<Vec<u64>> {
    enter(root)?;
    for _ in 0..WARM_UP {
        read(file, buffer)?;
    }
    let mut times = Vec::with_capacity(usize::try_from(reads)?);
    for _ in 0..reads {
        wait(gap);
        let begin = Instant::now();
        read(file, buffer)?;
        times.push(u64::try_from(begin.elapsed().as_nanos())?);
    }
    Ok(times)
}

/// From here, the path of the file has as many parts as in a container, below whatever root.
fn enter(root: &Path) -> Result<()> {
    std::env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))
}

/// Sleeping would let the CPU go to sleep too, and waking it costs more than what is measured.
fn wait(gap: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < gap {
        std::hint::spin_loop();
    }
}

fn read(path: &str, buffer: &mut [u8]) -> Result<()> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("cannot open {path}"))?;
    while rustix::io::read(&file, &mut *buffer).with_context(|| format!("cannot read {path}"))? > 0
    {
    }
    Ok(())
}

/// Has several clients read at once.
///
/// Each is a process of its own: threads of one share its table of descriptors and its lock.
pub(super) fn rate(root: &Path, file: &str, clients: u32, duration: Duration) -> Result<Report> {
    let mut clients =
        (0..clients).map(|_| Reader::start(root, file)).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.go(duration)?;
    }
    let (mut per_second, mut all): (f64, u64) = (0.0, 0);
    for mut client in clients {
        let (reads, rate) = client.ended()?;
        all += reads;
        per_second += rate;
    }
    Ok(Report::Rate { per_second, reads: all })
}

/// A client that waits to be told how long to read.
struct Reader {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Reader {
    fn start(root: &Path, file: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("__reader").arg(root).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a reader")?;
        let says = BufReader::new(child.stdout.take().context("a child without a pipe")?);
        let mut reader = Self { child, says };
        ensure!(reader.line()? == "ready", "a reader of {file} has not begun");
        Ok(reader)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn go(&mut self, duration: Duration) -> Result<()> {
        let mut input = self.child.stdin.take().context("a child without a pipe")?;
        Ok(writeln!(input, "{}", duration.as_secs_f64())?)
    }

    /// How often it has read, and how often in a second.
    fn ended(&mut self) -> Result<(u64, f64)> {
        let line = self.line()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "a reader has ended with {status}");
        let (reads, rate) = line.split_once(' ').context("a reader has said nothing")?;
        Ok((reads.parse()?, rate.parse()?))
    }
}

/// One client: reads for as long as its standard input says, and prints how often it did in all, the
/// first reads included, which cost the server as much, and how often in a second.
#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
pub(crate) fn reader(root: &Path, file: &str) -> Result<()> {
    enter(root)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    for _ in 0..WARM_UP {
        read(file, &mut buffer)?;
    }
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let duration = Duration::from_secs_f64(line.trim().parse().context("no duration")?);
    let begin = Instant::now();
    let mut reads: u64 = 0;
    while begin.elapsed() < duration {
        read(file, &mut buffer)?;
        reads += 1;
    }
    let rate = reads as f64 / begin.elapsed().as_secs_f64();
    println!("{} {rate}", reads + u64::from(WARM_UP));
    Ok(())
}
