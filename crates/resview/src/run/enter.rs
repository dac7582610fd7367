//! The second process: makes the namespaces, starts pid 1 in them and passes signals on to it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Signal, WaitOptions, getppid, set_parent_process_death_signal};

use super::plan::Plan;
use super::signals::{self, Inbox};
use super::{mounts, pid_of, poll, timens};
use crate::cli::StageName;
use crate::exit_codes::Code;

pub(super) fn main(command: &[OsString]) -> anyhow::Result<Code> {
    let plan = Plan::receive()?;
    die_with_parent()?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    ensure!(parent == Some(plan.parent), "the process that started this container is gone");
    let mut inbox = Inbox::open()?;
    let spaces = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(spaces).context("cannot make namespaces; be root (CAP_SYS_ADMIN)")?;
    mounts::make_private()?;
    if !timens::enter()? {
        tracing::info!("no time namespaces here: `ps -o etime` counts from the host's start");
    }
    let plan = Plan { parent: std::process::id(), ..plan };
    let mut init = plan.stage(StageName::Init)?;
    init.arg("--").args(command);
    // With a group id to set, the standard library forks instead of spawning by vfork: before
    // Linux 6.2 a vforked child does not enter the time namespace. (A user id would do as well, but
    // would clear the supplementary groups.)
    init.gid(rustix::process::getgid().as_raw());
    let child = pid_of(&init.spawn().context("cannot start the container's pid 1")?)?;
    inbox.release()?;
    loop {
        if let Some(code) = poll(child, WaitOptions::empty())?.and_then(Code::of) {
            return Ok(code);
        }
        let signals = inbox.wait();
        // Both come at once when the first process gives the command the terminal; the one then
        // says all that the other does.
        let take_terminal = signals.contains(&signals::TAKEN_TERMINAL);
        let overtaken = |signal: i32| take_terminal && signal == signal_hook::consts::SIGCONT;
        for signal in signals {
            if signal != signal_hook::consts::SIGCHLD && !overtaken(signal) {
                signals::pass_on(signal, child);
            }
        }
    }
}

/// Has the kernel kill this process when the one that started it ends, however it ends.
pub(super) fn die_with_parent() -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot set PR_SET_PDEATHSIG")
}
