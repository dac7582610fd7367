//! Cgroups of tests, on whatever layout this machine has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Child, Command};

use testkit::{TestCgroup, need_root};

fn sleeper() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}

#[test]
fn limits_are_set_and_processes_moved() {
    if !need_root("limits_are_set_and_processes_moved") {
        return;
    }
    let cgroup = TestCgroup::new("limits");
    cgroup.set_memory(64 << 20);
    cgroup.set_swap(16 << 20);
    cgroup.set_quota(50_000, 100_000);
    cgroup.set_cpuset("0");
    assert_eq!(cgroup.read("cpuset", "cpuset.cpus").trim(), "0");

    let mut sleeper = sleeper();
    cgroup.add_pid(sleeper.id());
    let membership = std::fs::read_to_string(format!("/proc/{}/cgroup", sleeper.id())).unwrap();
    assert!(membership.contains(&cgroup.name()), "{membership}");
    let folder = cgroup.path("memory").to_owned();
    assert!(folder.is_dir());

    drop(cgroup);
    assert!(!folder.exists(), "{} is left", folder.display());
    assert!(!sleeper.wait().unwrap().success());
}

#[test]
fn a_cgroup_in_another_goes_with_it() {
    if !need_root("a_cgroup_in_another_goes_with_it") {
        return;
    }
    let pod = TestCgroup::new("pod");
    let app = pod.child("app");
    app.set_memory(32 << 20);
    let mut sleeper = sleeper();
    app.add_pid(sleeper.id());
    let (above, below) = (pod.path("memory").to_owned(), app.path("memory").to_owned());
    assert!(below.starts_with(&above) && below.is_dir());
    drop(pod);
    drop(app);
    assert!(!above.exists() && !below.exists());
    assert!(!sleeper.wait().unwrap().success());
}
