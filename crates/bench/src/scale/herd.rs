//! Many containers, as cheap as they can be and still be told apart: a cgroup, a pid namespace and
//! one process each.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::TestCgroup;

use super::reader::{Done, Task};

/// The hidden command that a container runs.
pub(crate) const READER: &str = "__scale-reader";

const MEMORY_LIMIT_BYTES: u64 = 256 << 20;

/// What each container is made of, besides its cgroup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// How many threads its process has.
    pub(crate) tasks: u32,
    /// Whether it has mounts of its own, with a `/proc` of its own.
    pub(crate) has_mounts: bool,
}

/// All containers; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Herd {
    containers: Vec<Container>,
    kind: Kind,
    /// Dropped last.
    parent: TestCgroup,
}

#[derive(Debug)]
struct Container {
    child: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
    /// Dropped last: it ends what is still in it.
    _cgroup: TestCgroup,
}

impl Herd {
    /// No container yet.
    pub(crate) fn new(name: &str, kind: Kind) -> Self {
        // Two pipes for each of them. Where the limit cannot be raised, spawning says so.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        Self { containers: Vec::new(), kind, parent: TestCgroup::new(name) }
    }

    /// Makes containers until there are `count`.
    pub(crate) fn grow(&mut self, count: usize) -> Result<()> {
        while self.containers.len() < count {
            let cgroup = self.parent.child(&format!("{}", self.containers.len()));
            cgroup.set_memory(MEMORY_LIMIT_BYTES);
            self.containers.push(Container::start(cgroup, self.kind)?);
        }
        Ok(())
    }

    /// The pids of their first processes, as this machine counts.
    pub(crate) fn inits(&self) -> impl Iterator<Item = u32> {
        self.containers.iter().map(|container| container.child.id())
    }

    /// Has every container do the same, spread evenly over the period.
    pub(crate) fn all(&mut self, task: &Task) -> Result<Vec<Done>> {
        let count = u32::try_from(self.containers.len().max(1))?;
        for (number, container) in (0..).zip(&mut self.containers) {
            let phase: Duration = task.period / count * number;
            container.order(&Task { phase, ..task.clone() })?;
        }
        self.containers.iter_mut().map(Container::report).collect()
    }
}

impl Container {
    fn start(cgroup: TestCgroup, kind: Kind) -> Result<Self> {
        let mut child = init(kind)?;
        cgroup.add_pid(child.id());
        let orders = child.stdin.take();
        let reports = BufReader::new(child.stdout.take().context("a child without a pipe")?);
        Ok(Self { child, orders, reports, _cgroup: cgroup })
    }

    fn order(&mut self, task: &Task) -> Result<()> {
        let orders = self.orders.as_mut().context("the container has ended")?;
        let mut line = serde_json::to_string(task)?;
        line.push('\n');
        Ok(orders.write_all(line.as_bytes())?)
    }

    fn report(&mut self) -> Result<Done> {
        let mut line = String::new();
        ensure!(self.reports.read_line(&mut line)? > 0, "a container has ended");
        let done: Done = serde_json::from_str(&line)?;
        match done.failed {
            Some(why) => Err(anyhow!("in a container: {why}")),
            None => Ok(done),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the first process of a new pid namespace. A thread can make one for its children once.
fn init(kind: Kind) -> Result<Child> {
    let program = std::env::current_exe()?;
    let mut namespaces = CloneFlags::CLONE_NEWPID;
    namespaces.set(CloneFlags::CLONE_NEWNS, kind.has_mounts);
    let spawn = || -> Result<Child> {
        unshare(namespaces).context("cannot make namespaces: needs root")?;
        let mut command = Command::new(program);
        command.args([READER, &kind.tasks.to_string(), &kind.has_mounts.to_string()]);
        Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
    };
    let spawned = std::thread::scope(|scope| scope.spawn(spawn).join());
    spawned.map_err(|_| anyhow!("the thread that starts a container has panicked"))?
}
