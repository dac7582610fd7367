//! The readers against this machine's own cgroups.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cgroup::{CgroupPaths, Controller, Group, Layout, Version};
use hostfs::HostFs;
use procfmt::cpulist::CpuSet;
use procfmt::limit::Limit;
use procfmt::units::{Bytes, Usec};
use testkit::{TestCgroup, need_root};
use view::input::{Quota, SwapLevel};

struct Machine {
    host: HostFs,
    layout: Arc<Layout>,
}

impl Machine {
    fn new() -> Self {
        let host = HostFs::mount().unwrap();
        let layout = Arc::new(Layout::detect(&host).unwrap());
        Self { host, layout }
    }

    fn has(&self, controller: Controller) -> bool {
        self.layout.hierarchy_of(controller).is_some()
    }

    fn group(&self, cgroup: &TestCgroup) -> Group {
        let name = cgroup.name();
        let lines = self.layout.hierarchies().iter().map(|hierarchy| {
            let names: Vec<_> = hierarchy.controllers().iter().map(|one| one.v1_name()).collect();
            match hierarchy.version() {
                Version::V1 => format!("1:{}:{name}\n", names.join(",")),
                Version::V2 => format!("0::{name}\n"),
            }
        });
        let text: String = lines.collect();
        Group::new(&self.layout, CgroupPaths::of_process(&self.layout, text.as_bytes()))
    }
}

/// A child that is killed when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a shell script in a cgroup.
fn run_in(cgroup: &TestCgroup, script: &str) -> Killed {
    let script = format!("read go; {script}");
    let mut command = Command::new("sh");
    let child = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    cgroup.add_pid(child.id());
    drop(child.stdin.take());
    Killed(child)
}

/// Waits until a script has printed something.
fn wait_for_output(child: &mut Killed) {
    let mut byte = [0];
    std::io::Read::read_exact(child.0.stdout.as_mut().unwrap(), &mut byte).unwrap();
}

#[test]
fn memory_limits_and_usage_of_all_levels() {
    let test = "memory_limits_and_usage_of_all_levels";
    if !need_root(test) {
        return;
    }
    let machine = Machine::new();
    let pod = TestCgroup::new("pod");
    pod.set_memory(256 << 20);
    let app = pod.child("app");
    // Fills a variable with 8 MB before it says so.
    let mut child = run_in(&app, "x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo; sleep 60");
    wait_for_output(&mut child);
    let group = machine.group(&app);
    let memory = group.memory().unwrap().unwrap();
    assert_eq!(memory.levels.len(), 2);
    assert_eq!(memory.levels[0].limit, Limit::Max);
    assert_eq!(memory.levels[1].limit, Limit::Value(Bytes(256 << 20)));
    assert!(memory.levels[1].usage > Bytes(8_000_000), "the parent's usage has the child's in it");
    assert!(memory.stat.anon > Bytes(8_000_000));
    let faults = |group: &Group| group.vm().unwrap().unwrap().counters[&b"pgfault"[..]];
    assert!(faults(&group) > 50, "programs were started in it");
    assert!(faults(&machine.group(&pod)) >= faults(&group), "the parent counts the child's");
    // The limit changes at run time and the same group sees it.
    pod.set_memory(128 << 20);
    let memory = group.memory().unwrap().unwrap();
    assert_eq!(memory.levels[1].limit, Limit::Value(Bytes(128 << 20)));
    let file = group.explain().unwrap().memory.unwrap().file;
    assert!(file.starts_with(pod.path("memory")), "{}", file.display());
}

