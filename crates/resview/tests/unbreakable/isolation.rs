//! A container's root, in a user namespace of its own or in the host's, sees its own view only and
//! writes nothing. And what the worker looks like from outside.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use testkit::TestCgroup;

use crate::clients::{Client, can_have_clients, per_cgroup};
use crate::support::{Daemon, can_serve};

/// Root with all capabilities in namespaces of its own, as in a container.
const OWN_ROOT: &[&str] =
    &["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"];
/// Root as in a container without a user namespace.
const HOSTS_ROOT: &[&str] = &["unshare", "--mount", "--pid", "--fork", "--kill-child"];

/// A container that may have so many MiB.
fn container(daemon: &Daemon, way: &[&str], mib: u64) -> (TestCgroup, Client) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let cgroup = TestCgroup::new(&format!("isolation-{number}"));
    cgroup.set_memory(mib << 20);
    let client = Client::start(daemon, way, &cgroup);
    (cgroup, client)
}

fn mem_total(mib: u64) -> String {
    format!("MemTotal: {:>14} kB;", mib << 10)
}

fn is_refused(answer: &str) -> bool {
    matches!(answer, "EACCES" | "EPERM" | "EROFS")
}

#[test]
fn a_containers_root_sees_its_own_view_only() {
    if !can_have_clients("a_containers_root_sees_its_own_view_only") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    let (_one, mut spy) = container(&daemon, OWN_ROOT, 64);
    let (_other, mut victim) = container(&daemon, OWN_ROOT, 48);
    for (client, mib) in [(&mut spy, 64), (&mut victim, 48)] {
        let seen = client.ask("cat proc/meminfo");
        assert!(seen.starts_with(&mem_total(mib)), "{seen}");
    }
    // A descriptor shows its opener's view, to whomever it is given; nothing else changes.
    let (from, to) = (spy.open("r", "proc/meminfo"), daemon.path("socket"));
    victim.tell(&format!("receive {}", to.display()));
    assert_eq!(spy.ask(&format!("send {} {from}", to.display())), "sent");
    let given = victim.answer();
    assert!(victim.ask(&format!("read {given}")).starts_with(&mem_total(64)));
    assert!(victim.ask("cat proc/meminfo").starts_with(&mem_total(48)));
    assert!(spy.ask(&format!("read {from}")).starts_with(&mem_total(64)));
    // The host's procfs lies open before the spy, and the ways through it are closed.
    let report = daemon.status().unwrap();
    let supervisor = report["supervisor"]["pid"].as_u64().unwrap();
    let pids = [u64::from(daemon.worker().unwrap()), supervisor, u64::from(victim.pid())];
    for pid in pids {
        for way in ["root", "cwd", "map_files"] {
            let answer = spy.ask(&format!("list /proc/{pid}/{way}/"));
            assert!(is_refused(&answer), "{pid} {way}: {answer}");
        }
        for way in ["mem", "environ", "ns/mnt", "fd/0"] {
            let answer = spy.ask(&format!("open r /proc/{pid}/{way}"));
            assert!(is_refused(&answer), "{pid} {way}: {answer}");
        }
    }
}

/// All of a tree that can be compared: names.
fn names(client: &mut Client) -> Vec<String> {
    [".", "proc", "sys", "sys/devices/system/cpu"]
        .map(|dir| client.ask(&format!("list {dir}")))
        .into()
}

