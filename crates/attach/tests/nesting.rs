//! Containers in which containers are made, and looking at what is there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use attach::{Ask, Inspect, Life, Nesting, Outcome, attach, device_of, inspect, namespaces_of};
use common::container::PLAIN;
use common::{
    Container, MEMINFO, Served, attach_usual, detach_usual, isolated, mounts_of, ours, outcomes,
    request,
};

/// Mounts a procfs and a sysfs of its own in a user namespace, as rootless engines do.
const PROC: &str = "unshare -Urmpf sh -c 'mount -t proc proc /proc'";
const SYS: &str = "unshare -Urmn sh -c 'mount -t sysfs sysfs /sys'";

fn full() -> Container {
    let mut container = Container::unmasked(PLAIN);
    // The machine's own sysfs has file systems on it, and so may its procfs.
    container.run("umount -Rl /sys; mount -t sysfs sysfs /sys");
    assert!(container.attempt(PROC).0 && container.attempt(SYS).0, "{:?}", container.attempt(SYS));
    container
}

/// Whether a mask keeps nested namespaces from a procfs and a sysfs of their own, as it does unless
/// the machine has left full ones under its root, from before its start.
fn masks_take_it_away() -> [bool; 2] {
    let mut masked = Container::new(PLAIN);
    masked.run("umount -Rl /sys; mount -t sysfs sysfs /sys; mount -t tmpfs mask /sys/firmware");
    [!masked.attempt(PROC).0, !masked.attempt(SYS).0]
}

#[test]
fn nested_containers_keep_their_proc_and_sys() {
    isolated("nested_containers_keep_their_proc_and_sys", || {
        let served = Served::new("of the view\n");
        let mut container = full();
        let before = mounts_of(container.pid);
        for _ in 0..2 {
            let report = attach(request(&served, container.process())).unwrap();
            assert!(report.files.iter().all(|file| file.outcome == Outcome::Attached));
            assert_eq!(report.hidden.len(), 2, "{report:?}");
            assert!(container.attempt(PROC).0, "{:?}", container.attempt(PROC));
            assert!(container.attempt(SYS).0, "{:?}", container.attempt(SYS));
            let again = attach(request(&served, container.process())).unwrap();
            assert!(again.hidden.is_empty(), "one is enough: {again:?}");
            assert_eq!(detach_usual(container.process()), 3);
            assert_eq!(mounts_of(container.pid), before);
        }
    });
}

#[test]
fn nesting_may_be_given_up_or_files_left_out() {
    isolated("nesting_may_be_given_up_or_files_left_out", || {
        let served = Served::new("of the view\n");
        let mut container = full();
        let before = mounts_of(container.pid);
        let mut request = request(&served, container.process());
        request.nesting = Nesting::LeaveAlone;
        let files = outcomes(attach(request.clone()).unwrap().files);
        let left = |one: &Outcome| matches!(one, Outcome::LeftAlone(why) if why.contains("masked"));
        assert!(files.iter().all(left), "{files:?}");
        assert_eq!(mounts_of(container.pid), before);

        request.nesting = Nesting::Ignore;
        attach(request.clone()).unwrap();
        let lost = [!container.attempt(PROC).0, !container.attempt(SYS).0];
        assert_eq!(lost, masks_take_it_away(), "the rule that it is for");
        // It can be had back.
        request.nesting = Nesting::Keep;
        assert_eq!(attach(request).unwrap().hidden.len(), 2);
        assert!(container.attempt(PROC).0 && container.attempt(SYS).0);
        detach_usual(container.process());
        assert_eq!(mounts_of(container.pid), before);
    });
}

#[test]
fn where_no_place_is_free_files_are_left_out_with_a_reason() {
    isolated("where_no_place_is_free_files_are_left_out_with_a_reason", || {
        let served = Served::new("of the view\n");
        let mut container = full();
        for place in ["/sys/fs/fuse/connections", "/sys/fs/pstore", "/sys/kernel/config"] {
            container.run(&format!("[ ! -d {place} ] || mount -t tmpfs taken {place}"));
        }
        let before = mounts_of(container.pid);
        let files = attach_usual(&served, container.process());
        let left =
            |one: &Outcome| matches!(one, Outcome::LeftAlone(why) if why.contains("no place"));
        assert!(files.iter().all(left), "{files:?}");
        assert_eq!(mounts_of(container.pid), before);
    });
}

#[test]
fn masked_containers_get_nothing_more() {
    isolated("masked_containers_get_nothing_more", || {
        let served = Served::new("of the view\n");
        let mut container = Container::new(PLAIN);
        let report = attach(request(&served, container.process())).unwrap();
        assert!(report.hidden.is_empty());
        assert!(!container.run("cat /proc/mounts").contains("/sys/fs/fuse/connections/"));
    });
}

