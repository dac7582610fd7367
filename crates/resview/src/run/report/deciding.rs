//! Which file decided each quantity.

use std::path::{Path, PathBuf};

use cgroup::{Decided, Explained};
use procfmt::units::Kib;

use super::seen::{Seen, amount, hundredths};
use super::{FileOf, Row};
use crate::view_options::CpuCount;

/// What a cell says where there is nothing to say.
const NOTHING: &str = "-";

/// What decides where no limit does.
const NO_LIMIT: &str = "the host: no limit is set";

/// The table's rows.
pub(super) fn deciding(
    host: &Seen,
    container: &Seen,
    limits: &Explained,
    file_of: FileOf<'_>,
    policy: Option<CpuCount>,
) -> Vec<Row> {
    let row = |quantity, cell: &dyn Fn(&Seen) -> Option<String>, decided_by: String| {
        let [host, container] = [host, container].map(|seen| or_nothing(cell(seen)));
        Row { quantity, host, container, decided_by }
    };
    let memory =
        |index: usize| move |seen: &Seen| Some(amount(Kib(*seen.memory?.get(index)?).bytes()));
    let file = |controller, v1, v2| shown(file_of(controller, v1, v2).as_deref());
    let limit = decider(limits.memory.as_ref());
    let usage = used(limits.memory.as_ref());
    let swapless = host.memory.is_none_or(|[.., total, _]| total == 0);
    let swap_limit =
        if swapless { "the host: it has none".into() } else { decider(limits.swap.as_ref()) };
    let cpus = cpus_decided_by(container, limits, policy);
    vec![
        row("memory", &memory(0), limit),
        row("memory free", &memory(1), usage.clone()),
        row("memory available", &memory(2), usage),
        row("swap", &memory(3), swap_limit.clone()),
        row("swap free", &memory(4), swap_limit),
        row("CPUs", &|seen| seen.cpus.map(|cpus| cpus.to_string()), cpus.clone()),
        row("CPU list", &|seen| seen.cpu_list.clone(), cpus),
        quota(limits),
        counting(policy),
        row(
            "CPU time used",
            &|seen| Some(format!("{} s", hundredths(seen.cpu_time?))),
            file("cpuacct", "cpuacct.usage_percpu", "cpu.stat"),
        ),
        row(
            "load average",
            &|seen| Some(seen.load?.map(hundredths).join(" ")),
            file("pids", "tasks", "cgroup.threads"),
        ),
        row(
            "tasks running",
            &|seen| seen.tasks.map(|[running, _]| running.to_string()),
            file("pids", "tasks", "cgroup.threads"),
        ),
        row(
            "tasks",
            &|seen| seen.tasks.map(|[_, total]| total.to_string()),
            file("pids", "pids.current", "pids.current"),
        ),
        row(
            "uptime",
            &|seen| Some(format!("{} s", hundredths(seen.uptime?))),
            "the start of the container's pid 1".to_owned(),
        ),
        row(
            "disk read",
            &|seen| seen.disks.map(|[read, _]| amount(procfmt::units::Bytes(read))),
            disk_file(file_of),
        ),
        row(
            "disk written",
            &|seen| seen.disks.map(|[_, written]| amount(procfmt::units::Bytes(written))),
            disk_file(file_of),
        ),
    ]
}

fn or_nothing(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| NOTHING.to_owned())
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| NOTHING.to_owned(), |path| path.display().to_string())
}

fn decider<T>(decided: Option<&Decided<T>>) -> String {
    decided.map_or_else(|| NO_LIMIT.to_owned(), |decided| decided.file.display().to_string())
}

/// What counts the usage that is held against a memory limit: the file beside it.
fn used<T>(limit: Option<&Decided<T>>) -> String {
    let Some(limit) = limit else { return NO_LIMIT.to_owned() };
    let v2 = limit.file.file_name().is_some_and(|name| name == "memory.max");
    let usage = if v2 { "memory.current" } else { "memory.usage_in_bytes" };
    limit.file.with_file_name(usage).display().to_string()
}

/// The CPU set, unless there are fewer CPUs to see than it has: then what the policy goes by.
fn cpus_decided_by(container: &Seen, limits: &Explained, policy: Option<CpuCount>) -> String {
    let set = limits.cpuset.as_ref();
    let all_seen = set.is_some_and(|set| container.cpus.is_none_or(|seen| seen >= set.value.len()));
    match policy {
        Some(CpuCount::Shares) if !all_seen && limits.quota.is_none() => {
            decider(limits.weight.as_ref())
        }
        _ if !all_seen && limits.quota.is_some() => decider(limits.quota.as_ref()),
        _ => decider(set),
    }
}

fn quota(limits: &Explained) -> Row {
    let cpus = |decided: &Decided<view::input::Quota>| {
        let quota = decided.value;
        let hundredth = procfmt::units::scale(quota.quota.0, 100, quota.period.0);
        format!("{} CPUs", hundredths(hundredth))
    };
    Row {
        quantity: "CPU quota",
        host: "none".to_owned(),
        container: limits.quota.as_ref().map_or_else(|| "none".to_owned(), cpus),
        decided_by: decider(limits.quota.as_ref()),
    }
}

/// A daemon has its own policy, which it does not tell.
fn counting(policy: Option<CpuCount>) -> Row {
    Row {
        quantity: "CPU count policy",
        host: NOTHING.to_owned(),
        container: or_nothing(policy.map(|policy| policy.to_string())),
        decided_by: policy
            .map_or("--cpu-count of the running daemon", |_| "--cpu-count")
            .to_owned(),
    }
}

fn disk_file(file_of: FileOf<'_>) -> String {
    let candidates =
        ["blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"];
    let found: Option<PathBuf> = candidates.iter().find_map(|v1| file_of("blkio", v1, "io.stat"));
    shown(found.as_deref())
}
