//! The CPUs that a container sees, in every place where programs count them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Result, ensure};
use procfmt::cpulist::CpuSet;
use rustix::fs::{Dir, FileType, Mode, OFlags};
use testkit::{Layout, TestCgroup};

use crate::container::{Container, fresh};
use crate::not_applicable;
use crate::server::Server;
use crate::text::{cpu_rows, cpus, processors};
use crate::tree::Tree;

const SYS_CPU: &str = "sys/devices/system/cpu";

/// The CPUs of this machine that are on; a check that needs two is not applicable with one.
pub(super) fn two_cpus() -> Result<CpuSet> {
    let online = cpus(&std::fs::read_to_string("/sys/devices/system/cpu/online")?)?;
    if online.len() < 2 {
        return not_applicable("needs two CPUs");
    }
    Ok(online)
}

/// How many CPUs each source shows, by its name.
fn counts(tree: &Tree, container: &mut Container) -> Result<Vec<(&'static str, usize)>> {
    let mut counts = Vec::new();
    if tree.has("proc/cpuinfo") {
        counts.push(("cpuinfo", processors(&container.read("/proc/cpuinfo")?)));
    }
    if tree.has("proc/stat") {
        counts.push(("stat", cpu_rows(&container.read("/proc/stat")?)?.len().saturating_sub(1)));
    }
    for name in ["online", "present"] {
        if tree.has(&format!("{SYS_CPU}/{name}")) {
            let list = cpus(&container.read(&format!("/{SYS_CPU}/{name}"))?)?;
            counts.push((name, list.iter().count()));
        }
    }
    if tree.has(&format!("{SYS_CPU}/uevent")) {
        let dirs = container.sh(&format!("ls -d /{SYS_CPU}/cpu[0-9]* | wc -l"))?;
        counts.push(("directories", dirs.trim().parse()?));
    }
    if counts.len() < 2 {
        return not_applicable("fewer than two files show CPUs");
    }
    Ok(counts)
}

fn agree(counts: &[(&str, usize)]) -> Result<()> {
    let same = counts.windows(2).all(|pair| matches!(pair, [(_, a), (_, b)] if a == b));
    ensure!(same, "{counts:?}");
    Ok(())
}

pub(super) fn all_cpu_files_agree(tree: &Tree) -> Result<()> {
    two_cpus()?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_cpuset("1"))?;
    let counts = counts(tree, &mut container)?;
    agree(&counts)?;
    ensure!(counts.iter().all(|(_, count)| *count == 1), "{counts:?} of 1");
    if tree.has(&format!("{SYS_CPU}/online")) {
        let online = container.read(&format!("/{SYS_CPU}/online"))?;
        ensure!(online.trim() == "1", "online is {online:?}, the cpuset 1");
    }
    Ok(())
}

pub(super) fn all_cpu_files_agree_under_a_quota(tree: &Tree) -> Result<()> {
    two_cpus()?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_quota(50_000, 100_000))?;
    agree(&counts(tree, &mut container)?)
}

pub(super) fn quota_of_ancestor_counts(tree: &Tree) -> Result<()> {
    two_cpus()?;
    let mut own = Container::limited(tree, |cgroup| cgroup.set_quota(100_000, 100_000))?;
    let parent = TestCgroup::new(&fresh("conformance"));
    parent.set_quota(100_000, 100_000);
    let mut inherited = Container::in_cgroup(tree, parent.child("app"))?;
    let (own, inherited) = (counts(tree, &mut own)?, counts(tree, &mut inherited)?);
    ensure!(own == inherited, "own quota: {own:?}; the parent's: {inherited:?}");
    Ok(())
}

pub(super) fn effective_cpuset_not_the_requested(tree: &Tree) -> Result<()> {
    two_cpus()?;
    if testkit::layout() != Layout::V2 {
        return not_applicable("cgroup v1 allows no more than the parent has");
    }
    let parent = TestCgroup::new(&fresh("conformance"));
    parent.set_cpuset("0");
    let child = parent.child("app");
    child.set_cpuset("0-1");
    let counts = counts(tree, &mut Container::in_cgroup(tree, child)?)?;
    ensure!(counts.iter().all(|(_, count)| *count == 1), "{counts:?} of 1");
    Ok(())
}

