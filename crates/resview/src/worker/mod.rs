//! The process that answers reads. A supervisor starts it, hands it the connections, and replaces it
//! when it dies; it is `resview __worker daemon …` or `… lxcfs …`, with the command line of the
//! daemon itself.

mod attach;
mod events;
mod prison;
mod serving;

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use control::{Channel, ChannelError, FromWorker, Held, Hello, Holdings, Role, ToWorker};
use fuse::{Ended, Journal, Rings};
use serde_json::{Value, json};
use viewfs::{Contents, Degraded, Keep, Opened};

use self::attach::Attacher;
pub(crate) use self::attach::main as attach;
use self::events::{Event, Events};
use self::prison::Prison;
use self::serving::{Serving, Trees};
use crate::cli::{Cli, Command};
use crate::serve::ServeOptions;
use crate::{Wrap, daemon, exit_codes, logging, lxcfs};

/// Descriptors are kept open for speed, and closed when there are too many; more than this is none.
const DESCRIPTORS: u64 = 65_536;
/// See proc_pid_oom_score_adj(5).
const OOM_SCORE_ADJ: i32 = -500;
/// How long the supervisor may take to say hello.
const HELLO: Duration = Duration::from_secs(10);

/// What a worker is to serve, and how.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) serve: ServeOptions,
    /// See `--memory-limit`.
    pub(crate) memory_bytes: Option<u64>,
    /// See `--requests-per-second`.
    pub(crate) requests_per_second: Option<NonZeroU32>,
    /// `None`: as the daemon's logging says.
    pub(crate) log: Option<String>,
}

/// Serves until the supervisor says stop, or a successor takes over. `arguments` are those after
/// `__worker`.
pub(crate) fn main(arguments: &[OsString], wrap: Wrap) -> ExitCode {
    let channel = match Channel::from_stdin() {
        Ok(channel) => Arc::new(channel),
        Err(error) => return fail(&error.into()),
    };
    match run(&channel, arguments, wrap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If the supervisor is dead too, standard error has it.
            let _ = channel.send(&FromWorker::Failed { why: format!("{error:#}") });
            fail(&error)
        }
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("resview worker: {error:#}");
    exit_codes::FAILED.into()
}

fn run(channel: &Arc<Channel>, arguments: &[OsString], wrap: Wrap) -> anyhow::Result<()> {
    let (hello, holdings) = hello(channel)?;
    let shared = holdings.connection(Role::Shared).context("there is no shared tree to serve")?;
    let settings = settings(arguments, &shared.state.mountpoint)?;
    logging::start(settings.log.as_deref(), "info")?;
    allow_oom_kill();
    // Before anything is opened that goes by it.
    sandbox::limit_descriptors(DESCRIPTORS)?;
    // What needs a path, a program or a capability comes first.
    let attacher = Attacher::prepare(&holdings)?;
    let opened = Contents::of_this_host(settings.serve.policy.clone(), &settings.serve.upkeep)?;
    let prepared = Prepared {
        opened,
        keep: Keep::adopt(copy(&holdings.keep)?)?,
        journals: journals(&holdings)?,
        rings: rings(&holdings)?,
    };
    let prison = Prison::enter(&settings, !prepared.rings.is_empty())?;
    let mut worker = Worker {
        channel: Arc::clone(channel),
        events: Events::start(Arc::clone(channel))?,
        prepared: Some(prepared),
        settings,
        hello,
        holdings,
        attacher,
        prison,
        serving: None,
        wrap,
    };
    channel.send(&FromWorker::Ready)?;
    worker.work()
}

/// The unit says -1000 for the supervisor, which must never be killed for memory. A worker that was
/// as safe could take all of it; there is always another worker. With -500 it looks to the kernel as
/// if it had half of the machine's memory less than it has: a worker in good health, with some
/// megabytes, goes last of all, and one that grows without end goes before the containers do.
/// Raising the value needs no capability; a process that was not protected stays as it was.
fn allow_oom_kill() {
    const OWN: &str = "/proc/self/oom_score_adj";
    let value = std::fs::read_to_string(OWN).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if value.is_some_and(|value| value < OOM_SCORE_ADJ)
        && let Err(error) = std::fs::write(OWN, OOM_SCORE_ADJ.to_string())
    {
        tracing::warn!(%error, "cannot write {OWN}");
    }
}