#[test]
fn a_containers_root_can_write_nothing() {
    if !can_have_clients("a_containers_root_can_write_nothing") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    for way in [OWN_ROOT, HOSTS_ROOT] {
        let (_cgroup, mut client) = container(&daemon, way, 64);
        let before = names(&mut client);
        let mut attempts = Vec::new();
        for file in ["proc/meminfo", "proc/swaps", "sys/devices/system/cpu/online"] {
            attempts.extend(["w", "rw", "t"].map(|how| format!("open {how} {file}")));
            attempts.extend(
                ["truncate _ 0", "chmod _ 511", "chown _ 0 0", "unlink _", "rename _ proc/new"]
                    .map(|call| format!("call {}", call.replace('_', file))),
            );
            attempts.push(format!("call link {file} proc/new"));
        }
        for dir in ["proc", "sys", "sys/devices/system/cpu", "."] {
            attempts.push(format!("open c {dir}/new"));
            attempts.push(format!("call mkdir {dir}/new"));
            attempts.push(format!("call mknod {dir}/new"));
            attempts.push(format!("call symlink target {dir}/new"));
        }
        attempts.push("call rmdir proc".to_owned());
        attempts.push("call rename proc other".to_owned());
        for attempt in attempts {
            let answer = client.ask(&attempt);
            assert!(is_refused(&answer), "{attempt}: {answer}");
        }
        for name in ["user.x", "trusted.x", "security.x"] {
            let answer = client.ask(&format!("call setxattr proc/meminfo {name} value"));
            assert!(is_refused(&answer) || answer == "EOPNOTSUPP", "{name}: {answer}");
        }
        assert_eq!(names(&mut client), before);
        assert!(client.ask("cat proc/meminfo").starts_with(&mem_total(64)));
    }
}

#[test]
fn a_container_has_so_many_triggers_and_its_neighbour_has_its_own() {
    if !can_have_clients("a_container_has_so_many_triggers_and_its_neighbour_has_its_own") {
        return;
    }
    const TRIGGER: &str = "some 1500000 2000000";
    let daemon = Daemon::start(&["--log", "error"]);
    let (_one, mut greedy) = container(&daemon, OWN_ROOT, 64);
    let (_other, mut modest) = container(&daemon, OWN_ROOT, 48);
    if !per_cgroup() {
        assert_eq!(greedy.ask("open rw proc/pressure/cpu"), "EOPNOTSUPP");
        return;
    }
    let try_one = |client: &mut Client| {
        let fd = client.open("rw", "proc/pressure/cpu");
        client.ask(&format!("write {fd} {TRIGGER}"))
    };
    for _ in 0..64 {
        assert_eq!(try_one(&mut greedy), TRIGGER.len().to_string());
    }
    assert_eq!(try_one(&mut greedy), "ENOSPC");
    assert_eq!(try_one(&mut modest), TRIGGER.len().to_string());
    let fd = greedy.open("rw", "proc/pressure/cpu");
    assert_eq!(
        greedy.ask(&format!("write {fd} some 1 500000")),
        "EINVAL",
        "a thread of the host's"
    );
}

/// The lines of a thread's status.
fn status(path: &std::path::Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path.join("status")).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn the_worker_has_next_to_no_powers() {
    if !can_serve("the_worker_has_next_to_no_powers") {
        return;
    }
    /// `CAP_DAC_OVERRIDE`, `CAP_SYS_PTRACE` and `CAP_SYS_RESOURCE`: see the crate `sandbox`.
    const WANTED: u64 = 1 << 1 | 1 << 19 | 1 << 24;
    let daemon = Daemon::start(&["--log", "error"]);
    let worker = daemon.worker().unwrap();
    let threads = std::fs::read_dir(format!("/proc/{worker}/task")).unwrap();
    let threads: Vec<_> = threads.map(|thread| status(&thread.unwrap().path())).collect();
    assert!(threads.len() > 2);
    for status in threads {
        assert_eq!(status["Seccomp"], "2", "{status:?}");
        assert_eq!(status["NoNewPrivs"], "1", "{status:?}");
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            let has = u64::from_str_radix(&status[set], 16).unwrap();
            assert_eq!(has & !WANTED, 0, "{set} {status:?}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&status[set], 16), Ok(0), "{set} {status:?}");
        }
    }
    // Of the machine's files there is nothing but its own procfs, its histories and its program.
    let root = std::fs::read_dir(format!("/proc/{worker}/root")).unwrap();
    let names: Vec<_> = root.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name == "etc" || name == "root"), "{names:?}");
}
