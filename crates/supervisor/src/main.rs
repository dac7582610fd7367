//! `resview-supervisor`: the supervisor alone, for any worker.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use control::{Degraded, Recovery};
use serde::Deserialize;
use serde_json::Value;
use supervisor::{CommandLine, Config, OnStop, Transport, View};

/// As the first argument: look whether the view at the path that follows answers.
const PROBE: &str = "__probe";

/// Hold the FUSE connections of a view, and start, watch and replace the worker that serves them
///
/// TERM and INT end it as --on-stop says; HUP as well, but is an upgrade under a service manager;
/// USR1 starts the program anew, from its path, and lets the new one take over.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Where to mount the view: an empty directory
    #[arg(long, value_name = "DIR")]
    mountpoint: PathBuf,

    /// Where to put the control socket
    #[arg(long, value_name = "DIR")]
    runtime_dir: PathBuf,

    /// The file system type is fuse.NAME
    #[arg(long, value_name = "NAME", default_value = "resview")]
    subtype: String,

    /// Make a second connection, for pressure files
    #[arg(long)]
    pressure: bool,

    /// Kill a worker that answers nothing for so long while requests wait: 2s, 500ms
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    watchdog: Duration,

    /// How requests that a dead worker had in hand are found again
    #[arg(long, value_name = "resend|journal|both", default_value = "both", value_parser = word::<Recovery>)]
    in_flight: Recovery,

    /// Where content comes from while workers keep dying: the last that was good, or the host's
    #[arg(long, value_name = "last|host", default_value = "last", value_parser = word::<Degraded>)]
    when_failing: Degraded,

    /// Whether the end of this process is the end of the view
    #[arg(long, value_name = "unmount|keep", default_value = "unmount", value_parser = word::<OnStop>)]
    on_stop: OnStop,

    /// The worker's program and its arguments
    #[arg(value_name = "WORKER", required = true, last = true)]
    worker: Vec<OsString>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == PROBE) {
        let answers = arguments.next().is_some_and(|path| supervisor::probe(Path::new(&path)));
        return if answers { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview-supervisor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi).init();
    let mut worker = options.worker.into_iter();
    let program = worker.next().map(PathBuf::from).unwrap_or_default();
    let mountpoint = supervisor::resolve(&options.mountpoint)
        .with_context(|| format!("cannot find the mountpoint {}", options.mountpoint.display()))?;
    let probe = std::env::current_exe().context("cannot find this program")?;
    let view = View {
        connections: View::usual(&mountpoint, options.pressure),
        runtime_dir: options.runtime_dir,
        transport: Transport::Device,
        subtype: options.subtype,
        probe: CommandLine { program: probe, arguments: vec![PROBE.into()] },
        before_mount: None,
    };
    supervisor::run(Config {
        view,
        worker: CommandLine { program: absolute(&program)?, arguments: worker.collect() },
        helpers: Vec::new(),
        watchdog: options.watchdog,
        recovery: options.in_flight,
        when_failing: options.when_failing,
        on_stop: options.on_stop,
        usr2_switches: false,
    })?;
    Ok(())
}

/// A choice, as it is called in messages too.
fn word<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, String> {
    T::deserialize(Value::from(text)).map_err(|error| error.to_string())
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot find the worker {}", path.display()))
}
