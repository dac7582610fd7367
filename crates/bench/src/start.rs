//! How long a server takes to be there, and what it costs while nobody wants anything of it.

mod report;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use conformance::Server;
use nix::mount::{MntFlags, umount2};
use rustix::process::{Pid, Signal, kill_process};

use self::report::{Idle, Results, Row};
use crate::scale::herd::{Herd, Kind};
use crate::scale::processes::Process;
use crate::scale::reader::Task;

/// No server takes that long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks for the tree: much less than what is measured.
const INTERVAL: Duration = Duration::from_micros(300);

/// Ours watches its worker for ten seconds after a start and after a read, and rests then.
const SETTLING: Duration = Duration::from_secs(20);

/// What to start, and how often.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Our program
    #[arg(long, value_name = "FILE")]
    resview: PathBuf,
    /// An LXCFS to measure as well, with -l
    #[arg(long, value_name = "FILE")]
    lxcfs: Option<PathBuf>,
    /// How often each is started
    #[arg(long, default_value_t = 20)]
    times: u32,
    /// How long to look at those that do nothing, in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many containers are known to those that do nothing
    #[arg(long, value_delimiter = ',', default_values_t = [0, 100])]
    containers: Vec<usize>,
    /// Where the results go: start.json and start.md
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Measures, prints, and writes it down.
pub(crate) fn run(options: &Options) -> Result<()> {
    conformance::private_mounts()?;
    let resview = |times: &mut Vec<_>| time_of(&options.resview, true).map(|took| times.push(took));
    let mut ours = row("resview", &options.resview)?;
    let mut theirs = options.lxcfs.as_deref().map(|lxcfs| row("lxcfs -l", lxcfs)).transpose()?;
    // In turn, so that both have the same good and bad moments of the machine.
    for _ in 0..options.times {
        resview(&mut ours.ready_ns)?;
        if let Some((theirs, lxcfs)) = theirs.as_mut().zip(options.lxcfs.as_deref()) {
            theirs.ready_ns.push(time_of(lxcfs, false)?);
        }
    }
    ours.idle = idle(options, || Server::resview(&options.resview, &[]))?;
    if let Some((theirs, lxcfs)) = theirs.as_mut().zip(options.lxcfs.as_deref()) {
        theirs.idle = idle(options, || Server::lxcfs(lxcfs, &[]))?;
    }
    let results = Results { rows: std::iter::once(ours).chain(theirs).collect() };
    print!("{}", results.markdown());
    let json = serde_json::to_string_pretty(&results)?;
    crate::scale::write(&options.out, "start", &json, &results.markdown())
}

fn row(title: &str, program: &Path) -> Result<Row> {
    Ok(Row {
        server: title.to_owned(),
        stripped_bytes: stripped_bytes(program)?,
        ready_ns: Vec::new(),
        idle: Vec::new(),
    })
}

/// How large the program is without names for debuggers.
fn stripped_bytes(program: &Path) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let stripped = dir.path().join("stripped");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(program).status();
    ensure!(status.context("cannot start strip")?.success(), "strip has failed");
    Ok(stripped.metadata()?.len())
}

/// Starts a server and ends it again; from its start to its first answer, in nanoseconds.
fn time_of(program: &Path, is_ours: bool) -> Result<u64> {
    let (mountpoint, runtime_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut command = Command::new(program);
    if is_ours {
        command.args(["daemon", "--log", "error", "--mountpoint"]).arg(mountpoint.path());
        command.arg("--runtime-dir").arg(runtime_dir.path());
    } else {
        command.args(["-f", "-l", "-p"]).arg(runtime_dir.path().join("pid")).arg(mountpoint.path());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let mut started = Started { child, mountpoint: mountpoint.path() };
    started.wait()?;
    Ok(u64::try_from(begin.elapsed().as_nanos())?)
}

/// A server, which is ended when this is dropped.
struct Started<'a> {
    child: Child,
    mountpoint: &'a Path,
}

impl Started<'_> {
    /// Until a file of its tree can be read.
    fn wait(&mut self) -> Result<()> {
        let (file, begin) = (self.mountpoint.join("proc/meminfo"), Instant::now());
        loop {
            match std::fs::read(&file) {
                Ok(text) => {
                    ensure!(text.starts_with(b"MemTotal:"), "{} is none", file.display());
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).context("the tree cannot be read"),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server has ended with {status}");
            }
            ensure!(begin.elapsed() < PATIENCE, "no tree within {} s", PATIENCE.as_secs());
            std::thread::sleep(INTERVAL);
        }
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        // LXCFS leaves its mount behind.
        let _ = umount2(self.mountpoint, MntFlags::MNT_DETACH);
    }
}

/// Looks at a server of which nobody wants anything, and that knows so many containers.
fn idle(options: &Options, start: impl Fn() -> Result<Server>) -> Result<Vec<Idle>> {
    let look = |&containers: &usize| {
        let server = start()?;
        let mut herd = Herd::new("idle", Kind { tasks: 1, has_mounts: false });
        herd.grow(containers)?;
        let file = server.dir().join("proc/loadavg");
        let second = Duration::from_secs(1);
        let once = Task { paths: vec![file], period: second, duration: second, ..Task::default() };
        herd.all(&once)?;
        std::thread::sleep(SETTLING);
        let duration = Duration::from_secs(options.seconds.max(1));
        let (before, cpu_ns) = (Process::of_all(&server.pids()), server.cpu_ns());
        std::thread::sleep(duration);
        let (after, cpu_ns) = (Process::of_all(&server.pids()), server.cpu_ns() - cpu_ns);
        let sleeps = |all: &[Process]| all.iter().map(|process| process.sleeps).sum::<u64>();
        let wake_ups = sleeps(&after).saturating_sub(sleeps(&before));
        Ok(Idle { containers, seconds: duration.as_secs(), wake_ups, cpu_ns, processes: after })
    };
    options.containers.iter().map(look).collect()
}
