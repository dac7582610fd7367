//! Containers of real runtimes, and of images without anything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

use attach::{Outcome, Process};
use common::container::PLAIN;
use common::{Served, attach_usual, detach_usual, isolated, mounts_of};

fn a_container_of(runtime: &'static str, test: &'static str) {
    if !testkit::need_command(test, runtime) {
        return;
    }
    isolated(test, move || {
        let container = testkit::oci::Container::new(runtime, &["sleep", "600"]).start();
        let process = Process::running(container.pid()).unwrap();
        let served = Served::new("of the view\n");
        let before = mounts_of(container.pid());
        for _ in 0..2 {
            let files = attach_usual(&served, process);
            assert_eq!(files, [Outcome::Attached, Outcome::Attached, Outcome::Attached]);
            let seen = container.exec(&["cat", "/proc/meminfo", "/sys/devices/system/cpu/online"]);
            assert_eq!(String::from_utf8_lossy(&seen.stdout), "of the view\n".repeat(2));
            assert_eq!(detach_usual(process), 3);
            assert_eq!(mounts_of(container.pid()), before);
        }
    });
}

#[test]
fn runc() {
    a_container_of("runc", "runc");
}

#[test]
fn crun() {
    a_container_of("crun", "crun");
}

/// Nothing of the image is needed, not even a shell: the container runs one static program.
#[test]
fn an_image_without_anything_is_enough() {
    let test = "an_image_without_anything_is_enough";
    if !testkit::need_command(test, "busybox") {
        return;
    }
    isolated(test, || {
        let script = "mount -t tmpfs root /mnt && mkdir /mnt/proc /mnt/old && \
                      cp $(command -v busybox) /mnt/sleep && mount -t proc proc /mnt/proc && \
                      mount --bind /dev/null /mnt/proc/filesystems && cd /mnt && pivot_root . old && \
                      exec ./sleep 600";
        let mut unshare = Command::new("unshare")
            .args(PLAIN)
            .args(["--kill-child", "sh", "-c", script])
            .spawn()
            .unwrap();
        let parent = unshare.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let pid: u32 = loop {
            assert!(std::time::Instant::now() < deadline, "it does not start");
            let child = std::fs::read_to_string(&children).unwrap_or_default();
            let comm = std::fs::read_to_string(format!("/proc/{}/comm", child.trim()));
            if comm.is_ok_and(|comm| comm == "sleep\n") {
                break child.trim().parse().unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let served = Served::new("of the view\n");
        let files = attach_usual(&served, Process::running(pid).unwrap());
        assert_eq!(files, [Outcome::Attached, Outcome::Attached, Outcome::Missing]);
        let seen = std::fs::read_to_string(format!("/proc/{pid}/root/proc/meminfo")).unwrap();
        assert_eq!(seen, "of the view\n");
        unshare.kill().unwrap();
        unshare.wait().unwrap();
    });
}
