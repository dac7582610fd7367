//! Containers that do not want it, or want more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attach::{Attach, Binding, Detach, Error, Outcome, Process, attach, detach};
use common::container::PLAIN;
use common::{
    Container, MEMINFO, SOURCE, Served, UPTIME, attach_usual, detach_usual, isolated, mounts_of,
    ours, outcomes, own_mounts, request,
};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};

/// A container with a root of its own, in which it can do as it likes; `script` makes it, in the
/// directory that is going to be the root.
fn with_root(script: &str) -> Container {
    let mut container = Container::unmasked(&["-mpf", "--propagation", "private"]);
    container.run(&format!(
        "mount -t tmpfs root /mnt && cd /mnt && \
         mkdir bin usr lib lib64 old real fake etc && \
         for dir in bin usr lib lib64 etc; do mount --bind /$dir $dir; done && {script}"
    ));
    container.run("cd /mnt && pivot_root . old && cd /");
    container
}

fn meminfo_alone(served: &Served, process: Process) -> Result<Vec<Outcome>, Error> {
    let mut request = Attach::new(process, ours());
    request.bindings.push(Binding::file(served.path("meminfo"), MEMINFO));
    attach(request).map(|report| outcomes(report.files))
}

fn refused(container: &Container, served: &Served, says: &str) {
    let before = mounts_of(container.pid);
    let error = meminfo_alone(served, container.process()).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(says) && text.contains(MEMINFO), "{text}");
    assert_eq!(mounts_of(container.pid), before);
    let detaching = Detach::new(container.process(), vec![MEMINFO.into()], ours());
    assert!(detach(detaching).map_or(true, |detached| detached.targets.is_empty()));
    assert_eq!(mounts_of(container.pid), before);
}

#[test]
fn symbolic_links_are_not_followed() {
    isolated("symbolic_links_are_not_followed", || {
        let served = Served::new("of the view\n");
        let link = with_root("mount -t proc proc real && ln -s real proc");
        refused(&link, &served, "a symbolic link leads there");
        let inside = with_root(
            "mkdir proc && mount -t proc proc real && ln -s ../real/meminfo proc/meminfo",
        );
        refused(&inside, &served, "a symbolic link leads there");
        let upwards = with_root("ln -s ../../../../../../proc proc");
        refused(&upwards, &served, "a symbolic link leads there");
    });
}

#[test]
fn what_only_looks_like_proc_is_refused() {
    isolated("what_only_looks_like_proc_is_refused", || {
        let served = Served::new("of the view\n");
        let fake = with_root("mkdir proc && mount -t tmpfs fake proc && touch proc/meminfo");
        refused(&fake, &served, "/ of fake (tmpfs) is mounted on /proc");
        let plain = with_root("mkdir proc && touch proc/meminfo");
        refused(&plain, &served, "/ of root (tmpfs) is mounted on /");
        let shifted = with_root(
            "mkdir proc && mount -t proc proc real && mount --bind real/1 proc && \
             mount --bind real/1/status proc/status && touch fake/meminfo && mkdir -p proc/task",
        );
        // There is no meminfo in a process's directory.
        let files = meminfo_alone(&served, shifted.process()).unwrap();
        assert_eq!(files, [Outcome::Missing]);
        let file = with_root("touch proc");
        refused(&file, &served, "a file is in the way");
    });
}

#[test]
fn what_is_mounted_over_a_file_is_refused_by_name() {
    isolated("what_is_mounted_over_a_file_is_refused_by_name", || {
        let served = Served::new("of the view\n");
        let mut container = Container::new(PLAIN);
        for (file, says) in [("/etc/passwd", "/etc/passwd"), ("/proc/1/maps", "/1/maps of proc")] {
            container.run(&format!("mount --bind {file} /proc/meminfo"));
            refused(&container, &served, says);
            container.run("umount /proc/meminfo");
        }
        container.run("mount -t tmpfs hidden /proc");
        let files = meminfo_alone(&served, container.process()).unwrap();
        assert_eq!(files, [Outcome::Missing]);
    });
}

