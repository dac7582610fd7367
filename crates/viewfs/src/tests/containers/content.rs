//! What is in the tree.

use std::fs::FileType;
use std::path::Path;
use std::sync::Arc;

use container::registry::{CpuCount, FilePolicy, Id, Policy, Registration, Target, View};
use fuse::Errno;
use testkit::TestCgroup;

use super::super::client::{Client, Process, new_unique};
use super::mounted::{Mounted, registration};
use super::{TWO_TICKS, eventually, limit, total};
use crate::SharedTree;
use crate::keep::Keep;

/// The shared tree over the same contents, for a process that asks.
fn shared(mounted: &Mounted, process: &Process) -> Client {
    let keep = Arc::new(Keep::create().unwrap());
    let tree = SharedTree::new(Arc::clone(&mounted.contents), keep);
    Client { fs: Arc::new(tree), pid: process.id() }
}

fn read_shared(shared: &Client, path: &str) -> Result<String, Errno> {
    let node = shared.lookup(path)?;
    let file = (node, shared.open_as(new_unique(), node, 0)?);
    let text = shared.read(file, 0);
    shared.release(file);
    Ok(String::from_utf8(text?).unwrap())
}

fn read_own(mounted: &Mounted, path: &str) -> Result<String, Errno> {
    let read = std::fs::read_to_string(mounted.path(&format!("c/{path}")));
    read.map_err(|error| Errno::from_io_error(&error).unwrap())
}

/// All below a directory: paths and types.
fn walk(top: &Path, path: &str, into: &mut Vec<(String, FileType)>) {
    for entry in std::fs::read_dir(top.join(path)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let below = if path.is_empty() { name } else { format!("{path}/{name}") };
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            walk(top, &below, into);
        }
        into.push((below, kind));
    }
}

#[test]
fn every_file_is_that_of_the_shared_tree() {
    let test = "every_file_is_that_of_the_shared_tree";
    let Some(mounted) = Mounted::new(test) else { return };
    for process in [Process::new("tree-equal"), Process::with_init("tree-equal-init")] {
        process.cgroup.set_memory(limit(123));
        process.cgroup.set_cpuset("1");
        mounted.register("c", &process);
        let shared = shared(&mounted, &process);
        let mut all = Vec::new();
        walk(&mounted.path("c"), "", &mut all);
        let has = |path: &str| all.iter().any(|one| one.0 == path);
        for path in [
            "proc/meminfo",
            "sys/devices/system/cpu/cpu1/topology",
            "sys/devices/system/cpu/online",
        ] {
            assert!(has(path), "{path} of {all:?}");
        }
        assert!(!has("sys/devices/system/cpu/cpu0"));
        for (path, kind) in &all {
            if kind.is_symlink() {
                let target = std::fs::read_link(mounted.path(&format!("c/{path}"))).unwrap();
                assert!(target.is_relative(), "{path}");
            } else if kind.is_file() && !path.starts_with("proc/pressure/") {
                // Both at one moment, or one after another; nothing else is between them.
                eventually(path, || {
                    let before = read_own(&mounted, path);
                    read_shared(&shared, path) == before
                });
            }
        }
        if mounted.contents.has_pressure() {
            let names = walk_of(&all, "proc/pressure/");
            for name in names {
                let text = mounted.read(&format!("c/proc/pressure/{name}"));
                assert!(text.contains("total="), "{text}");
            }
        }
    }
}

fn walk_of<'a>(all: &'a [(String, FileType)], below: &str) -> Vec<&'a str> {
    all.iter().filter_map(|(path, _)| path.strip_prefix(below)).collect()
}

#[test]
fn names_are_links_to_ids() {
    let Some(mounted) = Mounted::new("names_are_links_to_ids") else { return };
    let (one, other) = (Process::new("tree-name"), Process::new("tree-name-too"));
    let named = |id: &str, process: &Process, names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        mounted.writer.put(&Registration { names, ..registration(id, process) }).unwrap();
    };
    let listed = || {
        let all = std::fs::read_dir(mounted.path("")).unwrap();
        let mut all: Vec<_> =
            all.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    };
    assert!(listed().is_empty());
    named("4f2a", &one, &["web", "both"]);
    named("77aa", &other, &["db", "both"]);
    assert_eq!(listed(), ["4f2a", "77aa", "db", "web"]);
    assert_eq!(std::fs::read_link(mounted.path("web")).unwrap(), Path::new("4f2a"));
    assert!(!mounted.path("both").exists());
    one.cgroup.set_memory(limit(50));
    std::thread::sleep(TWO_TICKS);
    assert!(mounted.read("web/proc/meminfo").starts_with(&total(50)));
    // At once, whatever the kernel knew.
    named("4f2a", &one, &[]);
    named("77aa", &other, &["web"]);
    assert_eq!(listed(), ["4f2a", "77aa", "web"]);
    assert_eq!(std::fs::read_link(mounted.path("web")).unwrap(), Path::new("77aa"));
}

