//! The third process, pid 1 of the container: joins the cgroups, puts the view in place, starts the
//! command, reaps orphans and passes signals on. When it ends the kernel kills whatever is left.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};
use procfmt::pid_status::PidStatus;
use rustix::process::{Pid, Signal, WaitOptions, kill_current_process_group, wait};
use signal_hook::consts::{SIGCHLD, SIGCONT};

use super::plan::{Plan, Terminal};
use super::signals::{self, Inbox};
use super::{enter, mounts, pid_of, terminal};
use crate::cli::StageName;
use crate::exit_codes::Code;

/// The name that the container has in its uts namespace.
const HOSTNAME: &[u8] = b"resview";

pub(super) fn main(command: &[OsString]) -> anyhow::Result<Code> {
    let plan = Plan::receive()?;
    enter::die_with_parent()?;
    ensure_parent_lives(&plan)?;
    let inbox = Inbox::open()?;
    // Else /proc/1/comm would be `exe`.
    rustix::thread::set_name(c"resview").context("cannot name pid 1")?;
    join(&plan)?;
    mounts::arrange(&plan)?;
    rustix::system::sethostname(HOSTNAME).context("cannot set the host name")?;
    let stage = if plan.report { StageName::Report } else { StageName::Exec };
    let mut child = plan.stage(stage)?;
    child.arg("--").args(command).process_group(0);
    let child = pid_of(&child.spawn().context("cannot start the command")?)?;
    inbox.release()?;
    Container { inbox, child, terminal: plan.terminal }.watch()
}

/// Our parent is outside our pid namespace, so getppid(2) is 0 whether it lives or not. The host's
/// /proc, which is still mounted, knows better.
fn ensure_parent_lives(plan: &Plan) -> anyhow::Result<()> {
    let status = std::fs::read("/proc/self/status").context("cannot read /proc/self/status")?;
    let status = PidStatus::parse(&status).context("/proc/self/status has no PPid")?;
    ensure!(status.ppid == u64::from(plan.parent), "the process that started pid 1 is gone");
    Ok(())
}

/// Joins the cgroups, then makes them the roots of a cgroup namespace, as engines do. The order
/// matters: a cgroup namespace's root is where its maker is at that moment.
fn join(plan: &Plan) -> anyhow::Result<()> {
    for cgroup in &plan.cgroups {
        let procs = cgroup.dir.join("cgroup.procs");
        std::fs::write(&procs, "0").with_context(|| format!("cannot join {}", procs.display()))?;
    }
    if Path::new("/proc/self/ns/cgroup").exists() {
        unshare(CloneFlags::CLONE_NEWCGROUP).context("cannot make a cgroup namespace")?;
    }
    Ok(())
}

/// A running command and its first process, seen from the latter.
struct Container {
    inbox: Inbox,
    child: Pid,
    terminal: Terminal,
}

impl Container {
    /// Passes signals on and reaps until the command ends.
    fn watch(mut self) -> anyhow::Result<Code> {
        loop {
            if let Some(code) = self.reap()? {
                return Ok(code);
            }
            for signal in self.inbox.wait() {
                match signal {
                    SIGCHLD => {}
                    signals::TAKEN_TERMINAL => {
                        terminal::give_to(self.child)?;
                        signals::pass_on_to_group(Signal::CONT, self.child);
                    }
                    // A terminal continues whole jobs.
                    SIGCONT => signals::pass_on_to_group(Signal::CONT, self.child),
                    signal => signals::pass_on(signal, self.child),
                }
            }
        }
    }

    /// Collects every child that has ended; pid 1 inherits orphans. The command's code, if it is
    /// among them.
    fn reap(&self) -> anyhow::Result<Option<Code>> {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        while let Some((pid, status)) = wait(options).context("cannot wait for the command")? {
            if pid != self.child {
                continue;
            }
            if let Some(code) = Code::of(status) {
                return Ok(Some(code));
            }
            if self.terminal != Terminal::None {
                // Stop our process group, which is the process outside; pid 1 itself cannot be
                // stopped from within. The first process sees it and decides.
                let _ = kill_current_process_group(Signal::STOP);
            }
        }
        Ok(None)
    }
}
