//! Attaching and detaching, against the kernel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use attach::{Attach, Binding, Detach, Kind, Outcome, Propagation, Root, Source, attach, detach};
use common::container::{PLAIN, USER};
use common::{
    CPU, Container, MEMINFO, SOURCE, Served, UPTIME, attach_usual, detach_usual, isolated,
    mounts_of, ours, outcomes, request,
};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change};

use Outcome::{Already, Attached, Masked, Missing, Replaced};

fn goes_and_comes(container: &mut Container) {
    let served = Served::new("of the view\n");
    let before = mounts_of(container.pid);
    let (process, kernels) = (container.process(), container.run("cat /proc/version"));
    for _ in 0..3 {
        assert_eq!(attach_usual(&served, process), [Attached, Attached, Attached]);
        assert_eq!(attach_usual(&served, process), [Already, Already, Already]);
        let seen = container.run("cat /proc/meminfo /proc/uptime /sys/devices/system/cpu/online");
        assert_eq!(seen, "of the view\n".repeat(3));
        assert_eq!(container.run("ls /sys/devices/system/cpu"), "online\n");
        assert_eq!(container.run("cat /proc/version"), kernels);
        let line = mounts_of(container.pid).into_iter().find(|line| line.contains(SOURCE)).unwrap();
        assert!(line.contains(" /proc/meminfo ro,nosuid,nodev,noexec"), "{line}");
        assert!(line.contains(" - fuse.resview "), "in no peer group: {line}");
        assert_eq!(detach_usual(process), 3);
        assert_eq!(detach_usual(process), 0);
        assert_eq!(mounts_of(container.pid), before);
    }
    assert!(container.run("cat /proc/meminfo").starts_with("MemTotal:"));
}

#[test]
fn files_are_attached_and_detached_without_a_trace() {
    isolated("files_are_attached_and_detached_without_a_trace", || {
        goes_and_comes(&mut Container::new(PLAIN));
    });
}

#[test]
fn a_user_namespace_is_no_obstacle() {
    isolated("a_user_namespace_is_no_obstacle", || {
        // A sysfs of its own needs a network namespace of its own.
        let options: Vec<&str> = USER.iter().copied().chain(["-n"]).collect();
        let mut container = Container::unmasked(&options);
        container.run("mount -t sysfs sysfs /sys && mount --bind /dev/null /proc/filesystems");
        container.run("mount -t tmpfs -o ro mask /sys/firmware");
        goes_and_comes(&mut container);
    });
}

#[test]
fn a_read_only_root_without_any_tool_is_no_obstacle() {
    isolated("a_read_only_root_without_any_tool_is_no_obstacle", || {
        let mut container = Container::new(PLAIN);
        container.run("mount -o remount,bind,ro / && mount -o remount,bind,ro /sys");
        // From here on only what is built into the shell could run.
        goes_and_comes(&mut container);
    });
}

#[test]
fn masks_stay_and_missing_files_are_no_error() {
    isolated("masks_stay_and_missing_files_are_no_error", || {
        let mut container = Container::new(PLAIN);
        let served = Served::new("of the view\n");
        let before = mounts_of(container.pid);
        let mut request = Attach::new(container.process(), ours());
        request.bindings = vec![
            Binding::file(served.path("meminfo"), "/proc/filesystems"),
            Binding::directory(served.path("cpu"), "/sys/firmware"),
            Binding::file(served.path("meminfo"), "/proc/no_such_file"),
            Binding::file(served.path("meminfo"), "/proc/no_such_dir/file"),
        ];
        let files = outcomes(attach(request).unwrap().files);
        assert_eq!(files, [Masked, Masked, Missing, Missing]);
        assert_eq!(mounts_of(container.pid), before);
        assert_eq!(container.run("cat /proc/filesystems"), "");
    });
}

#[test]
fn all_or_none() {
    isolated("all_or_none", || {
        let mut container = Container::new(PLAIN);
        container.run("mount --bind /etc/passwd /proc/loadavg");
        let served = Served::new("of the view\n");
        let before = mounts_of(container.pid);
        let mut request = request(&served, container.process());
        request.bindings.push(Binding::file(served.path("meminfo"), "/proc/loadavg"));
        let error = attach(request.clone()).unwrap_err().to_string();
        assert!(error.contains("/proc/loadavg") && error.contains("/etc/passwd"), "{error}");
        assert_eq!(mounts_of(container.pid), before);
        request.bindings.pop();
        request.bindings.push(Binding::file("/no/such/source", "/proc/stat"));
        let error = attach(request.clone()).unwrap_err().to_string();
        assert!(error.contains("/no/such/source"), "{error}");
        request.bindings.pop();
        request.bindings.push(Binding::file(served.path("cpu"), "/proc/stat"));
        assert!(attach(request).is_err(), "a directory for a file");
        assert_eq!(mounts_of(container.pid), before);
    });
}

