//! Whose view a process gets.

use anyhow::{Result, ensure};
use testkit::TestCgroup;

use super::memory::MIB;
use crate::container::{Container, fresh};
use crate::text::meminfo;
use crate::tree::Tree;

/// A parent without limits and two cgroups in it, of 96 and 48 MiB.
fn siblings() -> (TestCgroup, TestCgroup, TestCgroup) {
    let parent = TestCgroup::new(&fresh("conformance"));
    let (first, second) = (parent.child("first"), parent.child("second"));
    first.set_memory(96 * MIB);
    second.set_memory(48 * MIB);
    (parent, first, second)
}

fn total_is(text: &str, mib: u64, who: &str) -> Result<()> {
    let total = meminfo(text, "MemTotal")?;
    ensure!(total == mib << 10, "{who}: MemTotal is {total} kB of {} kB", mib << 10);
    Ok(())
}

pub(super) fn nested_own_limit(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/meminfo"])?;
    let (_parent, first, second) = siblings();
    let mut outer = Container::in_cgroup(tree, first)?;
    let mut inner = outer.nested(second)?;
    total_is(&outer.read("/proc/meminfo")?, 96, "outer")?;
    total_is(&inner.read("/proc/meminfo")?, 48, "nested")
}

pub(super) fn shared_pidns_one_view_each(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/meminfo"])?;
    let (_parent, first, second) = siblings();
    let mut one = Container::in_cgroup(tree, first)?;
    let mut other = one.sharing_pids(tree, second)?;
    total_is(&one.read("/proc/meminfo")?, 96, "first")?;
    total_is(&other.read("/proc/meminfo")?, 48, "second in its pid namespace")
}

pub(super) fn nsenter_sees_container(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/meminfo"])?;
    let container = Container::limited(tree, |cgroup| cgroup.set_memory(96 * MIB))?;
    total_is(&container.entered("cat /proc/meminfo")?, 96, "entered from the host")
}

pub(super) fn unreadable_proc_1_is_fine(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/meminfo"])?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_memory(96 * MIB))?;
    // With hidepid=2 a stranger does not even see that there is a /proc/1. Only on this mount:
    // the files of the tree lie on top of it.
    container.sh_raw("mount -o remount,hidepid=2 /proc 2>/dev/null || true")?;
    let text = container.python(
        "
import os
os.setgid(65534)
os.setuid(65534)
print(open('/proc/meminfo').read())",
    )?;
    total_is(&text, 96, "an unprivileged reader")
}
