//! `resview run`: a command in a cgroup and namespaces of its own, with its own view, and no
//! container engine.
//!
//! Four processes, one after the other:
//!
//! 1. `resview run`, this module: makes the cgroups, finds or serves the view, passes signals on,
//!    cleans up. It stays outside, so that the command's limits are not its own.
//! 2. [`enter`]: makes the namespaces, which hold for its children.
//! 3. [`init`]: the first of these children, pid 1: joins the cgroups, puts the view over /proc.
//! 4. [`exec`]: pid 1's child, becomes the command.
//!
//! Each dies with the one before (`PR_SET_PDEATHSIG`), so that `kill -9` of the first ends all.

mod cgroups;
mod enter;
mod exec;
mod host_view;
mod init;
mod mounts;
mod plan;
pub(crate) mod report;
pub(crate) mod signals;
mod terminal;
mod timens;

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitCode, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use self::cgroups::{Cgroups, Limits};
use self::host_view::HostView;
pub(crate) use self::host_view::{Answers, ask as ask_mount};
use self::plan::Plan;
use self::signals::Inbox;
use crate::cli::{RunOptions, StageName, StageOptions};
use crate::exit_codes::{self, Code};
use crate::logging;
use crate::mountinfo;

/// Runs a command, or prints the table if there is none.
pub(crate) fn main(options: &RunOptions) -> ExitCode {
    match run(options) {
        Ok(code) => code.into(),
        Err(error) => failed(&error),
    }
}

/// One of the other processes.
pub(crate) fn stage(stage: &StageOptions) -> ExitCode {
    let result = match stage.name {
        StageName::Probe => host_view::probe(&stage.arguments),
        StageName::Enter => enter::main(&stage.arguments),
        StageName::Init => init::main(&stage.arguments),
        StageName::Exec => return exec::main(&stage.arguments),
        StageName::Report => report::print_own(),
    };
    match result {
        Ok(code) => code.into(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("resview: {error:#}");
    exit_codes::RUN_FAILED.into()
}

fn run(options: &RunOptions) -> anyhow::Result<Code> {
    logging::start(options.log.as_deref(), "warn")?;
    let limits = Limits::from_options(options)?;
    // Before anything is made: from here on a signal ends the run in order.
    let mut inbox = Inbox::open()?;
    let mounts = mountinfo::read()?;
    let cgroups = Cgroups::create(&mounts, &limits)?;
    for missing in cgroups.all_missing() {
        eprintln!("resview: {missing}");
    }
    let view = HostView::find_or_serve(options, &mounts)?;
    let report = options.command.is_empty();
    let plan = Plan {
        parent: std::process::id(),
        cgroups: cgroups.to_join(),
        view: view.tree().to_owned(),
        scratch: view.scratch().map(ToOwned::to_owned),
        terminal: if report { plan::Terminal::None } else { terminal::find() },
        report,
    };
    let host = report::Seen::now();
    let mut child = start(&plan, options, &inbox)?;
    let output = child.stdout.take();
    let code = watch(&mut inbox, &child)?;
    terminal::reclaim(plan.terminal)?;
    if let Some(mut output) = output {
        let mut text = String::new();
        output.read_to_string(&mut text).context("cannot read what the container saw")?;
        if !text.is_empty() {
            let policy = view.scratch().map(|_| options.view.cpu_count);
            report::print_table(&host, &text, &cgroups, policy)?;
        }
    }
    Ok(code)
}

/// Starts the second process, in a process group of its own: what the terminal sends to a group
/// shall reach the command once, through us.
fn start(plan: &Plan, options: &RunOptions, inbox: &Inbox) -> anyhow::Result<Child> {
    let mut command = plan.stage(StageName::Enter)?;
    command.arg("--").args(&options.command).process_group(0);
    if plan.report {
        command.stdout(Stdio::piped());
    }
    inbox.hold()?;
    let child = command.spawn().context("cannot start the container's first process");
    inbox.release()?;
    child
}

/// Passes signals on until the child ends.
fn watch(inbox: &mut Inbox, child: &Child) -> anyhow::Result<Code> {
    let child = pid_of(child)?;
    loop {
        // Asked before waiting: the child may have ended before its CHLD was listened for.
        while let Some(status) = poll(child, WaitOptions::UNTRACED)? {
            if let Some(code) = Code::of(status) {
                return Ok(code);
            }
            stopped(child);
        }
        for signal in inbox.wait() {
            match signal {
                signal_hook::consts::SIGCHLD | signals::TAKEN_TERMINAL => {}
                signal_hook::consts::SIGCONT if terminal::is_ours() => give_terminal(child),
                signal => signals::pass_on(signal, child),
            }
        }
    }
}

/// The command has stopped, and with it the process group that the child leads. If the terminal is
/// still ours, the command wanted to read from it: let it have the terminal. Else somebody typed
/// Ctrl-Z: stop as well, so that the shell notices and takes the terminal back.
fn stopped(child: Pid) {
    if terminal::is_ours() {
        give_terminal(child);
    } else {
        let _ = kill_process(rustix::process::getpid(), Signal::STOP);
    }
}

fn give_terminal(child: Pid) {
    // In this order: the child is stopped, and when it continues, both are there.
    let _ = kill_process(child, signals::TAKE_TERMINAL);
    let _ = kill_process(child, Signal::CONT);
}

fn pid_of(child: &Child) -> anyhow::Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.with_context(|| format!("{} is no pid", child.id()))
}

/// What has become of `child`, without waiting.
fn poll(child: Pid, options: WaitOptions) -> anyhow::Result<Option<WaitStatus>> {
    let status = waitpid(Some(child), options | WaitOptions::NOHANG)
        .with_context(|| format!("cannot wait for process {}", child.as_raw_nonzero()))?;
    Ok(status.map(|(_, status)| status))
}
