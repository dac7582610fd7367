//! What is around the daemon is odd, broken or taken away. 4096 CPUs are in the golden files of `view`.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fuse::{Connection, Features, MountOptions};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::process::Signal;
use testkit::{TestCgroup, hierarchies};

use crate::clients::{Client, can_have_clients, per_cgroup};
use crate::common::client::different_triggers;
use crate::common::{RESVIEW, code, eventually, seen_by};
use crate::support::{
    Daemon, LONG, assert_container_good, assert_good, can_serve, in_mounts_of, kill,
};

fn mem_total(mib: u64) -> String {
    format!("MemTotal: {:>14} kB;", mib << 10)
}

/// Runs a script in the daemon's mount namespace.
#[track_caller]
fn in_mounts(daemon: &Daemon, script: &str) {
    let output = in_mounts_of(daemon.witness()).args(["sh", "-ec", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_hosts_own_procfs_may_be_covered_by_the_view() {
    if !can_have_clients("the_hosts_own_procfs_may_be_covered_by_the_view") {
        return;
    }
    let mut daemon = Daemon::start(&["--log", "error"]);
    let cover = format!(
        "cd {}; for file in proc/*; do [ -d $file ] || mount --bind $file /$file; done; \
         mount --bind sys/devices/system/cpu /sys/devices/system/cpu",
        daemon.mountpoint.display()
    );
    in_mounts(&daemon, &cover);
    let cgroup = TestCgroup::new("surroundings-covered");
    cgroup.set_memory(64 << 20);
    let mut client = Client::start(&daemon, &[], &cgroup);
    let mut look = |daemon: &Daemon| {
        for path in ["/proc/meminfo", "proc/meminfo"] {
            let seen = client.ask(&format!("cat {path}"));
            assert!(seen.starts_with(&mem_total(64)), "{path}: {seen}");
        }
        let host = seen_by(daemon.witness(), Path::new("/proc/meminfo"));
        assert!(std::fs::read_to_string(host).unwrap().starts_with("MemTotal:"));
    };
    look(&daemon);
    let worker = daemon.worker().unwrap();
    kill(worker, Signal::KILL);
    eventually("another worker serves", || daemon.worker().is_some_and(|pid| pid != worker));
    look(&daemon);
    let output = daemon.command(&["upgrade", RESVIEW]);
    assert!(output.status.success(), "{output:?}");
    look(&daemon);
    daemon.start_again(&["--log", "error"]);
    look(&daemon);
    // With nobody left the covers are dead, and a new start does not look at them.
    let worker = daemon.worker().unwrap();
    daemon.running.signal(Signal::KILL);
    kill(worker, Signal::KILL);
    daemon.start_again(&["--log", "error"]);
    let fresh = seen_by(daemon.witness(), &daemon.mountpoint).join("proc/meminfo");
    assert!(std::fs::read_to_string(fresh).unwrap().starts_with("MemTotal:"));
}

/// Connections that are mounted and that nobody serves.
struct Unserved(Vec<fuse::Session>);

/// Mounts FUSE file systems on `directories` in a mount namespace.
fn mount_in(namespace: u32, directories: Vec<PathBuf>, subtype: &'static str) -> Unserved {
    let mounts = File::open(format!("/proc/{namespace}/ns/mnt")).unwrap();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS).unwrap();
        setns(mounts, CloneFlags::CLONE_NEWNS).unwrap();
        let sessions = directories.into_iter().map(|mountpoint| {
            let connection = Connection::mount(&MountOptions {
                mountpoint,
                subtype: subtype.to_owned(),
                source: subtype.to_owned(),
                allow_other: true,
                default_permissions: true,
                read_only: false,
            });
            connection.unwrap().init(&Features::default()).unwrap()
        });
        Unserved(sessions.collect())
    });
    thread.join().unwrap()
}

