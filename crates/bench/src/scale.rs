//! What it costs to serve many containers, each with a reader, and what it costs when nobody reads.

pub(crate) mod herd;
pub(crate) mod processes;
pub(crate) mod reader;
mod report;

pub(crate) use self::report::write;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use conformance::Server;

use self::herd::{Herd, Kind};
use self::processes::{Process, thread_cpu_ns};
use self::reader::{Done, Task};
use self::report::{Load, Results, Row};

/// What a monitoring agent or `top` reads over and over.
const FILES: [&str; 4] = ["meminfo", "stat", "loadavg", "diskstats"];
const PERIOD: Duration = Duration::from_secs(1);
/// The load sampler's thread, in our worker.
const SAMPLER: &str = "load";

/// What to measure, and how long.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Our program
    #[arg(long, value_name = "FILE")]
    resview: PathBuf,
    /// Options of our daemon, such as --threads=4
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    daemon: Vec<String>,
    /// An LXCFS to measure as well, with -l
    #[arg(long, value_name = "FILE")]
    lxcfs: Option<PathBuf>,
    /// Which of our trees
    #[arg(long, value_enum, default_value_t = Tree::Shared)]
    tree: Tree,
    /// How many containers, in steps
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    containers: Vec<usize>,
    /// In how many containers the number of tasks is varied
    #[arg(long, default_value_t = 10)]
    crowded: usize,
    /// How many tasks each of those has
    #[arg(long, value_delimiter = ',', default_values_t = [1, 500])]
    tasks: Vec<u32>,
    /// How long each step takes, in seconds; and as long again without readers
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Where the results go: scale.json and scale.md
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Which files the readers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tree {
    /// Those that all containers share
    Shared,
    /// Those of each container's own, laid over its /proc
    Container,
}

/// Measures, prints, and writes it down.
pub(crate) fn run(options: &Options) -> Result<()> {
    conformance::private_mounts()?;
    let mut results = Results::new(FILES, options.tree == Tree::Container);
    let daemon: Vec<_> = options.daemon.iter().map(String::as_str).collect();
    let ours = || Server::resview(&options.resview, &daemon);
    results.rows.extend(all_steps("resview", ours, options)?);
    if let Some(lxcfs) = &options.lxcfs {
        results.rows.extend(all_steps("lxcfs -l", || Server::lxcfs(lxcfs, &[]), options)?);
    }
    print!("{}", results.markdown());
    results.write(&options.out)
}

/// More and more containers of one server; then some that are full of tasks, each time of another,
/// so that none has known them when they were not.
fn all_steps(
    title: &str,
    start: impl Fn() -> Result<Server>,
    options: &Options,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let server = start()?;
    // LXCFS has one tree.
    let attaches = options.tree == Tree::Container && title == "resview";
    let mut herd = Herd::new("scale", Kind { tasks: 1, has_mounts: attaches });
    for &count in &options.containers {
        let known = herd.inits().count();
        herd.grow(count)?;
        if attaches {
            attach(&options.resview, &server, herd.inits().skip(known))?;
        }
        let at = if attaches { PathBuf::from("/proc") } else { server.dir().join("proc") };
        rows.push(step(title, &server, &mut herd, &at, options)?);
    }
    drop(herd);
    for &tasks in &options.tasks {
        let server = start()?;
        let mut herd = Herd::new("crowded", Kind { tasks, has_mounts: false });
        herd.grow(options.crowded)?;
        let at = server.dir().join("proc");
        rows.push(Row { tasks, ..step(title, &server, &mut herd, &at, options)? });
    }
    Ok(rows)
}

fn attach(resview: &Path, server: &Server, inits: impl Iterator<Item = u32>) -> Result<()> {
    for init in inits {
        let mut command = Command::new(resview);
        command.arg("attach").arg("--mountpoint").arg(server.dir());
        command.arg("--runtime-dir").arg(server.runtime_dir());
        let output = command.arg("--pid").arg(init.to_string()).output();
        let output = output.context("cannot start resview attach")?;
        ensure!(output.status.success(), "attach: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Everything about one server and some containers.
fn step(
    title: &str,
    server: &Server,
    herd: &mut Herd,
    at: &Path,
    options: &Options,
) -> Result<Row> {
    let duration = Duration::from_secs(options.seconds.max(1));
    let reading = Task {
        paths: FILES.iter().map(|file| at.join(file)).collect(),
        period: PERIOD,
        duration,
        ..Task::default()
    };
    // The first read of each container is dearer, and is none of the steady state.
    herd.all(&Task { duration: PERIOD * 2, ..reading.clone() })?;
    let (done, reading_load) = load(server, || herd.all(&reading))?;
    let (processes, charged_kib) = (Process::of_all(&server.pids()), server.memory_bytes() / 1024);
    // Awake once in each period, they use some CPU time; so their load may change.
    let (_, stirring_load) = load(server, || herd.all(&Task { paths: vec![], ..reading }))?;
    let (_, idle_load) = load(server, || {
        std::thread::sleep(duration);
        Ok(())
    })?;
    let row = Row {
        server: title.to_owned(),
        containers: herd.inits().count(),
        tasks: 1,
        reads: done.iter().map(|done| done.reads).sum(),
        p50_ns: (0..FILES.len()).map(|file| median(&done, file)).collect(),
        reading: reading_load,
        stirring: stirring_load,
        idle: idle_load,
        processes,
        charged_kib,
    };
    // A run with many containers takes minutes.
    eprint!("{}", row.line());
    Ok(row)
}

/// What a server used while something was done.
fn load<T>(server: &Server, body: impl FnOnce() -> Result<T>) -> Result<(T, Load)> {
    let pids = server.pids();
    let begin = Instant::now();
    let before = (server.cpu_ns(), thread_cpu_ns(&pids, SAMPLER));
    let done = body()?;
    let load = Load {
        seconds: begin.elapsed().as_secs_f64(),
        cpu_ns: server.cpu_ns().saturating_sub(before.0),
        sampler_ns: thread_cpu_ns(&pids, SAMPLER).saturating_sub(before.1),
    };
    Ok((done, load))
}

/// The median over the containers of each one's median.
fn median(done: &[Done], file: usize) -> u64 {
    let mut all: Vec<u64> = done.iter().filter_map(|done| done.p50_ns.get(file).copied()).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}