/// The same command line as the daemon's, and understood by the same code.
pub(crate) fn settings(arguments: &[OsString], mountpoint: &Path) -> anyhow::Result<Settings> {
    let name = arguments.first().map(OsString::as_os_str);
    if name == Some(OsStr::new("lxcfs")) {
        return lxcfs::worker_settings(&lxcfs::Options::try_parse_from(arguments)?, mountpoint);
    }
    let line = [OsString::from("resview")].into_iter().chain(arguments.iter().cloned());
    match Cli::try_parse_from(line)?.command {
        Command::Daemon(options) => daemon::worker_settings(&options, mountpoint),
        _ => bail!("a worker is started by a supervisor, and not by hand"),
    }
}

fn hello(channel: &Channel) -> anyhow::Result<(Hello, Holdings)> {
    match channel.receive_with(Some(HELLO)).context("no word from the supervisor")? {
        (ToWorker::Hello(hello), descriptors) => {
            let holdings = Holdings::assemble(hello.estate.clone(), descriptors)?;
            Ok((hello, holdings))
        }
        (other, _) => bail!("the supervisor began with {other:?} instead of a hello"),
    }
}

fn from_control(mode: control::Degraded) -> Degraded {
    match mode {
        control::Degraded::Last => Degraded::LastGood,
        control::Degraded::Host => Degraded::Host,
    }
}

fn copy(descriptor: &OwnedFd) -> anyhow::Result<OwnedFd> {
    descriptor.try_clone().context("cannot duplicate a descriptor")
}

/// What is open and not used yet.
struct Prepared {
    opened: Opened,
    keep: Keep,
    journals: Vec<(Role, Arc<Journal>)>,
    /// Of the connections that have agreed to some.
    rings: Vec<(Role, Rings)>,
}

/// Before the sandbox: in it, none can be made.
fn rings(holdings: &Holdings) -> anyhow::Result<Vec<(Role, Rings)>> {
    let states = holdings.connections.iter().map(|held| &held.state);
    let over = states.filter(|state| state.negotiated.is_over_io_uring());
    over.map(|state| Ok((state.role, Rings::new(&state.negotiated)?))).collect()
}

fn journals(holdings: &Holdings) -> anyhow::Result<Vec<(Role, Arc<Journal>)>> {
    let journal = |held: &Held| -> anyhow::Result<_> {
        Ok((held.state.role, Arc::new(Journal::adopt(copy(&held.journal)?)?)))
    };
    holdings.connections.iter().map(journal).collect()
}

struct Worker {
    channel: Arc<Channel>,
    events: Events,
    /// Until the supervisor says go: before that, the worker before this one writes.
    prepared: Option<Prepared>,
    settings: Settings,
    hello: Hello,
    holdings: Holdings,
    attacher: Option<Attacher>,
    prison: Prison,
    /// `None` before the supervisor says go.
    serving: Option<Serving>,
    wrap: Wrap,
}

impl Worker {
    fn work(&mut self) -> anyhow::Result<()> {
        loop {
            match self.events.next()? {
                Event::Message(ToWorker::Stop) => return self.stop(),
                Event::Message(message) => self.obey(message)?,
                Event::SupervisorGone if self.serving.is_none() => {
                    bail!("the supervisor is gone before anything was served")
                }
                Event::SupervisorGone => self.live_on()?,
                Event::Ended { role, how: Ended::Error(errno) } if self.is_over_io_uring(role) => {
                    // Nothing else would tell the supervisor that readers wait for nobody.
                    bail!("the {} connection has failed: {errno}", role.name())
                }
                Event::Ended { role, how } => {
                    tracing::info!(?how, "the {} connection has ended", role.name());
                    self.serving.iter_mut().for_each(|serving| serving.has_ended(role));
                    // The supervisor decides; without one there is nobody else to.
                    let told = self.channel.send(&FromWorker::Unmounted { role });
                    if told.is_err() && role == Role::Shared {
                        return Ok(());
                    }
                }
                Event::Successor(successor) => {
                    let clean = self.stop_serving();
                    tracing::info!("another daemon takes over");
                    return Ok(successor.released(clean, &self.holdings)?);
                }
            }
        }
    }

    fn is_over_io_uring(&self, role: Role) -> bool {
        let held = self.holdings.connection(role);
        held.is_some_and(|held| held.state.negotiated.is_over_io_uring())
    }

    fn obey(&mut self, message: ToWorker) -> anyhow::Result<()> {
        match message {
            ToWorker::Go { recover, attach } => return self.go(recover, !attach.is_empty()),
            ToWorker::SetVirtual { on } => {
                self.holdings.virtual_ = on;
                self.serving.iter().for_each(|serving| serving.contents.set_virtual(on));
            }
            ToWorker::Status => self.tell(&FromWorker::StatusReport { report: self.report() }),
            ToWorker::Hello(_) => bail!("the supervisor says hello a second time"),
            ToWorker::Stop => return self.stop(),
        }
        Ok(())
    }

