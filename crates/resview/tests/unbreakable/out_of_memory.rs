//! The kernel kills the worker because its memory cgroup is full.

use testkit::{Layout, TestCgroup, layout};

use crate::common::eventually;
use crate::support::{Daemon, LONG, assert_container_good, assert_good, can_serve, faulty};

/// What the kernel grants, far below the worker's own limit.
const GRANTED_BYTES: u64 = 96 << 20;

/// How often the kernel has killed something in a cgroup.
fn kills(cgroup: &TestCgroup) -> u64 {
    let v2 = layout() == Layout::V2;
    let file = if v2 { "memory.events" } else { "memory.oom_control" };
    let text = cgroup.read("memory", file);
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.unwrap().parse().unwrap()
}

#[test]
fn a_worker_killed_by_the_oom_killer_is_replaced() {
    if !can_serve("a_worker_killed_by_the_oom_killer_is_replaced") {
        return;
    }
    let options = ["--log", "error", "--memory-limit", "4g"];
    let daemon = Daemon::start_program(&faulty(), &options);
    let container = daemon.container();
    let reader = daemon.host_reader();
    let worker = daemon.worker().unwrap();
    let cgroup = TestCgroup::new("out-of-memory");
    cgroup.set_memory(GRANTED_BYTES);
    cgroup.set_swap(0);
    cgroup.add_pid(worker);
    daemon.order(&format!("leak {worker}"));
    eventually("the kernel kills it", || kills(&cgroup) > 0);
    eventually("the worker is replaced", || daemon.worker().is_some_and(|pid| pid != worker));
    let report = daemon.status().unwrap();
    let death = report["supervisor"]["last_death"].as_str().unwrap_or_default();
    assert!(death.contains("SIGKILL"), "{report:#}");
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
    assert_container_good(&container.end());
}
