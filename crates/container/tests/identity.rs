//! Who is asking, on this machine: with pid namespaces made by unshare(1), and cgroups of our own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use container::{AnchorKind, Error};
use procfmt::units::Ticks;
use support::{Machine, boot_ticks, current_tid};
use testkit::{TestCgroup, need_command, need_root};

fn can_run(test: &str) -> bool {
    need_root(test) && ["bash", "nsenter", "unshare"].iter().all(|tool| need_command(test, tool))
}

const OWN_NAMESPACES: &str = "unshare -m -p -f --kill-child --mount-proc";

#[test]
fn init_and_its_children_are_one_container() {
    if !can_run("init_and_its_children_are_one_container") {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("own");
    let run = cgroup_run(&cgroup, &format!("{OWN_NAMESPACES} bash -c 'sleep 60; true'"));
    let init = run.descendant("bash");
    let child = run.descendant("sleep");
    let container = machine.container(init);
    assert_eq!(container.anchor().kind, AnchorKind::Init);
    assert_eq!(container.anchor().pid, init);
    assert_eq!(container.anchor().boottime_offset, None);
    assert!(container.paths().iter().any(|path| path.as_os_str() == &*cgroup.name()));
    assert!(Arc::ptr_eq(&container, &machine.container(child)), "remembered");
    assert!(machine.identifier.is_alive(&container).unwrap());
    assert_eq!(machine.identifier.personality(child), machine.identifier.personality(init));
}

#[test]
fn before_6_11_init_is_found_by_parents_neighbours_or_search() {
    if !can_run("before_6_11_init_is_found_by_parents_neighbours_or_search") {
        return;
    }
    let machine = Machine::new();
    let (cgroup, foreign) = (TestCgroup::new("old"), TestCgroup::new("old-foreign"));
    let run = cgroup_run(&cgroup, &format!("{OWN_NAMESPACES} bash -c 'sleep 60; true'"));
    let init = run.descendant("bash");
    let enter = format!("nsenter -t {init} -m -p sleep 61");
    let (near, far) = (cgroup_run(&cgroup, &enter), cgroup_run(&foreign, &enter));
    let callers =
        [init, run.descendant("sleep"), near.descendant("sleep"), far.descendant("sleep")];
    let expected = machine.container(init);
    for caller in callers {
        // A new one each time: nothing may be remembered.
        let container = Machine::without_kernel_lookup().container(caller);
        assert_eq!((container.anchor(), container.key()), (expected.anchor(), expected.key()));
    }
}

#[test]
fn nsenter_sees_container() {
    if !can_run("nsenter_sees_container") {
        return;
    }
    let machine = Machine::new();
    let (cgroup, foreign) = (TestCgroup::new("entered"), TestCgroup::new("enterer"));
    let run = cgroup_run(&cgroup, &format!("{OWN_NAMESPACES} sleep 60"));
    let init = run.descendant("sleep");
    let entered = cgroup_run(&foreign, &format!("nsenter -t {init} -m -p sleep 61"));
    let container = machine.container(entered.descendant("sleep"));
    assert_eq!(container.key(), machine.container(init).key());
}

#[test]
fn shared_pidns_one_view_each() {
    if !can_run("shared_pidns_one_view_each") {
        return;
    }
    let machine = Machine::new();
    let (pause, app) = (TestCgroup::new("pause"), TestCgroup::new("app"));
    let first = cgroup_run(&pause, &format!("{OWN_NAMESPACES} sleep 60"));
    let init = first.descendant("sleep");
    // Another container of the pod: the pid namespace of the first, a mount namespace of its own.
    let second = cgroup_run(&app, &format!("nsenter -t {init} -p unshare -m sleep 61"));
    let caller = second.descendant("sleep");
    let container = machine.container(caller);
    assert_eq!(container.anchor().kind, AnchorKind::Oldest);
    assert!(container.paths().iter().any(|path| path.as_os_str() == &*app.name()));
    assert_ne!(container.key(), machine.container(init).key());
    assert!(Arc::ptr_eq(&container, &machine.container(caller)), "remembered");

    // A service with private mounts, in a cgroup of the first container: part of that one.
    let inside = pause.bare_child("service");
    let service = cgroup_run(&inside, &format!("nsenter -t {init} -m -p unshare -m sleep 62"));
    let container = machine.container(service.descendant("sleep"));
    assert_eq!(container.key(), machine.container(init).key());
}

#[test]
fn without_a_pid_namespace_the_oldest_process_stands_for_the_cgroup() {
    let test = "without_a_pid_namespace_the_oldest_process_stands_for_the_cgroup";
    if !can_run(test) {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("hostpid");
    let old = cgroup_run(&cgroup, "sleep 60");
    let old_pid = old.descendant("sleep");
    let start = machine.container(old_pid).anchor().start_time;
    // Field 22 counts in ticks of 10 ms.
    support::wait_until(|| boot_ticks() > start.0 + 1);
    let young = cgroup_run(&cgroup, "sleep 61");
    let machine = Machine::new();
    let container = machine.container(young.descendant("sleep"));
    assert_eq!((container.anchor().kind, container.anchor().pid), (AnchorKind::Oldest, old_pid));
    // The oldest process ends; the container does not, nor does a new daemon take it for another.
    let key = container.key();
    drop(old);
    assert!(machine.identifier.is_alive(&container).unwrap());
    assert_eq!(Machine::new().container(young.descendant("sleep")).key(), key);
    drop(young);
    drop(cgroup);
    assert!(!machine.identifier.is_alive(&container).unwrap());
}

#[test]
fn nested_own_limit() {
    if !can_run("nested_own_limit") {
        return;
    }
    let machine = Machine::new();
    let outer = TestCgroup::new("outer");
    let inner = outer.bare_child("inner");
    let first = cgroup_run(&outer, &format!("{OWN_NAMESPACES} sleep 60"));
    let init = first.descendant("sleep");
    let command = format!("nsenter -t {init} -m -p {OWN_NAMESPACES} sleep 61");
    let second = cgroup_run(&inner, &command);
    let nested_init = second.descendant("sleep");
    let container = machine.container(nested_init);
    assert_eq!(container.anchor().pid, nested_init, "the innermost namespace counts");
    assert!(container.paths().iter().any(|path| path.as_os_str() == &*inner.name()));
    assert_ne!(container.key(), machine.container(init).key());
}

#[test]
fn init_leaf_does_not_hide_usage() {
    if !can_run("init_leaf_does_not_hide_usage") {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("systemd");
    let leaf = cgroup.bare_child("init.scope");
    let run = cgroup_run(&cgroup, &format!("{OWN_NAMESPACES} sleep 60"));
    let init = run.descendant("sleep");
    let before = machine.container(init);
    leaf.add_pid(init);
    let after = machine.container(init);
    assert_eq!(before.paths(), after.paths());
    assert_eq!(before.key(), after.key(), "histories go on");
}

#[test]
fn a_moved_init_is_followed() {
    if !can_run("a_moved_init_is_followed") {
        return;
    }
    let machine = Machine::new();
    let (first, second) = (TestCgroup::new("from"), TestCgroup::new("to"));
    let run = cgroup_run(&first, &format!("{OWN_NAMESPACES} sleep 60"));
    let init = run.descendant("sleep");
    let before = machine.container(init);
    second.add_pid(init);
    let after = machine.container(init);
    assert!(after.paths().iter().any(|path| path.as_os_str() == &*second.name()));
    assert_eq!(before.key(), after.key(), "histories go on");
}

#[test]
fn comm_with_space_in_uptime() {
    if !can_run("comm_with_space_in_uptime") {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("comm");
    let tools = tempfile::tempdir().unwrap();
    let odd = tools.path().join("a) S (b c");
    std::fs::copy("/bin/sleep", &odd).unwrap();
    let before = boot_ticks();
    let run = cgroup_run(&cgroup, &format!("{OWN_NAMESPACES} '{}' 60", odd.display()));
    let init = run.descendant("a) S (b c");
    let start = machine.container(init).anchor().start_time;
    assert!(Ticks(before) <= start && start <= Ticks(boot_ticks()), "{start:?}");
}

#[test]
fn timens_offset_of_init() {
    let test = "timens_offset_of_init";
    if !can_run(test) {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("timens");
    let clocks = "--time --boottime 1000 --monotonic 1000";
    let run = cgroup_run(&cgroup, &format!("{OWN_NAMESPACES} {clocks} sleep 60"));
    let Some(init) = run.find_descendant("sleep") else {
        testkit::skip(test, "needs time namespaces and an unshare that knows them");
        return;
    };
    let anchor = *machine.container(init).anchor();
    assert_eq!(anchor.boottime_offset, Some(1_000_000_000_000));
}

#[test]
fn pid_reuse_not_confused() {
    if !can_run("pid_reuse_not_confused") {
        return;
    }
    let machine = Machine::new();
    let cgroup = TestCgroup::new("reuse");
    let mut keys = Vec::new();
    // The kernel gives a dead namespace's number to the next one, so the identifier meets the same
    // number with another init.
    for _ in 0..5 {
        let run = cgroup_run(&cgroup, &format!("{OWN_NAMESPACES} sleep 60"));
        let init = run.descendant("sleep");
        let container = machine.container(init);
        assert_eq!(container.anchor().pid, init);
        keys.push(container.key());
        drop(run);
        support::wait_until(|| !machine.identifier.is_alive(&container).unwrap());
        assert_eq!(machine.identifier.identify(init).unwrap_err(), Error::Ended { tid: init });
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5);
}

#[test]
fn root_cgroup_is_host_view() {
    if !can_run("root_cgroup_is_host_view") {
        return;
    }
    let machine = Machine::new();
    for command in ["sleep 60", &format!("{OWN_NAMESPACES} sleep 60")] {
        let run = support::run_in_root_cgroup(command);
        let caller = run.descendant("sleep");
        assert!(machine.identifier.identify(caller).unwrap().is_none(), "{command}");
    }
}

#[test]
fn caller_outside_pidns_is_an_error() {
    if !can_run("caller_outside_pidns_is_an_error") {
        return;
    }
    let error = Machine::new().identifier.identify(0).unwrap_err();
    assert_eq!(error, Error::OutsidePidNamespace);
    assert_eq!(error.errno(), rustix::io::Errno::ACCESS);
    assert!(error.to_string().contains("--pid=host"));
}

#[test]
fn a_thread_that_is_no_process_is_its_processes_container() {
    if !can_run("a_thread_that_is_no_process_is_its_processes_container") {
        return;
    }
    let machine = Machine::new();
    let process = machine.identifier.identify(std::process::id()).unwrap();
    let of_thread = std::thread::scope(|scope| {
        scope.spawn(|| machine.identifier.identify(current_tid()).unwrap()).join().unwrap()
    });
    assert_eq!(of_thread.map(|one| one.key()), process.map(|one| one.key()));
}

#[test]
fn daemon_in_cgroupns_refuses() {
    let test = "daemon_in_cgroupns_refuses";
    if !can_run(test) {
        return;
    }
    if std::env::var_os("RESVIEW_TEST_INSIDE").is_some() {
        let refused = container::check_namespaces(&hostfs::HostFs::mount().unwrap());
        assert!(refused.unwrap_err().to_string().contains("cgroup namespace"));
        return;
    }
    let status = std::process::Command::new("unshare")
        .arg("--cgroup")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("RESVIEW_TEST_INSIDE", "1")
        .status()
        .unwrap();
    assert!(status.success());
    let own = container::check_namespaces(&hostfs::HostFs::mount().unwrap());
    if own.is_err() {
        testkit::skip(test, "these tests run in a namespace of their own");
    }
}

fn cgroup_run(cgroup: &TestCgroup, command: &str) -> support::Run {
    support::run_in(|pid| cgroup.add_pid(pid), command)
}