#[test]
fn dead_and_hung_mounts_all_around_are_not_touched() {
    if !can_serve("dead_and_hung_mounts_all_around_are_not_touched") {
        return;
    }
    let mut hung = None;
    let mut daemon = Daemon::start_after(&["--log", "error"], |namespace, dir| {
        let directories = |of: &str| -> Vec<_> {
            let all = (0..10).map(|index| dir.join(format!("{of}-{index}")));
            all.inspect(|path| std::fs::create_dir(path).unwrap()).collect()
        };
        for subtype in ["resview", "lxcfs", "sshfs"] {
            drop(mount_in(namespace, directories(subtype), subtype));
        }
        hung = Some(mount_in(namespace, directories("hung"), "resview"));
    });
    let container = daemon.container();
    let reader = daemon.host_reader();
    let worker = daemon.worker().unwrap();
    kill(worker, Signal::KILL);
    eventually("another worker serves", || daemon.worker().is_some_and(|pid| pid != worker));
    let output = daemon.command(&["upgrade", RESVIEW]);
    assert!(output.status.success(), "{output:?}");
    daemon.start_again(&["--log", "error"]);
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
    assert_container_good(&container.end());
    assert_eq!(hung.unwrap().0.len(), 10, "they hung to the end");
}

#[test]
fn a_view_that_is_unmounted_under_the_daemon_ends_it_with_a_message() {
    if !can_serve("a_view_that_is_unmounted_under_the_daemon_ends_it_with_a_message") {
        return;
    }
    let mut daemon = Daemon::start(&["--log", "error"]);
    let log = daemon.start_again_logging(&["--log", "info"]);
    let worker = daemon.worker().unwrap();
    in_mounts(&daemon, &format!("umount -l {}", daemon.mountpoint.display()));
    let mut ended = None;
    eventually("the daemon ends", || {
        ended = daemon.running.has_ended();
        ended.is_some()
    });
    assert_eq!(code(ended.unwrap()), 0);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("unmounted"), "{log}");
    eventually("its worker ends", || !Path::new(&format!("/proc/{worker}")).exists());
    // And the next start finds a place to mount on.
    daemon.start_again(&["--log", "error"]);
    let meminfo = seen_by(daemon.witness(), &daemon.mountpoint).join("proc/meminfo");
    assert!(std::fs::read_to_string(meminfo).unwrap().starts_with("MemTotal:"));
}

/// Waits by the wall clock of a process and its threads: what proc_pid_syscall(5) shows of them, and
/// their timers.
fn wall_clock_waits(pid: u32) -> Vec<String> {
    /// `FUTEX_CLOCK_REALTIME` of linux/futex.h, and `CLOCK_REALTIME` of linux/time.h.
    const FUTEX_CLOCK_REALTIME: u64 = 256;
    let mut waits = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let call = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        let words: Vec<_> = call
            .split_whitespace()
            .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap_or(0))
            .collect();
        let number = call.split_whitespace().next().and_then(|word| word.parse().ok());
        let has_limit = words.get(4).is_some_and(|&limit| limit != 0);
        if number == Some(nix::libc::SYS_futex)
            && has_limit
            && words.get(2).is_some_and(|operation| operation & FUTEX_CLOCK_REALTIME != 0)
        {
            waits.push(call);
        }
    }
    for open in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten() {
        let info = std::fs::read_to_string(open.path()).unwrap_or_default();
        if info.lines().any(|line| line.trim() == "clockid: 0") {
            waits.push(info);
        }
    }
    waits
}