pub(super) fn cpuset_change_shows_at_next_open(tree: &Tree) -> Result<()> {
    two_cpus()?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_cpuset("0"))?;
    for (list, expected) in [("0", 1), ("0-1", 2), ("1", 1)] {
        container.cgroup.set_cpuset(list);
        let counts = counts(tree, &mut container)?;
        ensure!(counts.iter().all(|(_, count)| *count == expected), "{list}: {counts:?}");
    }
    Ok(())
}

/// The default is the kernel's own numbers, so this is asked of a daemon of its own.
pub(super) fn packed_numbers_have_no_gaps(tree: &Tree) -> Result<()> {
    two_cpus()?;
    let Some(binary) = tree.resview() else {
        return not_applicable("has no such option");
    };
    let server = Server::resview(binary, &["--cpu-numbers", "packed"])?;
    let packed = Tree::mounted(tree.title(), &server.dir())?;
    let mut container = Container::limited(&packed, |cgroup| cgroup.set_cpuset("1"))?;
    let counts = counts(&packed, &mut container)?;
    ensure!(counts.iter().all(|(_, count)| *count == 1), "{counts:?} of 1");
    for name in ["online", "present", "possible"] {
        let list = container.read(&format!("/{SYS_CPU}/{name}"))?;
        ensure!(cpus(&list)?.iter().next() == Some(0), "{name} is {list:?}, the cpuset 1");
    }
    let directories = container.sh(&format!("cd /{SYS_CPU} && echo cpu[0-9]*"))?;
    ensure!(directories.trim() == "cpu0", "directories: {directories}");
    let rows = cpu_rows(&container.read("/proc/stat")?)?;
    ensure!(rows.keys().eq(["cpu", "cpu0"]), "rows of stat: {:?}", rows.keys());
    let cpuinfo = container.read("/proc/cpuinfo")?;
    let numbers: Vec<&str> = cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("processor")?.split_once(':'))
        .map(|(_, number)| number.trim())
        .collect();
    ensure!(numbers == ["0"], "processors of cpuinfo: {numbers:?}");
    Ok(())
}

pub(super) fn possible_bounds_getcpu(tree: &Tree) -> Result<()> {
    two_cpus()?;
    tree.needs(&[&format!("{SYS_CPU}/possible")])?;
    for limit in [(|cgroup: &TestCgroup| cgroup.set_cpuset("1")) as fn(&TestCgroup), |cgroup| {
        cgroup.set_quota(50_000, 100_000)
    }] {
        let mut container = Container::limited(tree, limit)?;
        let possible = cpus(&container.read(&format!("/{SYS_CPU}/possible"))?)?;
        let text = container.sh("grep Cpus_allowed_list /proc/self/status | cut -f2")?;
        let allowed = cpus(&text)?;
        // glibc takes the number of CPUs in `possible` for a bound of their numbers.
        let (bound, highest) = (possible.iter().count(), allowed.max().unwrap_or(0));
        let bound = u32::try_from(bound)?;
        ensure!(highest < bound, "threads run on CPU {highest}, and possible has {bound} CPUs");
    }
    Ok(())
}

pub(super) fn siblings_and_cores_match_rows(tree: &Tree) -> Result<()> {
    two_cpus()?;
    tree.needs(&["proc/cpuinfo"])?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_cpuset("0"))?;
    let text = container.read("/proc/cpuinfo")?;
    let rows = processors(&text);
    if !text.contains("siblings") {
        return not_applicable("cpuinfo counts no siblings on this architecture");
    }
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        if ["siblings", "cpu cores"].contains(&key.trim()) {
            let count: usize = value.trim().parse()?;
            ensure!(count <= rows, "{} is {count} with {rows} rows", key.trim());
        }
    }
    Ok(())
}

pub(super) fn cpu_dirs_once_with_d_type(tree: &Tree) -> Result<()> {
    tree.needs(&[&format!("{SYS_CPU}/uevent")])?;
    let container = Container::new(tree)?;
    // Through the container's root: what is listed does not depend on who lists it.
    let path = format!("/proc/{}/root/{SYS_CPU}", container.init());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = Dir::new(rustix::fs::open(path, flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in dir {
        let entry = entry?;
        let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
        let is_cpu = name.to_str().is_some_and(|name| {
            let digits = name.strip_prefix("cpu").unwrap_or_default();
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_cpu {
            let kind = entry.file_type();
            ensure!(kind == FileType::Directory, "{} is listed as {kind:?}", name.display());
        }
        names.push(name);
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    ensure!(all == names.len(), "of {all} names only {} differ", names.len());
    Ok(())
}
