//! `/proc/pressure/*`.

use anyhow::{Result, ensure};
use testkit::Layout;

use super::cpu_time::Neighbour;
use crate::container::Container;
use crate::not_applicable;
use crate::tree::Tree;

pub(super) fn pressure_is_own(tree: &Tree) -> Result<()> {
    let resources = ["cpu", "memory", "io"];
    let there = |resource: &&&str| tree.has(&format!("proc/pressure/{resource}"));
    let there: Vec<_> = resources.iter().filter(there).collect();
    if there.is_empty() {
        return not_applicable("no proc/pressure");
    }
    let mut container = Container::new(tree)?;
    let _neighbour = Neighbour::start()?;
    container.sh("timeout 1 sh -c \"while :; do :; done\"; true")?;
    for resource in there {
        let path = format!("/proc/pressure/{resource}");
        let controller = if testkit::layout() == Layout::V1 { "memory" } else { "unified" };
        let own = container.cgroup.path(controller).join(format!("{resource}.pressure"));
        if !own.exists() {
            // As on a kernel without it: better no file than the host's.
            let shown = container.read(&path).unwrap_or_default();
            ensure!(!shown.contains("avg10="), "the cgroup has no pressure, {path} says {shown}");
            continue;
        }
        let total = |text: &str| {
            text.lines().next().and_then(|line| line.split("total=").nth(1)?.parse::<u64>().ok())
        };
        let before = total(&std::fs::read_to_string(&own)?);
        let shown = total(&container.read(&path)?);
        let after = total(&std::fs::read_to_string(&own)?);
        let own = before <= shown && shown <= after && shown.is_some();
        ensure!(own, "{path}: total {shown:?}, the cgroup's between {before:?} and {after:?}");
    }
    Ok(())
}

/// Opens the CPU's pressure, writes a trigger, polls; prints what came of it. While it polls, a
/// process of the container keeps the container waiting for its quota.
const TRIGGER: &str = r#"
import os, select, subprocess
fd = os.open("/proc/pressure/cpu", os.O_RDWR | os.O_NONBLOCK)
os.write(fd, b"some 150000 2000000\0")
busy = subprocess.Popen(["sh", "-c", "while :; do :; done"])
poll = select.poll()
poll.register(fd, select.POLLPRI)
ready = poll.poll(40000)
busy.kill()
print("woken" if ready and ready[0][1] & select.POLLPRI else "events %r" % ready)
"#;

/// Whether triggers can be asked for: the tree has the file, and the kernel counts per cgroup.
fn triggers(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/pressure/cpu"])?;
    if testkit::layout() == Layout::V1 {
        return not_applicable("cgroup v1 has no pressure");
    }
    Ok(())
}

pub(super) fn pressure_trigger_wakes_poll(tree: &Tree) -> Result<()> {
    triggers(tree)?;
    // It waits for half of each tenth of a second.
    let mut container = Container::limited(tree, |cgroup| cgroup.set_quota(50_000, 100_000))?;
    let printed = container.python(TRIGGER)?;
    ensure!(printed.trim() == "woken", "no POLLPRI within 40 s of waiting for CPU: {printed}");
    Ok(())
}

pub(super) fn bad_pressure_trigger_is_refused(tree: &Tree) -> Result<()> {
    triggers(tree)?;
    let program = r#"
import os
for text in b"some", b"half 150000 2000000", b"some 3000000 2000000", b"some 150000 1":
    fd = os.open("/proc/pressure/cpu", os.O_RDWR)
    try:
        os.write(fd, text)
        print(text.decode(), "is taken")
    except OSError:
        pass
    os.close(fd)"#;
    let taken = Container::new(tree)?.python(program)?;
    ensure!(taken.trim().is_empty(), "{taken}");
    Ok(())
}