#[test]
fn what_is_attached_is_told_without_asking_its_server() {
    isolated("what_is_attached_is_told_without_asking_its_server", || {
        let (mut first, mut second) =
            (Served::new("of the first\n"), Served::new("of the second\n"));
        let third = Served::new("of the third\n");
        let mut container = Container::new(PLAIN);
        attach_usual(&first, container.process());
        let mut one = attach::Attach::new(container.process(), ours());
        one.bindings.push(attach::Binding::file(second.path("meminfo"), MEMINFO));
        attach(one.clone()).unwrap();
        one.bindings = vec![attach::Binding::file(third.path("uptime"), "/proc/uptime")];
        attach(one).unwrap();
        let hung = first.hang();
        second.kill();
        let look = |ask| {
            let current = vec![device_of(&third.path("meminfo")).unwrap()];
            let request = Inspect { process: container.process(), ours: ours(), current, ask };
            let found = inspect(&request).unwrap();
            let mut lives: Vec<_> = found
                .into_iter()
                .map(|found| (found.target.display().to_string(), found.is_seen, found.life))
                .collect();
            lives.sort_by(|a, b| a.0.cmp(&b.0));
            lives
        };
        let told = |meminfo, cpu| {
            [
                ("/proc/meminfo".to_owned(), true, meminfo),
                ("/proc/uptime".to_owned(), true, Life::Current),
                ("/sys/devices/system/cpu".to_owned(), true, cpu),
            ]
        };
        assert_eq!(look(Ask::Never), told(Life::Other, Life::Other));
        let asked = look(Ask::Within(Duration::from_millis(300)));
        assert_eq!(asked, told(Life::Dead, Life::Silent));
        drop(hung);
        container.run("mount --bind /etc/passwd /proc/uptime");
        let request = Inspect {
            process: container.process(),
            ours: ours(),
            current: Vec::new(),
            ask: Ask::Within(Duration::from_secs(60)),
        };
        let found = inspect(&request).unwrap();
        let covered = found.iter().find(|found| found.target.ends_with("uptime")).unwrap();
        assert_eq!((covered.is_seen, covered.life), (false, Life::Other));
    });
}

#[test]
fn every_namespace_with_the_containers_procfs_is_found_once() {
    isolated("every_namespace_with_the_containers_procfs_is_found_once", || {
        let mut container = Container::new(PLAIN);
        container.begin("exec sleep 600");
        container.begin("exec unshare -m sleep 600");
        container.begin("exec unshare -mpf --mount-proc --kill-child sleep 600");
        // Its shell goes on to the next command when the last one has unshared.
        let children = || {
            let mut found = vec![container.pid];
            let mut next = 0;
            while let Some(&pid) = found.get(next) {
                let path = format!("/proc/{pid}/task/{pid}/children");
                let text = std::fs::read_to_string(path).unwrap_or_default();
                found.extend(text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
                next += 1;
            }
            found
        };
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let distinct = || {
            let mut all: Vec<_> = children().into_iter().filter_map(namespace).collect();
            all.sort();
            all.dedup();
            all.len()
        };
        let comm = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
        let sleeps = || {
            let sleeping = |&pid: &u32| comm(pid).is_ok_and(|comm| comm == "sleep\n");
            children().into_iter().filter(sleeping).count()
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while distinct() < 3 || sleeps() < 3 {
            assert!(std::time::Instant::now() < deadline, "{:?}", children());
            std::thread::sleep(Duration::from_millis(5));
        }
        let pids = children().into_iter().chain([1, u32::MAX, std::process::id()]);
        let found = namespaces_of(container.process(), pids).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], container.process());
        // They are attached to one by one, if the first did not reach them.
        let served = Served::new("of the view\n");
        for process in found {
            let files = attach_usual(&served, process);
            assert!(files.iter().all(Outcome::is_there), "{files:?}");
        }
    });
}

/// What a user namespace has inherited it keeps, so the new mount goes on top: as everywhere before
/// Linux 6.5.
#[test]
fn a_dead_mount_that_cannot_be_taken_away_is_covered() {
    isolated("a_dead_mount_that_cannot_be_taken_away_is_covered", || {
        let mut container = Container::new(PLAIN);
        let mut dead = Served::new("of the first\n");
        attach_usual(&dead, container.process());
        let fifo = tempfile::tempdir().unwrap();
        let path = fifo.path().to_str().unwrap().to_owned();
        // In the user namespace a shell tells its id and waits.
        container.begin(&format!(
            "exec unshare -Urm --propagation private sh -c \
             'echo $$ >{path}/new; mv {path}/new {path}/pid; until [ -e {path}/go ]; do sleep 0.01; done; \
              cat /proc/meminfo >{path}/read; exec sleep 600'"
        ));
        let until = |name: &str| {
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            while !fifo.path().join(name).exists() {
                assert!(std::time::Instant::now() < deadline, "no {name}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until("pid");
        let inner = std::fs::read_to_string(fifo.path().join("pid")).unwrap();
        let pid = in_host(container.pid, inner.trim());
        let process = attach::Process::running(pid).unwrap();
        dead.kill();
        let served = Served::new("of the second\n");
        let before = mounts_of(pid);
        let files = attach_usual(&served, process);
        assert_eq!(files, [Outcome::Replaced, Outcome::Replaced, Outcome::Replaced]);
        assert_eq!(mounts_of(pid).len(), before.len() + 3, "covered");
        std::fs::write(fifo.path().join("go"), "").unwrap();
        until("read");
        let lines = || std::fs::read_to_string(fifo.path().join("read")).unwrap();
        while lines().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(lines(), "of the second\n");
        let targets = vec![MEMINFO.into()];
        let error = attach::detach(attach::Detach::new(process, targets, ours())).unwrap_err();
        assert!(matches!(error, attach::Error::Locked { .. }), "{error}");
        let left = mounts_of(pid);
        assert_eq!(left.iter().filter(|line| line.contains(" /proc/meminfo ")).count(), 1);
    });
}

/// The process that has the id `inner` in the pid namespace of `container`, one of its children.
fn in_host(container: u32, inner: &str) -> u32 {
    let children = format!("/proc/{container}/task/{container}/children");
    let children = std::fs::read_to_string(children).unwrap();
    let is_it = |pid: &&str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("NSpid:")).map(str::to_owned);
        line.is_some_and(|line| line.split_whitespace().last() == Some(inner))
    };
    children.split_whitespace().find(is_it).unwrap().parse().unwrap()
}
