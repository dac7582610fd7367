//! Containers that do not want the view get a refusal or the view, and nobody else anything.

use api::{FileOutcome, Outcome};

use crate::inside::{Container, PLAIN};
use crate::reach::mounts_of;
use crate::reach::{Reach, can_reach, count, hosts_mem_total, is_on_the_machine, mem_total};

/// A container with a root of its own, in which it can do as it likes; `script` makes it, in the
/// directory that is going to be the root.
fn with_root(script: &str) -> Container {
    let mut container = Container::unmasked(&["-mpf", "--propagation", "private"]);
    container.run(&format!(
        "mount -t tmpfs root /mnt && cd /mnt && mkdir bin usr lib lib64 old real fake etc sys && \
         for dir in bin usr lib lib64 etc; do mount --bind /$dir $dir; done && {script}"
    ));
    container.run("cd /mnt && pivot_root . old && cd /");
    container
}

/// Attaching comes to nothing, and says why.
#[track_caller]
fn refused(reach: &Reach, container: &Container, says: &str) {
    let before = mounts_of(container.pid);
    let answer = reach.attach(container.pid);
    assert_eq!(answer.outcome, Outcome::Failed, "{answer:?}");
    let reason = answer.reason.clone().unwrap_or_default();
    assert!(reason.contains(says), "{reason}");
    assert_eq!(mounts_of(container.pid), before);
    reach.detach(container.pid);
    assert_eq!(mounts_of(container.pid), before);
}

/// The test, which must leave the daemon's mounts as they were, and give the machine none.
fn nothing_changes_outside(test: &str, body: impl FnOnce(&Reach)) {
    if !can_reach(test, &["pivot_root", "busybox"]) {
        return;
    }
    let reach = Reach::start(&[]);
    let outside = mounts_of(reach.daemon.witness());
    body(&reach);
    assert_eq!(mounts_of(reach.daemon.witness()), outside);
    assert!(!is_on_the_machine(&reach));
    assert!(reach.status().is_some(), "the agent goes on");
}

#[test]
fn links_in_the_place_of_proc_are_not_followed() {
    nothing_changes_outside("links_in_the_place_of_proc_are_not_followed", |reach| {
        for script in [
            "mount -t proc proc real && ln -s real proc",
            "mkdir proc && mount -t proc proc real && ln -s ../real/meminfo proc/meminfo",
            "ln -s ../../../../../../proc proc",
            "ln -s /old/proc proc",
        ] {
            refused(reach, &with_root(script), "a symbolic link leads there");
        }
    });
}

#[test]
fn a_proc_that_is_none_is_refused() {
    nothing_changes_outside("a_proc_that_is_none_is_refused", |reach| {
        let files = "touch proc/meminfo && echo 1 > proc/stat";
        let fake = with_root(&format!("mkdir proc && mount -t tmpfs fake proc && {files}"));
        refused(reach, &fake, "(tmpfs) is mounted on /proc");
        let plain = with_root(&format!("mkdir proc && {files}"));
        refused(reach, &plain, "of root (tmpfs)");
    });
}

#[test]
fn what_a_container_has_mounted_over_a_file_is_named() {
    nothing_changes_outside("what_a_container_has_mounted_over_a_file_is_named", |reach| {
        let mut container = Container::new(PLAIN);
        for (source, says) in [("/etc/passwd", "/etc/passwd"), ("/proc/1/maps", "/1/maps of proc")]
        {
            container.run(&format!("mount --bind {source} /proc/meminfo"));
            refused(reach, &container, says);
            container.run("umount /proc/meminfo");
        }
        // A directory of the container's over all of it has nothing to be covered but itself.
        container.run("mount --bind /etc /proc");
        let before = mounts_of(container.pid);
        let answer = reach.attach(container.pid);
        assert_eq!(count(&answer, FileOutcome::Replaced), 0, "{answer:?}");
        reach.detach(container.pid);
        assert_eq!(mounts_of(container.pid), before);
        container.run("busybox umount -l /proc"); // which needs no procfs for it
        assert_eq!(reach.attach(container.pid).outcome, Outcome::Attached, "it is as others now");
    });
}

#[test]
fn a_storm_of_mounts_gets_the_view_or_a_refusal() {
    nothing_changes_outside("a_storm_of_mounts_gets_the_view_or_a_refusal", |reach| {
        let mut container = Container::new(PLAIN);
        let before = mounts_of(container.pid);
        let dir = tempfile::tempdir().unwrap();
        let end = dir.path().join("end").display().to_string();
        for victim in ["/proc/meminfo", "/proc/uptime", "/sys/devices/system/cpu"] {
            let source = if victim.starts_with("/sys") { "/mnt" } else { "/etc/passwd" };
            container.begin(&format!(
                "until [ -e {end} ]; do mount --bind {source} {victim}; umount {victim}; done"
            ));
        }
        let (mut attached, mut refused) = (0, 0);
        for _ in 0..12 {
            match reach.attach(container.pid).outcome {
                Outcome::Attached | Outcome::Already => attached += 1,
                Outcome::Failed => refused += 1,
                other => panic!("{other:?}"),
            }
            reach.detach(container.pid);
        }
        container.run(&format!("touch {end}; wait"));
        container.run(
            "for file in /proc/meminfo /proc/uptime /sys/devices/system/cpu; do \
             while umount $file; do :; done; done 2>/dev/null; true",
        );
        reach.detach(container.pid);
        assert_eq!(mounts_of(container.pid), before);
        let answer = reach.attach(container.pid);
        assert_eq!(answer.outcome, Outcome::Attached, "{answer:?}");
        testkit::figures("storm", &format!("{attached} attached, {refused} refused"));
    });
}

#[test]
fn the_host_itself_is_left_alone() {
    nothing_changes_outside("the_host_itself_is_left_alone", |reach| {
        let host = mounts_of(std::process::id());
        // The machine's first process, and one beside the agent. (The test itself may run in mounts
        // of its own, and is a container then like any other.)
        for pid in [1, reach.daemon.witness()] {
            let answer = reach.attach(pid);
            assert_eq!(answer.outcome, Outcome::Failed, "{pid}: {answer:?}");
        }
        assert_eq!(mounts_of(std::process::id()).len(), host.len());
        assert_eq!(mem_total(std::process::id()), hosts_mem_total());
        assert!(reach.registered().is_empty(), "{:?}", reach.registered());
    });
}