#[test]
fn swap_levels_speak_the_kernels_version() {
    let test = "swap_levels_speak_the_kernels_version";
    if !need_root(test) {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("swap");
    cgroup.set_memory(64 << 20);
    let group = machine.group(&cgroup);
    if group.memory().unwrap().unwrap().levels[0].swap == SwapLevel::Absent {
        testkit::skip(test, "swap is not accounted");
        return;
    }
    cgroup.set_swap(32 << 20);
    match (
        group.version(Controller::Memory).unwrap(),
        group.memory().unwrap().unwrap().levels[0].swap,
    ) {
        (Version::V1, SwapLevel::MemoryPlusSwap { limit, .. }) => {
            assert_eq!(limit, Limit::Value(Bytes(96 << 20)));
        }
        (Version::V2, SwapLevel::Swap { max, .. }) => {
            assert_eq!(max, Limit::Value(Bytes(32 << 20)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn quota_of_ancestor_counts() {
    if !need_root("quota_of_ancestor_counts") {
        return;
    }
    let machine = Machine::new();
    let pod = TestCgroup::new("quota");
    let app = pod.child("a/b");
    let group = machine.group(&app);
    assert_eq!(group.cpu().unwrap().quota, None);
    pod.set_quota(150_000, 100_000);
    let quota = Quota { quota: Usec(150_000), period: Usec(100_000) };
    assert_eq!(group.cpu().unwrap().quota, Some(quota));
    let decided = group.explain().unwrap().quota.unwrap();
    assert_eq!(decided.value, quota);
    assert_eq!(decided.file.parent(), Some(pod.path("cpu")));
}

#[test]
fn effective_cpuset_not_the_requested() {
    let test = "effective_cpuset_not_the_requested";
    if !need_root(test) {
        return;
    }
    let machine = Machine::new();
    if !machine.has(Controller::Cpuset) {
        testkit::skip(test, "no cpuset controller");
        return;
    }
    let parent = TestCgroup::new("cpuset");
    parent.set_cpuset("0");
    let child = parent.child("child");
    if machine.group(&child).version(Controller::Cpuset) == Some(Version::V2) {
        // v1 refuses to ask for more than the parent has.
        child.set_cpuset("0-1");
    }
    let group = machine.group(&child);
    assert_eq!(group.cpuset().unwrap(), Some(CpuSet::first(1)));
    assert!(group.mems().unwrap().unwrap().contains(0));
}

#[test]
fn cpu_time_rises_and_adds_up() {
    if !need_root("cpu_time_rises_and_adds_up") {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("time");
    let group = machine.group(&cgroup);
    assert_eq!(group.cpu_time().unwrap().unwrap().user, Usec(0));
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; sleep 60";
    let mut child = run_in(&cgroup, script);
    wait_for_output(&mut child);
    let time = group.cpu_time().unwrap().unwrap();
    assert!(time.user > Usec(1000), "{time:?}");
    if let Some(per_cpu) = &time.per_cpu {
        let sum: u64 = per_cpu.iter().map(|one| one.0).sum();
        // Each number is truncated to microseconds by itself.
        assert!((time.user.0 + time.system.0).abs_diff(sum) <= 1 + per_cpu.len() as u64);
    }
}

#[test]
fn throttling_of_a_parent_is_counted() {
    let test = "throttling_of_a_parent_is_counted";
    if !need_root(test) {
        return;
    }
    let machine = Machine::new();
    let pod = TestCgroup::new("throttle");
    pod.set_quota(10_000, 100_000);
    let app = pod.child("app");
    let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo; sleep 60";
    let mut child = run_in(&app, script);
    wait_for_output(&mut child);
    let time = machine.group(&app).cpu_time().unwrap().unwrap();
    assert!(time.throttled > Usec(0), "{time:?}");
}

#[test]
fn threads_of_all_cgroups_below() {
    if !need_root("threads_of_all_cgroups_below") {
        return;
    }
    let machine = Machine::new();
    let top = TestCgroup::new("threads");
    let deep = top.child("a/b/c/d");
    let child = run_in(&deep, "exec sleep 60");
    let group = machine.group(&top);
    assert_eq!(group.threads(100).unwrap(), [child.0.id()]);
    assert_eq!(group.processes(100).unwrap(), [child.0.id()]);
    if machine.has(Controller::Pids) {
        assert_eq!(group.task_count().unwrap(), Some(1));
    }
    assert!(!group.is_frozen().unwrap());
}

#[test]
fn v1_processes_that_come_while_others_look_are_listed() {
    if !need_root("v1_processes_that_come_while_others_look_are_listed") {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("newcomers");
    let group = machine.group(&cgroup);
    let mut children = Vec::new();
    for count in 1..=5 {
        let _ = group.processes(100).unwrap(); // the kernel remembers this for a second
        children.push(run_in(&cgroup, "exec sleep 60"));
        assert_eq!((group.processes(100).unwrap().len(), children.len()), (count, count));
        assert_eq!(group.threads(100).unwrap().len(), count);
    }
}

/// Thaws a cgroup when the test ends, because nothing frozen can be killed on v1.
struct Thaw<'a>(&'a Path, &'static str);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0, self.1);
    }
}

#[test]
fn frozen_is_seen() {
    if !need_root("frozen_is_seen") {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("frozen");
    let _child = run_in(&cgroup, "exec sleep 60");
    let group = machine.group(&cgroup);
    assert!(!group.is_frozen().unwrap());
    let (file, freeze, thaw) = match group.version(Controller::Freezer).unwrap() {
        Version::V1 => (cgroup.path("freezer").join("freezer.state"), "FROZEN", "THAWED"),
        Version::V2 => (cgroup.path("unified").join("cgroup.freeze"), "1", "0"),
    };
    let _thaw = Thaw(&file, thaw);
    std::fs::write(&file, freeze).unwrap();
    // Tasks take a moment to stop.
    assert!((0..250).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        group.is_frozen().unwrap()
    }));
}

#[test]
fn own_pressure_where_v2_has_the_cgroup() {
    let test = "own_pressure_where_v2_has_the_cgroup";
    if !need_root(test) {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("pressure");
    let mut text = Vec::new();
    let there = machine.group(&cgroup).pressure(cgroup::Pressure::Memory, &mut text).unwrap();
    if testkit::layout() == testkit::Layout::V1 {
        assert!(!there, "v1 has none");
        return;
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("some avg10=0.00"), "{text}");
    assert!(machine.group(&cgroup).open_pressure(cgroup::Pressure::Io).unwrap().is_some());
}

#[test]
fn a_removed_cgroup_is_gone_and_one_made_anew_is_found() {
    if !need_root("a_removed_cgroup_is_gone_and_one_made_anew_is_found") {
        return;
    }
    let machine = Machine::new();
    let first = TestCgroup::new("gone");
    first.set_memory(64 << 20);
    let group = machine.group(&first);
    let limit = || group.memory().map(|memory| memory.unwrap().levels[0].limit);
    assert_eq!(limit(), Ok(Limit::Value(Bytes(64 << 20))));
    let ids = group.ids().unwrap();
    drop(first);
    assert!(limit().unwrap_err().is_gone());
    assert!(!group.is_current() || group.ids().unwrap_err().is_gone());
    let second = TestCgroup::new("gone");
    second.set_memory(32 << 20);
    assert_eq!(limit(), Ok(Limit::Value(Bytes(32 << 20))));
    assert_ne!(group.ids().unwrap(), ids, "the kernel never gives out a cgroup's id again");
}

#[test]
fn path_with_colon_and_deleted() {
    if !need_root("path_with_colon_and_deleted") {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("a:b (deleted)");
    cgroup.set_memory(64 << 20);
    let child = run_in(&cgroup, "exec sleep 60");
    let mut text = Vec::new();
    machine.host.proc.read(format!("{}/cgroup", child.0.id()), &mut text).unwrap();
    let paths = CgroupPaths::of_container(&machine.layout, &text, b"");
    let memory = Group::new(&machine.layout, paths).memory().unwrap().unwrap();
    assert_eq!(memory.levels[0].limit, Limit::Value(Bytes(64 << 20)));
}

#[test]
fn system_calls_linear_in_depth() {
    if !need_root("system_calls_linear_in_depth") {
        return;
    }
    let machine = Machine::new();
    let cost_at = |depth: usize| {
        let names: Vec<_> = (1..depth).map(|level| level.to_string()).collect();
        let top = TestCgroup::new(&format!("depth-{depth}"));
        let deep = if depth == 1 { None } else { Some(top.child(&names.join("/"))) };
        let group = machine.group(deep.as_ref().unwrap_or(&top));
        let read = || {
            assert_eq!(group.memory().unwrap().unwrap().levels.len(), depth);
            group.cpu().unwrap();
        };
        read();
        let before = machine.host.kept.counters();
        read();
        let after = machine.host.kept.counters();
        // Files that this kernel does not have are looked for again at each read.
        after.reads - before.reads + after.opens - before.opens
    };
    let (one, two, sixteen) = (cost_at(1), cost_at(2), cost_at(16));
    assert_eq!(sixteen - one, 15 * (two - one));
    assert!(two - one <= 10, "{} system calls for each level", two - one);
}