#[test]
fn before_pivot_root_files_land_in_the_root_to_be() {
    isolated("before_pivot_root_files_land_in_the_root_to_be", || {
        let mut container = Container::new(PLAIN);
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_str().unwrap().to_owned();
        container.run(&format!(
            "mount --bind / {path} && mount -t proc proc {path}/proc && \
             mount -t sysfs sysfs {path}/sys"
        ));
        let served = Served::new("of the view\n");
        let before = mounts_of(container.pid);
        let mut request = request(&served, container.process());
        request.root = Root::BeforePivot(root.path().to_owned());
        let files = outcomes(attach(request.clone()).unwrap().files);
        assert_eq!(files, [Attached, Attached, Attached]);
        assert!(container.run("cat /proc/meminfo").starts_with("MemTotal:"));
        let mut detaching = Detach::new(
            container.process(),
            vec![MEMINFO.into(), UPTIME.into(), CPU.into()],
            ours(),
        );
        detaching.root = request.root.clone();
        assert_eq!(detach(detaching).unwrap().targets.len(), 3);
        assert_eq!(mounts_of(container.pid), before);
        attach(request).unwrap();
        container.run(&format!("cd {path} && pivot_root . mnt && cd / && umount -l /mnt"));
        assert_eq!(container.run("cat /proc/meminfo"), "of the view\n");
        assert_eq!(attach_usual(&served, container.process()), [Already, Already, Already]);
    });
}

#[test]
fn a_dead_mount_is_replaced_in_place() {
    isolated("a_dead_mount_is_replaced_in_place", || {
        let mut container = Container::new(PLAIN);
        let mut dead = Served::new("of the first\n");
        attach_usual(&dead, container.process());
        dead.kill();
        assert!(!container.attempt("cat /proc/meminfo").0, "it is dead");
        let served = Served::new("of the second\n");
        let files = attach_usual(&served, container.process());
        assert_eq!(files, [Replaced, Replaced, Replaced]);
        assert_eq!(container.run("cat /proc/meminfo"), "of the second\n");
        let layers = mounts_of(container.pid);
        assert_eq!(layers.iter().filter(|line| line.contains(" /proc/meminfo ")).count(), 1);
    });
}

#[test]
fn a_living_mount_of_another_source_is_replaced_and_put_back_if_the_rest_fails() {
    let name = "a_living_mount_of_another_source_is_replaced_and_put_back_if_the_rest_fails";
    isolated(name, || {
        let mut container = Container::new(PLAIN);
        let (first, second) = (Served::new("of the first\n"), Served::new("of the second\n"));
        attach_usual(&first, container.process());
        let before = mounts_of(container.pid);
        let mut request = request(&second, container.process());
        // Linux 6.12 and later let nobody mount here, which shows only when it is tried.
        request.bindings.push(Binding::file(second.path("uptime"), "/proc/1/fdinfo/0"));
        let error = attach(request.clone()).unwrap_err();
        assert!(error.to_string().contains("cannot mount on /proc/1/fdinfo/0"), "{error}");
        let after = mounts_of(container.pid);
        assert_eq!(after.len(), before.len(), "{error}: {after:#?}");
        assert_eq!(container.run("cat /proc/meminfo"), "of the first\n");
        request.bindings.pop();
        assert_eq!(outcomes(attach(request).unwrap().files), [Replaced, Replaced, Replaced]);
        assert_eq!(container.run("cat /proc/meminfo"), "of the second\n");
    });
}

