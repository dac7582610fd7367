//! What is decided about a container is what it gets, now and later.

use std::path::Path;

use api::{FileOutcome, Outcome, Policy, Selector, View};
use testkit::TestCgroup;

use crate::common::{code, stdout_of};
use crate::inside::{Container, PLAIN};
use crate::reach::{Reach, assert_attached, can_reach, count, has_view, hosts_mem_total};
use crate::reach::{mem_total, mounts_of, read_in};

fn limited(name: &str, options: &[&str]) -> (TestCgroup, Container) {
    let cgroup = TestCgroup::new(name);
    cgroup.set_memory(48 << 20);
    let container = Container::new(options);
    cgroup.add_pid(container.pid);
    (cgroup, container)
}

#[test]
fn a_container_that_is_to_have_no_view_keeps_the_hosts() {
    let test = "a_container_that_is_to_have_no_view_keeps_the_hosts";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let (_cgroup, container) = limited("choices-off", PLAIN);
    let pid = container.pid;
    assert_attached(&reach.attach(pid));
    assert_eq!(mem_total(pid), 48 << 10);
    let output = reach.resview(&["attach", "--view", "off", &pid.to_string()]);
    assert!(stdout_of(&output).contains("skipped"), "{output:?}");
    assert!(!has_view(pid));
    // Asked again without a word about it, by hand or at the container's start, it stays so.
    assert_eq!(reach.attach(pid).outcome, Outcome::Skipped);
    assert_eq!(mem_total(pid), hosts_mem_total());
    assert!(!has_view(pid));
    let listed = stdout_of(&reach.resview(&["list", &pid.to_string()]));
    assert!(listed.contains("view=off"), "{listed}");
    let on = Policy { view: Some(View::On), ..Policy::default() };
    assert_attached(&reach.attach_with(Selector::Pid(pid), None, Some(on)));
    assert_eq!(mem_total(pid), 48 << 10);
    assert_attached(&{
        reach.detach(pid);
        reach.attach(pid)
    });
}

#[test]
fn only_the_files_that_were_asked_for_are_mounted() {
    let test = "only_the_files_that_were_asked_for_are_mounted";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let (_cgroup, container) = limited("choices-files", PLAIN);
    let pid = container.pid;
    let output = reach.resview(&["attach", "--files", "meminfo,stat", &pid.to_string()]);
    assert!(stdout_of(&output).contains("attached, 2 files"), "{output:?}");
    let mounts = mounts_of(pid);
    let mut ours: Vec<_> = mounts
        .iter()
        .filter(|line| line.contains(" - fuse.resview "))
        .map(|line| line.split(' ').nth(4).unwrap())
        .collect();
    ours.sort_unstable();
    assert_eq!(ours, ["/proc/meminfo", "/proc/stat"]);
    assert_eq!(mem_total(pid), 48 << 10);
    let output = reach.resview(&["attach", "--files", "memifno", &pid.to_string()]);
    assert_eq!(code(output.status), 1, "{output:?}");
    let said = stdout_of_failed(&output);
    assert!(said.contains("/proc/memifno") && said.contains("/proc/meminfo"), "{said}");
    // All the others come beside these.
    let answer = reach.attach(pid);
    assert_eq!(count(&answer, FileOutcome::Already), 2, "{answer:?}");
    assert_eq!(reach.attach(pid).outcome, Outcome::Already);
}

fn stdout_of_failed(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Mounts a procfs of its own in a user namespace, as rootless engines do.
const NESTED: &str = "unshare -Urmpf sh -c 'mount -t proc proc /proc && cat /proc/1/comm'";

#[test]
fn a_container_with_an_unmasked_proc_can_still_nest() {
    let test = "a_container_with_an_unmasked_proc_can_still_nest";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let mut container = Container::unmasked(PLAIN);
    // The machine's own sysfs has file systems on it.
    container.run("umount -Rl /sys; mount -t sysfs sysfs /sys");
    let before = mounts_of(container.pid);
    assert!(container.attempt(NESTED).0, "{:?}", container.attempt(NESTED));
    for _ in 0..2 {
        assert_attached(&reach.attach(container.pid));
        assert!(has_view(container.pid));
        assert!(container.attempt(NESTED).0, "{:?}", container.attempt(NESTED));
        assert_eq!(reach.detach(container.pid).outcome, Outcome::Detached);
        assert_eq!(mounts_of(container.pid), before);
    }
    assert!(container.attempt(NESTED).0);
}

#[test]
fn a_file_that_is_to_be_the_hosts_is_the_hosts() {
    let test = "a_file_that_is_to_be_the_hosts_is_the_hosts";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let (_cgroup, container) = limited("choices-host", PLAIN);
    let pid = container.pid;
    let output = reach.resview(&["attach", "--file", "meminfo=host", &pid.to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(mem_total(pid), hosts_mem_total());
    assert!(read_in(pid, "/proc/swaps").unwrap().starts_with("Filename"));
    assert!(Path::new(&format!("/proc/{pid}/root/proc/stat")).exists());
    // It is kept when it is attached again.
    reach.attach(pid);
    assert_eq!(mem_total(pid), hosts_mem_total());
}
