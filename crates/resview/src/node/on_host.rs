//! A step onto the host, for one without systemd: out of the pod's namespaces and cgroups, before
//! anything is started that is to outlive the pod.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use nix::sched::{CloneFlags, setns};

use super::daemon::{Daemon, START_MAX};
use super::place::Place;
use crate::exit_codes;
use crate::mountinfo;

/// The namespaces of a container that are not the host's, the mounts last: paths are the host's then.
/// The pid namespace is the host's already.
const NAMESPACES: [(&str, CloneFlags); 5] = [
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// Options of the step.
#[derive(Args, Debug)]
pub(crate) struct OnHostOptions {
    /// The cgroup to be in, at the root of each hierarchy.
    #[arg(long)]
    cgroup: PathBuf,

    /// Whether the command is a daemon, which stays: this process ends when it serves.
    #[arg(long)]
    daemon: bool,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// `resview __on-host`
pub(crate) fn main(options: &OnHostOptions) -> ExitCode {
    match step(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn step(options: &OnHostOptions) -> anyhow::Result<()> {
    enter_namespaces()?;
    leave_cgroups(&options.cgroup)?;
    rustix::process::setsid().context("cannot begin a session")?;
    // Lower than the pod's takes CAP_SYS_RESOURCE, which a privileged pod has. What the kernel kills
    // is replaced all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let (program, arguments) = options.command.split_first().context("a program, please")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if !options.daemon {
        let error = command.exec();
        return Err(error).with_context(|| format!("cannot start {}", program.display()));
    }
    let log = || log().map_or_else(Stdio::null, Stdio::from);
    command.stdin(Stdio::null()).stdout(log()).stderr(log());
    let from_now = what_follows();
    let child = command.spawn();
    let child = child.with_context(|| format!("cannot start {} on the host", program.display()))?;
    wait(child).map_err(|error| match from_now.map(said) {
        Some(said) if !said.is_empty() => error.context(said),
        _ => error,
    })
}

/// The kernel's log: it is there on every host, and never fills a disk.
fn log() -> Option<File> {
    OpenOptions::new().write(true).open("/dev/kmsg").ok()
}

/// The kernel's log from now on. Reading it takes CAP_SYSLOG, which a privileged pod has.
fn what_follows() -> Option<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg").ok()?;
    log.seek(SeekFrom::End(0)).ok()?;
    Some(log)
}

/// What is in it, in one line: one record each read, with a header that ends in a semicolon.
fn said(mut log: File) -> String {
    let mut record = [0; 8192];
    let mut text = String::new();
    while let Ok(length @ 1..) = log.read(&mut record) {
        let record = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
        let line = record.split_once(';').and_then(|(_, line)| line.lines().next());
        text.push_str(line.unwrap_or_default().trim());
        text.push(' ');
    }
    text.trim().to_owned()
}

/// Waits until a daemon serves. Then it is nobody's child here any more.
fn wait(mut daemon: Child) -> anyhow::Result<()> {
    let control = Place::new(Path::new("/"), Path::new("/")).control();
    let begin = Instant::now();
    loop {
        if let Some(status) = daemon.try_wait().context("cannot wait for the daemon")? {
            bail!("the daemon ended at once ({status}); the host's dmesg says why");
        }
        let id = u64::from(daemon.id());
        if let Ok(Daemon::Whole(found)) = Daemon::look(&control)
            && found.pid == id
            && found.serves
        {
            return Ok(());
        }
        if begin.elapsed() > START_MAX {
            let _ = daemon.kill();
            let _ = daemon.wait();
            bail!("the daemon does not serve after {} s", START_MAX.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Into those of process 1.
fn enter_namespaces() -> anyhow::Result<()> {
    let id = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt"));
    let host = id("1").context("cannot look at process 1; is the pod privileged?")?;
    if id("self").is_ok_and(|own| own == host) {
        bail!("process 1 is not the host's: without systemd, the pod needs hostPID: true");
    }
    let open = |(name, kind): (&'static str, CloneFlags)| {
        let file = File::open(format!("/proc/1/ns/{name}"));
        Ok((name, kind, file.with_context(|| format!("cannot open the host's {name} namespace"))?))
    };
    // All of them first: afterwards, /proc is another.
    for (name, kind, file) in
        NAMESPACES.into_iter().map(open).collect::<anyhow::Result<Vec<_>>>()?
    {
        setns(&file, kind).with_context(|| {
            format!("cannot enter the host's {name} namespace; is the pod privileged?")
        })?;
    }
    std::env::set_current_dir("/").context("cannot enter the host's root")
}

/// The kubelet ends a pod by its cgroup.
fn leave_cgroups(name: &Path) -> anyhow::Result<()> {
    let mounts = mountinfo::read()?;
    let is_cgroup = |kind: &str| kind == "cgroup" || kind == "cgroup2";
    let mut seen = Vec::new();
    for mount in mounts.iter().filter(|mount| is_cgroup(&mount.fs_type)) {
        if !seen.contains(&mount.device) {
            seen.push(mount.device);
            let dir = mount.mount_point.join(name);
            join(&mount.mount_point, &dir)
                .with_context(|| format!("cannot enter the cgroup {}", dir.display()))?;
        }
    }
    if seen.is_empty() {
        bail!("the host has no cgroup hierarchy mounted");
    }
    Ok(())
}

fn join(parent: &Path, dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    // On v1, a new cpuset is empty, and nothing can be in it.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let is_empty = std::fs::read_to_string(dir.join(file)).is_ok_and(|it| it.trim().is_empty());
        if is_empty && dir.join("cpuset.cpu_exclusive").exists() {
            std::fs::write(dir.join(file), std::fs::read(parent.join(file))?)?;
        }
    }
    std::fs::write(dir.join("cgroup.procs"), "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_cpuset_gets_its_parents_cpus() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("resview");
        std::fs::create_dir(&own).unwrap();
        for (file, content) in
            [("cpuset.cpus", "\n"), ("cpuset.mems", "1\n"), ("cpuset.cpu_exclusive", "0\n")]
        {
            std::fs::write(own.join(file), content).unwrap();
            std::fs::write(dir.path().join(file), "0-3\n").unwrap();
        }
        join(dir.path(), &own).unwrap();
        let read = |file: &str| std::fs::read_to_string(own.join(file)).unwrap();
        assert_eq!((read("cpuset.cpus").as_str(), read("cpuset.mems").as_str()), ("0-3\n", "1\n"));
        assert_eq!(read("cgroup.procs"), "0");
    }
}
