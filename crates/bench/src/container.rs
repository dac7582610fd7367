//! The container in which is measured: a cgroup with limits, pid and mount namespaces of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::TestCgroup;

use crate::protocol::{Order, Report};

/// Less than any machine has that this is run on, so that the view differs from it.
pub(crate) const MEMORY_LIMIT_BYTES: u64 = 512 << 20;

/// A period of the scheduler's bandwidth control, in microseconds.
const PERIOD_USEC: u64 = 100_000;

/// A running container; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Container {
    child: Child,
    /// `None` once it is told to end.
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
    /// The pid of its init, as this machine counts.
    pub(crate) init: u32,
    /// Dropped last: it ends what is still in it.
    _cgroup: TestCgroup,
}

impl Container {
    /// Starts it, with limits of memory and CPU time. The latter is more than there are CPUs, so that
    /// nobody is throttled, but whoever reads limits has one to read.
    pub(crate) fn start() -> Result<Self> {
        let cgroup = TestCgroup::new("bench");
        cgroup.set_memory(MEMORY_LIMIT_BYTES);
        let cpus = std::thread::available_parallelism()?.get();
        cgroup.set_quota((u64::try_from(cpus)? + 1) * PERIOD_USEC, PERIOD_USEC);
        let program = std::env::current_exe()?;
        let namespaces = ["-m", "--propagation", "private", "-p", "-f", "--kill-child"];
        let mut command = Command::new("unshare");
        command.args(namespaces).arg(program).arg("__client");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take();
        let reports = BufReader::new(child.stdout.take().context("a child without a pipe")?);
        let init = only_child(child.id())?;
        cgroup.add_pid(init);
        let mut container = Self { child, orders, reports, init, _cgroup: cgroup };
        container.report().context("it has not begun")?;
        Ok(container)
    }

    /// Has the container do something.
    pub(crate) fn order(&mut self, order: &Order) -> Result<Report> {
        let orders = self.orders.as_mut().context("the container has ended")?;
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        orders.write_all(line.as_bytes())?;
        self.report()
    }

    fn report(&mut self) -> Result<Report> {
        let mut line = String::new();
        ensure!(self.reports.read_line(&mut line)? > 0, "the container has ended");
        match serde_json::from_str(&line)? {
            Report::Failed(reason) => bail!("in the container: {reason}"),
            report => Ok(report),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// The init that `unshare` forks.
fn only_child(pid: u32) -> Result<u32> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        if let Some(child) = children.split_whitespace().next() {
            return Ok(child.parse()?);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("unshare has started nothing")
}