#[test]
fn many_containers_are_listed_each_once() {
    let Some(mounted) = Mounted::new("many_containers_are_listed_each_once") else { return };
    let process = Process::new("tree-many");
    let ids: Vec<_> = (0..500).map(|index| format!("container-number-{index}")).collect();
    ids.iter().for_each(|id| drop(mounted.register(id, &process)));
    let listed = std::fs::read_dir(mounted.path("")).unwrap();
    let mut listed: Vec<_> =
        listed.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    let mut expected = ids;
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn policy_change_shows() {
    let Some(mounted) = Mounted::new("policy_change_shows") else { return };
    let process = Process::new("tree-policy");
    process.cgroup.set_memory(limit(60));
    process.cgroup.set_quota(100_000, 100_000);
    let registered = mounted.register("c", &process);
    let shared = shared(&mounted, &process);
    let decide = |policy: Policy| {
        mounted.writer.put(&Registration { policy, ..registered.clone() }).unwrap();
        std::thread::sleep(TWO_TICKS);
    };
    let both = |path: &str| {
        let own = read_own(&mounted, path);
        eventually(path, || {
            let again = read_own(&mounted, path);
            read_shared(&shared, path) == again
        });
        own.ok()
    };
    let cpus = || both("proc/cpuinfo").unwrap().matches("processor\t").count();
    let files = |files: &[(&str, FilePolicy)]| {
        files.iter().map(|(name, policy)| ((*name).to_owned(), *policy)).collect()
    };
    assert_eq!(cpus(), 1, "the quota counts");
    decide(Policy { cpu_count: Some(CpuCount::Cpuset), ..Policy::default() });
    let all = cpus();
    assert!(all > 1);
    assert!(both("proc/meminfo").unwrap().starts_with(&total(60)));

    let absent = [("proc/swaps", FilePolicy::Absent), ("proc/meminfo", FilePolicy::Host)];
    decide(Policy { files: files(&absent), ..Policy::default() });
    assert_eq!(cpus(), 1);
    assert_eq!(both("proc/swaps"), None);
    assert!(!mounted.path("c/proc/swaps").exists());
    let host = std::fs::read_to_string("/proc/meminfo").unwrap();
    let first = |text: &str| text.lines().next().unwrap().to_owned();
    assert_eq!(first(&both("proc/meminfo").unwrap()), first(&host));

    decide(Policy { view: View::Off, ..Policy::default() });
    assert_eq!(cpus(), all);
    assert_eq!(first(&both("proc/meminfo").unwrap()), first(&host));
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    assert_eq!(both("sys/devices/system/cpu/online"), Some(online));

    decide(Policy::default());
    assert_eq!(cpus(), 1);
    assert!(both("proc/swaps").is_some());
    assert!(both("proc/meminfo").unwrap().starts_with(&total(60)));
}

/// As a hook may register it, before anything runs in it.
#[test]
fn a_policy_holds_for_processes_that_come_later() {
    let test = "a_policy_holds_for_processes_that_come_later";
    let Some(mounted) = Mounted::new(test) else { return };
    let cgroup = TestCgroup::new("tree-later");
    let target = Target::Cgroup { path: cgroup.name(), instance: None };
    let policy = Policy { cpu_count: Some(CpuCount::Cpuset), ..Policy::default() };
    let registered = Registration::new(Id::new("c").unwrap(), target);
    mounted.writer.put(&Registration { policy, ..registered }).unwrap();
    cgroup.set_quota(50_000, 100_000);
    let own = || mounted.read("c/proc/cpuinfo").matches("processor\t").count();
    let all = own();
    assert!(all > 1);
    for process in [Process::new("tree-latest"), Process::with_init("tree-latest-init")] {
        cgroup.add_pid(process.id());
        let shared = shared(&mounted, &process);
        eventually("the policy holds in both trees", || {
            let text = read_shared(&shared, "proc/cpuinfo").unwrap();
            text.matches("processor\t").count() == all && own() == all
        });
        process.end();
    }
}
