//! Telling whose thread asks: what the kernel says about a process, taken apart.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use cgroup::CgroupPaths;
use procfmt::pid_cgroup::memberships;
use procfmt::pid_stat::PidStat;
use procfmt::pid_status::PidStatus;
use testkit::fixture;

use crate::HotPath;
use crate::cgroups::Tree;

pub(crate) fn paths() -> Result<Vec<HotPath>> {
    let (tree, host) = Tree::v1()?;
    let of = |file: &str| fixture(host, &format!("proc/self/{file}"));
    let (cgroup, mounts, stat, status) = (of("cgroup"), of("mountinfo"), of("stat"), of("status"));
    let text = cgroup.clone();
    Ok(vec![
        HotPath::new("procfmt/pid-cgroup", move || {
            let found = memberships(black_box(&text)).filter(|one| one.is_v2()).count();
            ensure!(found == 1, "{found} lines of v2");
            Ok(())
        }),
        HotPath::new("procfmt/pid-stat", move || {
            black_box(PidStat::parse(black_box(&stat))).map(drop).context("not understood")
        }),
        HotPath::new("procfmt/pid-status", move || {
            black_box(PidStatus::parse(black_box(&status))).map(drop).context("not understood")
        }),
        HotPath::new("cgroup/paths-of-container", move || {
            let paths = CgroupPaths::of_container(&tree.layout, black_box(&cgroup), &mounts);
            ensure!(!paths.is_root(), "the host's own");
            Ok(())
        }),
    ])
}
