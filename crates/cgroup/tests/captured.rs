//! The readers over cgroups that were captured on real kernels.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use cgroup::{CgroupPaths, Group, Layout};
use hostfs::Kept;
use procfmt::limit::Limit;
use view::input::{NumaInput, SwapLevel};

/// The captured child cgroup of a host with pure cgroup v2, put below a root as the kernel has it.
fn group(host: &str, top: &Path) -> Group {
    let captured = testkit::fixtures_dir().join(host).join("cgroup");
    for (from, to) in [("v2-root", ""), ("v2-parent", "parent"), ("v2", "parent/web")] {
        std::fs::create_dir_all(top.join(to)).unwrap();
        for entry in std::fs::read_dir(captured.join(from)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), top.join(to).join(entry.file_name())).unwrap();
            }
        }
    }
    // By this file a hierarchy's top is known; the capture leaves out the machine's processes.
    std::fs::write(top.join("cgroup.procs"), "").unwrap();
    let mountinfo = format!("30 1 0:26 / {} rw - cgroup2 cgroup2 rw\n", top.display());
    let layout = Layout::from_mountinfo(mountinfo.as_bytes(), &Kept::new(100)).unwrap();
    let layout = Arc::new(layout);
    let paths = CgroupPaths::of_process(&layout, b"0::/parent/web\n");
    Group::new(&layout, paths)
}

#[test]
fn every_captured_v2_cgroup_is_understood() {
    let captured = |host: &String| {
        testkit::fixtures_dir().join(host).join("cgroup/v2/memory.max").exists()
            && !host.ends_with("-derived")
    };
    let hosts: Vec<_> = testkit::hosts().into_iter().filter(captured).collect();
    assert!(hosts.len() >= 8, "{hosts:?}");
    for host in hosts {
        let top = tempfile::tempdir().unwrap();
        let group = group(&host, top.path());
        let memory = group.memory().unwrap().unwrap();
        let limits: Vec<_> =
            memory.levels.iter().map(|level| level.limit.value().unwrap().0 >> 20).collect();
        assert_eq!(limits, [64, 256], "{host}");
        assert!(memory.stat.anon.0 > 0 && memory.stat.file.0 > 0, "{host}");
        let cpu = group.cpu().unwrap();
        let quota = cpu.quota.unwrap();
        assert_eq!((quota.quota.0, quota.period.0), (50_000, 100_000), "{host}");
        assert_eq!(cpu.cpuset.unwrap().to_string(), "0", "{host}");
        let used = group.cpu_time().unwrap().unwrap();
        assert!(used.user.0 + used.system.0 > 0, "{host}");
        let vm = group.vm().unwrap().unwrap();
        assert!(vm.counters.get(&b"pgfault"[..]).is_some_and(|faults| *faults > 0), "{host}");
        group.io().unwrap().unwrap();
        group.hugetlb().unwrap();
    }
}

#[test]
fn counters_at_their_greatest_and_unknown_lines_are_understood() {
    let top = tempfile::tempdir().unwrap();
    let group = group("x86_64-8-odd-derived", top.path());
    let used = group.cpu_time().unwrap().unwrap();
    assert_eq!([used.user.0, used.system.0, used.throttled.0], [u64::MAX; 3]);
    let vm = group.vm().unwrap().unwrap();
    assert_eq!(vm.counters.get(&b"pgfault"[..]), Some(&u64::MAX));
    assert_eq!(vm.oom_kills, u64::MAX);
    let io = group.io().unwrap().unwrap();
    let device = io.iter().find(|device| device.major == 104).unwrap();
    assert_eq!([device.rbytes.0, device.wbytes.0, device.rios], [u64::MAX; 3]);
    let memory = group.memory().unwrap().unwrap();
    assert_eq!(memory.levels.len(), 2);
    // A key that only a kernel to come has takes nothing from those that are known.
    let nodes = group.numa().unwrap().nodes.unwrap();
    assert!(nodes.values().any(|node| node.stat.anon.0 > 0));
}

#[test]
fn missing_controllers_and_files_are_nobodys_error() {
    let top = tempfile::tempdir().unwrap();
    let group = group("x86_64-1-bare-derived", top.path());
    let memory = group.memory().unwrap().unwrap();
    let limits: Vec<_> =
        memory.levels.iter().map(|level| level.limit.value().unwrap().0 >> 20).collect();
    assert_eq!(limits, [64, 256]);
    assert!(memory.levels.iter().all(|level| level.swap == SwapLevel::Absent));
    assert!(memory.levels.iter().all(|level| level.high == Limit::Max));
    let cpu = group.cpu().unwrap();
    assert_eq!((cpu.cpuset, cpu.quota, cpu.weight), (None, None, None));
    // v2 counts CPU time without a controller.
    let used = group.cpu_time().unwrap().unwrap();
    assert!(used.user.0 + used.system.0 > 0 && used.throttled.0 == 0);
    assert_eq!(group.io().unwrap(), None);
    assert_eq!(group.hugetlb().unwrap(), None);
    assert_eq!(group.numa().unwrap(), NumaInput::default());
    assert!(!group.pressure(cgroup::Pressure::Io, &mut Vec::new()).unwrap());
}
