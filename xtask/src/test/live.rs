//! Running a command whose output is shown as it comes and kept as well, within a time limit.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The longest that one command may take. A reader of a hung file system waits for ever.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// How long a process that outlived the command may still hold its output.
const GRACE: Duration = Duration::from_secs(2);

/// What a command printed, and whether it exited with 0.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Standard output and standard error, as they came.
    pub(crate) output: String,
    /// Whether the exit status was 0.
    pub(crate) good: bool,
}

/// Runs `command` to its end.
///
/// # Errors
/// When it cannot be started, or takes longer than 25 minutes.
pub(crate) fn run(command: &mut Command) -> Result<Ended> {
    let name = format!("{}", command.get_program().display());
    let (mut reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    // The command holds the writing end; as long as it does, the reader sees no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let (sender, chunks) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });

    let mut tee = Tee::default();
    let begin = Instant::now();
    let status = loop {
        tee.drain(&chunks, Duration::from_millis(50))?;
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > LIMIT {
            kill_tree(child.id());
            let _ = child.wait();
            bail!("{name} did not end within {} s", LIMIT.as_secs());
        }
    };
    while tee.drain(&chunks, GRACE)? {}
    Ok(Ended { output: tee.text(), good: status.success() })
}

/// Shows what is written to it, and keeps it.
#[derive(Debug, Default)]
pub(crate) struct Tee {
    kept: Vec<u8>,
}

impl Tee {
    /// What was written so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }

    /// Takes the next chunk, waiting for it no longer than `patience`; says whether there was one.
    fn drain(&mut self, chunks: &Receiver<Vec<u8>>, patience: Duration) -> Result<bool> {
        match chunks.recv_timeout(patience) {
            Ok(chunk) => {
                self.write_all(&chunk)?;
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                // The command closed its output and still runs.
                std::thread::sleep(patience.min(Duration::from_millis(50)));
                Ok(false)
            }
        }
    }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        self.kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Kills a process and all that descend from it, the youngest first.
fn kill_tree(pid: u32) {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).for_each(kill_tree);
    }
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sh;

    #[test]
    fn output_and_errors_are_kept_in_order() {
        let ended = run(&mut sh::script("echo a; echo b >&2; echo c; exit 3", &[])).unwrap();
        assert_eq!(ended.output, "a\nb\nc\n");
        assert!(!ended.good);
    }

    #[test]
    fn a_process_left_behind_holds_nobody_up() {
        let ended = run(&mut sh::script("echo done; sleep 20 &", &[])).unwrap();
        assert_eq!((ended.output.as_str(), ended.good), ("done\n", true));
    }
}