/// The line of a process's root mount, whose ids no other namespace has.
fn root_of(pid: u32) -> String {
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let is_root = |line: &&str| line.split_whitespace().nth(4) == Some("/");
    table.lines().find(is_root).unwrap().to_owned()
}

#[test]
fn the_hosts_namespace_is_never_touched() {
    isolated("the_hosts_namespace_is_never_touched", || {
        let served = Served::new("of the view\n");
        let before = own_mounts();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        // Where the tests themselves run in a namespace of their own, only the first is the host's.
        let is_hosts = |pid: &u32| root_of(*pid) == root_of(1);
        for pid in [1, std::process::id(), child.id()].into_iter().filter(is_hosts) {
            let process = Process::running(pid).unwrap();
            let error = meminfo_alone(&served, process).unwrap_err();
            assert!(matches!(error, Error::HostNamespace { .. }), "{error}");
            let detaching = Detach::new(process, vec![MEMINFO.into()], ours());
            assert!(matches!(detach(detaching), Err(Error::HostNamespace { .. })));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(own_mounts(), before);
    });
}

#[test]
fn mounts_that_the_host_would_get_are_refused() {
    isolated("mounts_that_the_host_would_get_are_refused", || {
        let served = Served::new("of the view\n");
        let dir = tempfile::tempdir().unwrap();
        mount_bind(dir.path(), dir.path()).unwrap();
        mount_change(dir.path(), MountPropagationFlags::SHARED).unwrap();
        // The container keeps the host's peer groups, and lies in one of them.
        let mut container = Container::unmasked(&["-mpf", "--propagation", "unchanged"]);
        let path = dir.path().to_str().unwrap();
        container.run(&format!("mkdir {path}/proc && mount -t proc proc {path}/proc"));
        let before = own_mounts();
        let mut request = Attach::new(container.process(), ours());
        request.root = attach::Root::BeforePivot(dir.path().to_owned());
        request.bindings.push(Binding::file(served.path("meminfo"), MEMINFO));
        let error = attach(request).unwrap_err();
        assert!(matches!(error, Error::Shared { .. }), "{error}");
        assert_eq!(own_mounts(), before);
        container.run(&format!("umount {path}/proc"));
        drop(container);
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn another_process_with_the_same_id_is_left_alone() {
    isolated("another_process_with_the_same_id_is_left_alone", || {
        let served = Served::new("of the view\n");
        let container = Container::new(PLAIN);
        let before = mounts_of(container.pid);
        let process = container.process();
        let earlier = Process { start_time: process.start_time - 1, ..process };
        let error = meminfo_alone(&served, earlier).unwrap_err();
        assert!(matches!(error, Error::Another { .. }), "{error}");
        assert_eq!(mounts_of(container.pid), before);
        drop(container);
        let error = meminfo_alone(&served, process).unwrap_err();
        assert!(matches!(error, Error::Ended { .. } | Error::Another { .. }), "{error}");
    });
}

#[test]
fn a_container_may_die_at_any_moment() {
    isolated("a_container_may_die_at_any_moment", || {
        let served = Served::new("of the view\n");
        for round in 0..40_u32 {
            let container = Container::new(PLAIN);
            let process = container.process();
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_micros(u64::from(round) * 50));
                drop(container);
            });
            // What comes of it depends on the moment; it comes to an end, and leaves nothing.
            match attach(request(&served, process)) {
                Ok(report) => assert_eq!(report.files.len(), 3),
                Err(error) => assert!(!matches!(error, Error::Left { .. }), "{error}"),
            }
            killer.join().unwrap();
        }
    });
}

/// The container mounts and unmounts over and around the targets while it is attached to.
#[test]
fn a_storm_of_mounts_gets_a_refusal_or_the_view() {
    isolated("a_storm_of_mounts_gets_a_refusal_or_the_view", || {
        let served = Served::new("of the view\n");
        let mut container = Container::new(PLAIN);
        let before = mounts_of(container.pid);
        let dir = tempfile::tempdir().unwrap();
        let end = dir.path().join("end").display().to_string();
        for victim in ["/proc/meminfo", "/proc/uptime"] {
            container.begin(&format!(
                "until [ -e {end} ]; do mount --bind /etc/passwd {victim}; \
                 umount {victim}; done"
            ));
        }
        let outside = own_mounts();
        let (mut attached, mut refused) = (0, 0);
        for _ in 0..60 {
            match attach(request(&served, container.process())) {
                Ok(_) => attached += 1,
                Err(Error::Refused { .. } | Error::Restless { .. }) => refused += 1,
                // It unmounts ours as well as its own: then there is nothing left to undo.
                Err(error) => panic!("{error:?}"),
            }
            let targets = vec![MEMINFO.into(), UPTIME.into()];
            let _ = detach(Detach::new(container.process(), targets, ours()));
        }
        assert_eq!(own_mounts(), outside);
        assert_eq!(attached + refused, 60);
        container.run(&format!("touch {end}; wait"));
        container.run("while umount /proc/meminfo; do :; done 2>/dev/null; true");
        container.run("while umount /proc/uptime; do :; done 2>/dev/null; true");
        detach_usual(container.process());
        assert_eq!(mounts_of(container.pid), before);
        testkit::figures("storm", &format!("{attached} attached, {refused} refused"));
    });
}

#[test]
fn thousands_of_mounts_are_only_slow() {
    isolated("thousands_of_mounts_are_only_slow", || {
        let served = Served::new("of the view\n");
        let mut container = Container::new(PLAIN);
        container
            .run("mount -t tmpfs many /mnt && mkdir /mnt/a /mnt/b && mount --bind /mnt/a /mnt/a");
        // Each more than doubles what is there.
        for _ in 0..8 {
            container.run(
                "d=/mnt/b/$(ls /mnt/b | wc -l) && mkdir $d && mount --rbind /mnt/a $d && \
                           mkdir -p /mnt/a/x && mount --rbind /mnt/b /mnt/a/x 2>/dev/null || true",
            );
        }
        let before = mounts_of(container.pid);
        assert!(before.len() > 2000, "{}", before.len());
        attach_usual(&served, container.process());
        assert_eq!(container.run("cat /proc/meminfo"), "of the view\n");
        assert_eq!(detach_usual(container.process()), 3);
        assert_eq!(mounts_of(container.pid), before);
    });
}

#[test]
fn file_systems_of_the_container_that_hang_are_not_asked() {
    isolated("file_systems_of_the_container_that_hang_are_not_asked", || {
        let served = Served::new("of the view\n");
        let mut evil = Served::of_type("evil", "of the container\n");
        let mut container = Container::new(PLAIN);
        container.run(&format!("mount --bind {} /proc", evil.path("").display()));
        let session = evil.hang();
        refused(&container, &served, "(fuse.evil) is mounted on the way there");
        drop(session);
    });
}

#[test]
fn a_root_that_hangs_is_given_up() {
    isolated("a_root_that_hangs_is_given_up", || {
        let served = Served::new("of the view\n");
        let mut evil = Served::of_type("evil", "of the container\n");
        let mut container = Container::new(PLAIN);
        let root = evil.path("");
        container.run(&format!("cd {} && mount --rbind . . && cd {0}", root.display()));
        let session = Arc::new(AtomicBool::new(false));
        let hung = evil.hang();
        let mut request = Attach::new(container.process(), ours());
        request.root = attach::Root::BeforePivot(root.join("cpu"));
        request.limit = Duration::from_millis(200);
        request.bindings.push(Binding::file(served.path("meminfo"), MEMINFO));
        let error = attach(request).unwrap_err();
        assert!(matches!(error, Error::Hangs { .. }), "{error}");
        session.store(true, Ordering::SeqCst);
        drop(hung);
        drop(container);
    });
}

#[test]
fn nothing_astray_is_called_ours() {
    isolated("nothing_astray_is_called_ours", || {
        // A container may mount what looks like ours elsewhere; only the targets are touched.
        let served = Served::new("of the view\n");
        let mut container = Container::new(PLAIN);
        container.run(&format!("mount --bind {} /mnt", served.path("cpu").display()));
        let before = mounts_of(container.pid);
        attach_usual(&served, container.process());
        assert_eq!(detach_usual(container.process()), 3);
        assert_eq!(mounts_of(container.pid), before);
        assert!(before.iter().any(|line| line.contains(SOURCE)));
    });
}
