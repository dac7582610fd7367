//! Whose pressure it is, and what is missing.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use testkit::TestCgroup;

use crate::common::client::{Client, TRIGGER, per_cgroup};
use crate::common::{can_run, eventually, mounted, run_sh, stdout_of};
use crate::support::Daemon;

#[test]
fn io_pressure_is_own() {
    let Some(daemon) = Daemon::start("io_pressure_is_own") else { return };
    let cgroup = TestCgroup::new("pressure-own");
    let mut client = Client::start(&daemon, &[], &cgroup);
    if !per_cgroup() {
        assert_eq!(client.ask("open rw proc/pressure/io"), "EOPNOTSUPP");
        return;
    }
    for name in ["cpu", "memory", "io"] {
        let fd = client.open_pressure(name);
        eventually("a moment in which nothing changes", || {
            let own = || cgroup.read("unified", &format!("{name}.pressure")).replace('\n', ";");
            let (before, seen, after) = (own(), client.ask(&format!("read {fd}")), own());
            assert!(seen.starts_with("some avg10="), "{seen}");
            if before == after {
                assert_eq!(seen, before);
            }
            before == after
        });
    }
}

#[test]
fn the_files_are_those_of_the_host() {
    let Some(daemon) = Daemon::start("the_files_are_those_of_the_host") else { return };
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let directory = daemon.file("proc/pressure");
    assert_eq!(names(&directory), names(Path::new("/proc/pressure")));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&directory), mode(&directory.join("io"))), (0o555, 0o666));
    assert_eq!(mounted(daemon.pid(), &directory).unwrap().0, "fuse.resview");
}

#[test]
fn a_caller_of_the_host_gets_the_hosts_own() {
    let Some(daemon) = Daemon::start("a_caller_of_the_host_gets_the_hosts_own") else { return };
    let mut client = Client::of_host(&daemon);
    let fd = client.open_pressure("cpu");
    eventually("a moment in which nothing changes", || {
        let own = || std::fs::read_to_string("/proc/pressure/cpu").unwrap().replace('\n', ";");
        let (before, seen, after) = (own(), client.ask(&format!("read {fd}")), own());
        before == after && seen == before
    });
    // The kernel drops the last byte of what is written to the host's own file, which would make
    // this window too short.
    assert_eq!(client.write(&fd, TRIGGER), "ok");
    assert_eq!(client.write(&fd, TRIGGER), "EBUSY");
}

#[test]
fn missing_pressure_is_an_error() {
    let Some(daemon) = Daemon::start("missing_pressure_is_an_error") else { return };
    let cgroup = TestCgroup::new("pressure-missing");
    let mut client = Client::start(&daemon, &[], &cgroup);
    if !per_cgroup() {
        for name in ["cpu", "memory", "io"] {
            assert_eq!(client.ask(&format!("open rw proc/pressure/{name}")), "EOPNOTSUPP");
        }
        return;
    }
    let fd = client.open_pressure("cpu");
    cgroup.write("unified", "cgroup.pressure", "0");
    assert_eq!(client.ask("open rw proc/pressure/cpu"), "EOPNOTSUPP");
    assert_eq!(client.ask(&format!("read {fd}")), "ENODEV");
    assert_eq!(client.write(&fd, TRIGGER), "ENODEV");
    cgroup.write("unified", "cgroup.pressure", "1");
    client.open_pressure("cpu");
    assert_eq!(client.ask("open rw proc/pressure/none"), "ENOENT");
}

#[test]
fn poll_elsewhere_is_enosys() {
    let Some(daemon) = Daemon::start("poll_elsewhere_is_enosys") else { return };
    let mut client = Client::of_host(&daemon);
    assert_eq!(client.ask("open rw proc/uptime"), "EACCES");
    // The kernel's own answer for a file that is not polled: never PRI, never ERR.
    let fd = client.open("r", "proc/uptime");
    assert_eq!(client.ask(&format!("poll {fd} IN+PRI+OUT 60000")), "IN+OUT");
    // On the other connection POLL is asked all the same.
    let fd = client.open_pressure("cpu");
    assert_eq!(client.ask(&format!("poll {fd} PRI 60000")), "PRI+ERR");
}

#[test]
fn a_run_has_its_own_pressure() {
    if !can_run("a_run_has_its_own_pressure") {
        return;
    }
    let script =
        "grep -c ' /proc/pressure ' /proc/self/mountinfo; cat /proc/pressure/io 2>&1; true";
    let text = stdout_of(&run_sh(&[], script));
    let (binds, content) = text.split_once('\n').unwrap();
    assert_eq!(binds, "1", "{text}");
    let expected = if per_cgroup() { "some avg10=0.00" } else { "not supported" };
    assert!(content.contains(expected), "{text}");
}