#[test]
fn a_slave_gets_what_is_mounted_on_its_slot_and_goes_as_a_whole() {
    isolated("a_slave_gets_what_is_mounted_on_its_slot_and_goes_as_a_whole", || {
        let mut container = Container::new(PLAIN);
        let mut served = Served::new("of the view\n");
        let slot = tempfile::NamedTempFile::new().unwrap();
        mount_bind(served.path("meminfo"), slot.path()).unwrap();
        mount_change(slot.path(), MountPropagationFlags::SHARED).unwrap();
        let before = mounts_of(container.pid);
        let slave = |container: &Container| {
            let mut request = Attach::new(container.process(), ours());
            request.propagation = Propagation::Slave;
            request.bindings.push(Binding::file(slot.path(), MEMINFO));
            outcomes(attach(request).unwrap().files)
        };
        assert_eq!(slave(&container), [Attached]);
        served.kill();
        // What takes care of slots puts the host's file there.
        mount_bind("/proc/meminfo", slot.path()).unwrap();
        assert!(container.run("cat /proc/meminfo").starts_with("MemTotal:"));
        // And what the container mounts goes nowhere else.
        container.run("mount --bind /etc/passwd /proc/meminfo && umount /proc/meminfo");
        let again = Served::new("of the next\n");
        let mut request = Attach::new(container.process(), ours());
        request.bindings.push(Binding::file(again.path("meminfo"), MEMINFO));
        assert_eq!(outcomes(attach(request).unwrap().files), [Replaced]);
        assert_eq!(container.run("cat /proc/meminfo"), "of the next\n");
        assert_eq!(detach_usual(container.process()), 1);
        assert_eq!(mounts_of(container.pid), before);
        for _ in 0..2 {
            rustix::mount::unmount(slot.path(), UnmountFlags::DETACH).unwrap();
        }
    });
}

#[test]
fn detaching_leaves_what_the_container_mounted_over_it() {
    isolated("detaching_leaves_what_the_container_mounted_over_it", || {
        let mut container = Container::new(PLAIN);
        let before = mounts_of(container.pid);
        let served = Served::new("of the view\n");
        attach_usual(&served, container.process());
        container.run("mount --bind /etc/passwd /proc/meminfo");
        container.run("mount --bind /etc/hostname /proc/meminfo");
        let refused = attach(request(&served, container.process())).unwrap_err().to_string();
        assert!(refused.contains("/etc/hostname"), "{refused}");
        assert_eq!(detach_usual(container.process()), 3);
        assert_eq!(container.run("cat /proc/meminfo"), container.run("cat /etc/hostname"));
        container.run("umount /proc/meminfo && cmp /proc/meminfo /etc/passwd");
        container.run("umount /proc/meminfo");
        assert_eq!(mounts_of(container.pid), before);
    });
}

#[test]
fn what_lies_inside_a_directory_of_ours_keeps_it() {
    isolated("what_lies_inside_a_directory_of_ours_keeps_it", || {
        let mut container = Container::new(PLAIN);
        let served = Served::new("of the view\n");
        attach_usual(&served, container.process());
        container.run("mount --bind /dev/null /sys/devices/system/cpu/online");
        let before = mounts_of(container.pid);
        let detaching = Detach::new(container.process(), vec![CPU.into()], ours());
        let error = detach(detaching).unwrap_err().to_string();
        assert!(error.contains("/sys/devices/system/cpu/online is mounted inside"), "{error}");
        assert_eq!(mounts_of(container.pid), before);
    });
}

#[test]
fn sources_may_be_descriptors() {
    isolated("sources_may_be_descriptors", || {
        let mut container = Container::new(PLAIN);
        let served = Served::new("of the view\n");
        let file: OwnedFd = std::fs::File::open(served.path("meminfo")).unwrap().into();
        let mut request = Attach::new(container.process(), ours());
        let source = Source::Fd(Arc::new(file));
        request.bindings.push(Binding { source, target: MEMINFO.into(), kind: Kind::File });
        assert_eq!(outcomes(attach(request).unwrap().files), [Attached]);
        assert_eq!(container.run("cat /proc/meminfo"), "of the view\n");
    });
}

#[test]
fn any_mount_can_be_ours() {
    isolated("any_mount_can_be_ours", || {
        let mut container = Container::new(PLAIN);
        let dir = tempfile::tempdir().unwrap();
        let flags = MountFlags::empty();
        rustix::mount::mount(SOURCE, dir.path(), "tmpfs", flags, None).unwrap();
        std::fs::write(dir.path().join("file"), "on tmpfs\n").unwrap();
        let before = mounts_of(container.pid);
        let ours = attach::Ours::new(|mount| mount.source == SOURCE);
        let mut request = Attach::new(container.process(), ours.clone());
        request.bindings.push(Binding::file(dir.path().join("file"), MEMINFO));
        attach(request).unwrap();
        assert_eq!(container.run("cat /proc/meminfo"), "on tmpfs\n");
        detach(Detach::new(container.process(), vec![MEMINFO.into()], ours)).unwrap();
        assert_eq!(mounts_of(container.pid), before);
        rustix::mount::unmount(dir.path(), UnmountFlags::DETACH).unwrap();
        assert!(Path::new(dir.path()).exists());
    });
}
