//! Attached, detached and attached again, of every sort of container.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use api::Outcome;
use serde_json::{Value, json};
use testkit::oci::{Container, Running};

use crate::reach::{
    Reach, can_reach, hosts_mem_total, is_on_the_machine, mem_total_of, mounts_of, read_in,
};

const ROUNDS: u64 = 100;
const LIMIT: u64 = 48 << 20;

/// A root with only what a runtime needs to mount upon, and one static program.
fn image(program: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["proc", "sys", "dev", "tmp", "run", "bin"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    std::fs::copy("/usr/bin/busybox", dir.path().join(program)).unwrap();
    dir
}

/// As engines have it.
pub(crate) fn masked(config: &mut Value) {
    config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/timer_list", "/sys/firmware"]);
    config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/irq"]);
}

pub(crate) fn user_namespace(config: &mut Value) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.extend([json!({ "type": "user" }), json!({ "type": "network" })]);
    let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    config["linux"]["uidMappings"] = mapping.clone();
    config["linux"]["gidMappings"] = mapping;
    // Its root may mount no hierarchy of v1.
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
}

fn writable(config: &mut Value) {
    config["root"]["readonly"] = json!(false);
}

fn no_cgroup_mount(config: &mut Value) {
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
}

/// Reads the container's files as fast as it goes until `end`; how often. Each read has to succeed,
/// and to show the host's memory or the container's.
fn read_on(pid: u32, end: &AtomicBool) -> u64 {
    let known = [hosts_mem_total(), LIMIT >> 10];
    let mut reads = 0;
    while !end.load(Ordering::Relaxed) {
        for path in
            ["/proc/stat", "/proc/uptime", "/proc/cpuinfo", "/sys/devices/system/cpu/online"]
        {
            let text = read_in(pid, path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(!text.is_empty(), "{path}");
        }
        let text = read_in(pid, "/proc/meminfo").unwrap();
        let total = mem_total_of(&text);
        assert!(known.contains(&total), "{total} is neither of {known:?}");
        reads += 5;
        // Load, and yet room for what is tested.
        std::thread::sleep(Duration::from_millis(1));
    }
    reads
}

fn a_hundred_times(reach: &Reach, container: &Running) -> u64 {
    let pid = container.pid();
    let before = mounts_of(pid);
    let (end, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| reads.store(read_on(pid, &end), Ordering::Relaxed));
        let _ended = Ended(&end);
        for round in 0..ROUNDS {
            let answer = reach.attach(pid);
            assert_eq!(answer.outcome, Outcome::Attached, "round {round}: {answer:?}");
            let total = mem_total_of(&read_in(pid, "/proc/meminfo").unwrap());
            assert_eq!(total, LIMIT >> 10, "round {round}");
            let answer = reach.detach(pid);
            assert_eq!(answer.outcome, Outcome::Detached, "round {round}: {answer:?}");
            assert_eq!(mounts_of(pid), before, "round {round}");
        }
    });
    reads.into_inner()
}

/// Ends the readers when a test fails, too.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads until a read fails, with which the container ends.
const LOOP: &str = "while cat /proc/meminfo /proc/stat /proc/uptime /proc/loadavg /proc/swaps \
                    /proc/diskstats /sys/devices/system/cpu/present >/dev/null; do sleep 0.01; done";

fn of(runtime: &str, root: &Path, args: &[&str], edits: &[fn(&mut Value)]) -> Running {
    let container = Container::new(runtime, args).root(root).memory(LIMIT);
    edits.iter().fold(container, |container, edit| container.edit(*edit)).start()
}

fn attached_again_and_again(test: &str, runtimes: &[&str], start: impl Fn(&str) -> Running) {
    if !can_reach(test, &["busybox", "runc", "crun"]) {
        return;
    }
    let reach = Reach::start(&[]);
    let outside = mounts_of(reach.daemon.witness());
    let containers: Vec<_> = runtimes.iter().map(|runtime| start(runtime)).collect();
    let reads: Vec<u64> = std::thread::scope(|scope| {
        let reach = &reach;
        let thread = |it| scope.spawn(move || a_hundred_times(reach, it));
        let threads: Vec<_> = containers.iter().map(thread).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for container in &containers {
        // Its own loop has met no error either.
        assert!(Path::new(&format!("/proc/{}/exe", container.pid())).exists());
    }
    assert_eq!(mounts_of(reach.daemon.witness()), outside);
    assert!(!is_on_the_machine(&reach));
    assert!(reach.registered().is_empty());
    testkit::figures(test, &format!("{ROUNDS} rounds, {reads:?} reads"));
}

#[test]
fn a_busybox_is_attached_a_hundred_times_while_it_reads() {
    let test = "a_busybox_is_attached_a_hundred_times_while_it_reads";
    let image = image("bin/busybox");
    attached_again_and_again(test, &["runc"], |runtime| {
        of(runtime, image.path(), &["/bin/busybox", "sh", "-c", LOOP], &[masked, no_cgroup_mount])
    });
}

#[test]
fn an_image_of_one_static_program_is_attached_a_hundred_times() {
    let test = "an_image_of_one_static_program_is_attached_a_hundred_times";
    let image = image("sleep");
    attached_again_and_again(test, &["crun"], |runtime| {
        of(runtime, image.path(), &["/sleep", "3600"], &[no_cgroup_mount])
    });
}

#[test]
fn a_read_only_root_is_attached_a_hundred_times() {
    let test = "a_read_only_root_is_attached_a_hundred_times";
    attached_again_and_again(test, &["runc"], |runtime| {
        of(runtime, Path::new("/"), &["sh", "-c", LOOP], &[masked])
    });
}

#[test]
fn a_user_namespace_is_attached_a_hundred_times() {
    let test = "a_user_namespace_is_attached_a_hundred_times";
    attached_again_and_again(test, &["runc", "crun"], |runtime| {
        of(runtime, Path::new("/"), &["sh", "-c", LOOP], &[masked, user_namespace])
    });
}

#[test]
fn an_image_with_nothing_left_in_it_is_attached_a_hundred_times() {
    let test = "an_image_with_nothing_left_in_it_is_attached_a_hundred_times";
    let image = image("sleep");
    attached_again_and_again(test, &["crun"], |runtime| {
        let edits: &[fn(&mut Value)] = &[writable, no_cgroup_mount];
        let container = of(runtime, image.path(), &["/sleep", "3600"], edits);
        std::fs::remove_file(image.path().join("sleep")).unwrap();
        container
    });
}
