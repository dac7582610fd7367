//! The signals that `resview run` passes on, from the process that was started down to the command.
//!
//! Between two stages the signals are blocked: a blocked signal stays pending across fork's child
//! and exec, whereas one that reached a pid 1 without handlers would be lost.

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, kill_process, kill_process_group};
use signal_hook::iterator::Signals;

/// What is passed on. Left out: what cannot be caught, what a fault raises, CHLD and PIPE, which
/// are each process's own, and the stops, which come from the terminal to whom they concern.
const FORWARDED: [Signal; 11] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGIO,
    Signal::SIGPWR,
];

/// Between our own stages: give the command the terminal and continue it. Never reaches the
/// command; ignored by default, so it does no harm where nobody waits for it.
pub(super) const TAKE_TERMINAL: rustix::process::Signal = rustix::process::Signal::URG;

/// [`TAKE_TERMINAL`] as the number that arrives.
pub(super) const TAKEN_TERMINAL: i32 = signal_hook::consts::SIGURG;

/// A set of signals that are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored(u64);

impl Ignored {
    /// Whether signal number `signal` is ignored.
    pub(crate) fn contains(self, signal: i32) -> bool {
        let bit = u32::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
        bit.and_then(|bit| self.0.checked_shr(bit)).is_some_and(|bits| bits & 1 == 1)
    }

    /// Parses `SigIgn:` of `/proc/PID/status`: a mask in hexadecimal, signal n being bit n − 1.
    fn parse(status: &str) -> Self {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
    }
}

/// What this process ignores. A signal that was ignored when we were started (nohup, a background
/// job of a script) shall stay so, for us and for the command.
pub(crate) fn ignored_signals() -> Ignored {
    std::fs::read_to_string("/proc/self/status")
        .map(|text| Ignored::parse(&text))
        .unwrap_or_default()
}

/// The signals of one stage, taken over and waited for.
pub(super) struct Inbox {
    signals: Signals,
    mask: SigSet,
}

impl Inbox {
    /// Takes over every signal to be passed on, except ignored ones, and CHLD.
    pub(super) fn open() -> anyhow::Result<Self> {
        let ignored = ignored_signals();
        let forwarded: Vec<Signal> =
            FORWARDED.into_iter().filter(|&signal| !ignored.contains(signal as i32)).collect();
        let own = [Signal::SIGCHLD, Signal::SIGURG];
        let taken = forwarded.iter().chain(&own).map(|&signal| signal as i32);
        let signals = Signals::new(taken).context("cannot take over the signals")?;
        let mask = forwarded.into_iter().chain([Signal::SIGURG]).collect();
        Ok(Self { signals, mask })
    }

    /// Blocks what is passed on, for the next stage to inherit.
    pub(super) fn hold(&self) -> anyhow::Result<()> {
        self.mask.thread_block().context("cannot block signals")
    }

    /// Lets in what was held.
    pub(super) fn release(&self) -> anyhow::Result<()> {
        self.mask.thread_unblock().context("cannot unblock signals")
    }

    /// Waits until signals arrive; each kind once, in ascending order, CHLD among them.
    pub(super) fn wait(&mut self) -> Vec<i32> {
        self.signals.wait().collect()
    }
}

/// Unblocks everything that a stage may have held, in the process that becomes the command.
pub(super) fn release_all() -> anyhow::Result<()> {
    SigSet::all().thread_unblock().context("cannot unblock signals")
}

/// Runs `body` with TTOU blocked: a process in the background may set the terminal's foreground
/// group only so (ioctl_tty(2), TIOCSPGRP).
pub(super) fn without_ttou<T>(body: impl FnOnce() -> T) -> anyhow::Result<T> {
    let ttou = SigSet::from_iter([Signal::SIGTTOU]);
    ttou.thread_block().context("cannot block TTOU")?;
    let result = body();
    ttou.thread_unblock().context("cannot unblock TTOU")?;
    Ok(result)
}

/// Sends `signal` on to `pid`. That process may be gone, which is no error: its end is on the way.
pub(super) fn pass_on(signal: i32, pid: Pid) {
    if let Some(signal) = rustix::process::Signal::from_named_raw(signal) {
        let _ = kill_process(pid, signal);
    }
}

/// Sends `signal` on to the process group of `leader`, as a terminal would.
pub(super) fn pass_on_to_group(signal: rustix::process::Signal, leader: Pid) {
    let _ = kill_process_group(leader, signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let ignored = Ignored::parse("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n");
        assert!(ignored.contains(1) && ignored.contains(13));
        assert!(!ignored.contains(2) && !ignored.contains(0) && !ignored.contains(65));
        assert!(!ignored.contains(-1));
        assert_eq!(Ignored::parse("SigIgn:\tx\n"), Ignored::default());
    }

    #[test]
    fn rust_itself_ignores_pipe_only() {
        assert!(ignored_signals().contains(signal_hook::consts::SIGPIPE));
        assert!(!ignored_signals().contains(signal_hook::consts::SIGTERM));
    }
}
