//! `/proc/pressure/*`.

use anyhow::{Result, ensure};
use testkit::Layout;

use super::cpu_time::Neighbour;
use crate::container::Container;
use crate::not_applicable;
use crate::tree::Tree;

pub(super) fn pressure_is_own(tree: &Tree) -> Result<()> {
    let resources = ["cpu", "memory", "io"];
    let there = |resource: &&&str| tree.has(&format!("proc/pressure/{resource}"));
    let there: Vec<_> = resources.iter().filter(there).collect();
    if there.is_empty() {
        return not_applicable("no proc/pressure");
    }
    let mut container = Container::new(tree)?;
    let _neighbour = Neighbour::start()?;
    container.sh("timeout 1 sh -c \"while :; do :; done\"; true")?;
    for resource in there {
        let path = format!("/proc/pressure/{resource}");
        let controller = if testkit::layout() == Layout::V1 { "memory" } else { "unified" };
        let own = container.cgroup.path(controller).join(format!("{resource}.pressure"));
        if !own.exists() {
            // As on a kernel without it: better no file than the host's.
            let shown = container.read(&path).unwrap_or_default();
            ensure!(!shown.contains("avg10="), "the cgroup has no pressure, {path} says {shown}");
            continue;
        }
        let total = |text: &str| {
            text.lines().next().and_then(|line| line.split("total=").nth(1)?.parse::<u64>().ok())
        };
        let before = total(&std::fs::read_to_string(&own)?);
        let shown = total(&container.read(&path)?);
        let after = total(&std::fs::read_to_string(&own)?);
        let own = before <= shown && shown <= after && shown.is_some();
        ensure!(own, "{path}: total {shown:?}, the cgroup's between {before:?} and {after:?}");
    }
    Ok(())
}