    fn go(&mut self, recover: bool, attach: bool) -> anyhow::Result<()> {
        let prepared = self.prepared.take().context("the supervisor says go a second time")?;
        let Prepared { opened, keep, journals, rings } = prepared;
        let contents = match self.hello.degraded {
            None => opened.start()?,
            Some(degraded) => opened.start_degraded(from_control(degraded)),
        };
        contents.set_virtual(self.holdings.virtual_);
        self.prison.settle()?;
        let trees = Trees {
            contents: Arc::new(contents),
            keep: Arc::new(keep),
            journals,
            options: &self.settings.serve,
            requests_per_second: self.settings.requests_per_second,
            wrap: self.wrap,
        };
        let recovery = if recover { self.hello.recovery.into() } else { fuse::Recovery::None };
        let serving = Serving::start(&trees, rings, &self.holdings, recovery, &self.events)?;
        self.serving = Some(serving);
        self.tell(&FromWorker::Serving { attached: Vec::new() });
        supervisor::unmap_text_soon();
        let Some(attacher) = self.attacher.take().filter(|_| attach) else { return Ok(()) };
        // The way to the mountpoint leads through the tree that is served now.
        let attached = attacher.attach()?;
        self.holdings.attached(&attached);
        self.tell(&FromWorker::Serving { attached });
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        if !self.stop_serving() {
            bail!("a request was not answered in time; it is in the journal");
        }
        self.tell(&FromWorker::Stopped);
        Ok(())
    }

    /// Whether every request that was read has been answered.
    fn stop_serving(&mut self) -> bool {
        self.serving.take().is_none_or(|serving| serving.stop(&self.events))
    }

    /// Answers on the control socket in the supervisor's stead.
    fn live_on(&mut self) -> anyhow::Result<()> {
        tracing::warn!("the supervisor is gone; serving on, until another daemon takes over");
        let report = self.report();
        let contents = self.serving.as_ref().map(|serving| Arc::clone(&serving.contents));
        self.events.listen(&self.holdings, move || with_answers(&report, contents.as_deref()))
    }

    /// Tells the supervisor, unless that is dead: it may die at any moment, and this worker has to
    /// serve on then. [`Event::SupervisorGone`] will say so.
    fn tell(&self, message: &FromWorker) {
        match self.channel.send(message) {
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(error) => tracing::error!(%error, "cannot tell the supervisor {message:?}"),
        }
    }

    fn report(&self) -> Value {
        let report = json!({
            "pid": std::process::id(),
            "version": crate::cli::VERSION,
            "virtual": self.holdings.virtual_,
            "degraded": self.hello.degraded,
            "sandbox": self.prison.report(),
        });
        with_answers(&report, self.serving.as_ref().map(|serving| &*serving.contents))
    }
}

/// A report, with what changes from one moment to the next.
fn with_answers(report: &Value, contents: Option<&Contents>) -> Value {
    let mut report = report.clone();
    report["degraded_answers"] = json!(contents.map(Contents::answered_degraded));
    report
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn settings_of(words: &[&str]) -> anyhow::Result<Settings> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        settings(&words, Path::new("/v"))
    }

    #[test]
    fn a_worker_takes_the_command_line_of_its_daemon() {
        let settings = settings_of(&[
            "daemon",
            "--threads",
            "3",
            "--memory-limit",
            "64m",
            "--requests-per-second",
            "7",
            "--runtime-dir",
            "/r",
        ]);
        let settings = settings.unwrap();
        assert_eq!(settings.serve.mountpoint, Path::new("/v"));
        assert_eq!(settings.serve.threads.get(), 3);
        assert_eq!(settings.memory_bytes, Some(64 << 20));
        assert_eq!(settings.requests_per_second.map(NonZeroU32::get), Some(7));
        assert_eq!(settings.serve.upkeep.histories, Some(PathBuf::from("/r/v/histories")));
        let settings = settings_of(&["lxcfs", "--runtime-dir", "/r", "/v"]).unwrap();
        assert!(!settings.serve.triggers);
        let histories = settings.serve.upkeep.histories;
        assert_eq!(histories, Some(PathBuf::from("/r/resview/v/histories")));
    }

    #[test]
    fn a_worker_of_nobody_is_refused() {
        let error = settings_of(&["files"]).unwrap_err();
        assert!(error.to_string().contains("started by a supervisor"), "{error}");
        assert!(settings_of(&[]).is_err());
    }
}