/// A clock is really stepped where a machine can be had for that: `xtask test --only systemd`.
#[test]
fn nothing_waits_by_the_wall_clock() {
    if !can_serve("nothing_waits_by_the_wall_clock") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    let container = daemon.container();
    let reader = daemon.host_reader();
    let worker = daemon.worker().unwrap();
    for _ in 0..50 {
        for pid in [worker, daemon.running.pid()] {
            assert_eq!(wall_clock_waits(pid), [""; 0], "process {pid}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let worker = daemon.worker().unwrap();
    kill(worker, Signal::KILL);
    eventually("another worker serves", || daemon.worker().is_some_and(|pid| pid != worker));
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
    assert_container_good(&container.end());
}

#[test]
fn two_hundred_and_fifty_six_descriptors_are_enough() {
    if !can_have_clients("two_hundred_and_fifty_six_descriptors_are_enough") {
        return;
    }
    const CONTAINERS: u64 = 30;
    let wrapper = tempfile::tempdir().unwrap();
    let program = wrapper.path().join("resview");
    std::fs::write(&program, format!("#!/bin/sh\nulimit -n 256\nexec {RESVIEW} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = Daemon::start_program(&program, &["--log", "error"]);
    let worker = daemon.worker().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(limit.split_whitespace().next(), Some("256"));
    let containers: Vec<_> = (0..CONTAINERS)
        .map(|index| {
            let cgroup = TestCgroup::new(&format!("surroundings-few-{index}"));
            cgroup.set_memory((32 + index) << 20);
            cgroup
        })
        .collect();
    let mut clients: Vec<_> =
        containers.iter().map(|cgroup| Client::start(&daemon, &[], cgroup)).collect();
    let look = |clients: &mut Vec<Client>| {
        for (index, client) in clients.iter_mut().enumerate() {
            let mib = 32 + u64::try_from(index).unwrap();
            assert!(client.ask("cat proc/meminfo").starts_with(&mem_total(mib)), "{mib}");
            for file in ["proc/stat", "proc/loadavg", "proc/vmstat"] {
                let seen = client.ask(&format!("cat {file}"));
                assert!(seen.len() > 20, "{file}: {seen}");
            }
            // Nothing, on a machine without disks, but no error.
            let disks = client.ask("cat proc/diskstats");
            assert!(!disks.starts_with('E'), "{disks}");
        }
    };
    look(&mut clients);
    if per_cgroup() {
        // Triggers hold descriptors. Whoever sets many is refused, and nobody's reads fail.
        let mut refused = Vec::new();
        for client in clients.iter_mut().take(6) {
            let fds: Vec<_> = (0..64).map(|_| client.open_pressure("cpu")).collect();
            let written =
                fds.iter().zip(different_triggers()).map(|(fd, text)| client.write(fd, &text));
            refused.extend(written.filter(|answer| answer != "ok"));
        }
        assert_eq!(refused.len(), 6 * 64 - 256 / 8);
        for errno in ["ENOSPC", "ENFILE"] {
            assert!(refused.iter().any(|answer| answer == errno), "{errno}: {refused:?}");
        }
        assert!(refused.iter().all(|answer| ["ENOSPC", "ENFILE"].contains(&&**answer)));
        look(&mut clients);
    }
    assert_eq!(daemon.worker(), Some(worker), "it lives");
}

#[test]
fn ten_thousand_cgroups_are_survived() {
    if !can_have_clients("ten_thousand_cgroups_are_survived") {
        return;
    }
    let cgroup = TestCgroup::new("surroundings-many");
    cgroup.set_memory(64 << 20);
    // Where the tasks of a container are counted: the container has them all, as with an init that
    // makes one for each service.
    let many = match hierarchies().iter().find(|hierarchy| hierarchy.v2 && hierarchies().len() == 1)
    {
        Some(_) => cgroup.path("unified"),
        None => cgroup.path("pids"),
    };
    for index in 0..10_000 {
        std::fs::create_dir(many.join(format!("n{index}"))).unwrap();
    }
    let daemon = Daemon::start(&["--log", "error"]);
    let mut client = Client::start(&daemon, &[], &cgroup);
    for _ in 0..3 {
        for file in ["proc/loadavg", "proc/stat", "proc/uptime", "proc/vmstat", "proc/diskstats"] {
            assert!(client.ask(&format!("cat {file}")).len() > 5, "{file}");
        }
        assert!(client.ask("cat proc/meminfo").starts_with(&mem_total(64)));
    }
    let worker = daemon.worker().unwrap();
    kill(worker, Signal::KILL);
    eventually("another worker serves", || daemon.worker().is_some_and(|pid| pid != worker));
    assert!(client.ask("cat proc/meminfo").starts_with(&mem_total(64)));
}
