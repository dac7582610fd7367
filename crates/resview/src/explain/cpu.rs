//! How CPUs, CPU time, age and load come about.

use std::fmt::Write as _;

use cgroup::{Controller, Explained, Group, Version};
use container::{AnchorKind, Container};
use procfmt::cpulist::CpuSet;
use procfmt::units::Usec;
use view::Cpus;
use view::input::{CpuInput, Weight};
use view::policy::{CpuCount, Policy};

use super::formula::{Formula, HOST, shown};
use super::sources::{Source, own_directory, read};
use crate::run::report::hundredths;

/// Which CPUs the container sees.
pub(super) fn cpus(group: &Group, online: &CpuSet, policy: &Policy) -> anyhow::Result<Formula> {
    let (input, limits) = (group.cpu()?, group.explain()?);
    let seen = Cpus::by_policy(&input, online, policy);
    let allowed =
        input.cpuset.as_ref().map_or_else(|| online.clone(), |set| set.intersection(online));
    let mut text = format!("{} CPUs allowed ({allowed})", allowed.len());
    let _ = match (&input.quota, policy.cpu_count) {
        (_, CpuCount::Cpuset) => write!(text, ", the quota does not count"),
        (None, _) => write!(text, ", no quota"),
        (Some(quota), count) => {
            let hundredth = procfmt::units::scale(quota.quota.0, 100, quota.period.0);
            let bracket = if count == CpuCount::QuotaFloor { "⌊⌋" } else { "⌈⌉" };
            let mut bracket = bracket.chars();
            let [open, close] = [bracket.next(), bracket.next()].map(Option::unwrap_or_default);
            write!(
                text,
                ", quota {} of {} µs: {open}{}{close}",
                quota.quota.0,
                quota.period.0,
                hundredths(hundredth)
            )
        }
    };
    if policy.cpu_count == CpuCount::Shares {
        let _ = write!(text, ", {}", weight(&input));
    }
    let _ = write!(text, "; min = {} ({})", seen.count(), seen.shown());
    let decided_by = decided_by(&seen, &allowed, &limits, policy);
    Ok(Formula { text, decided_by: Some(decided_by), ancestry: cpu_files(group)? })
}

fn weight(input: &CpuInput) -> String {
    match input.weight {
        Some(Weight::Shares(shares)) => format!("{shares} shares at 1024 a CPU"),
        Some(Weight::Weight(weight)) => format!("weight {weight}"),
        None => "no shares".to_owned(),
    }
}

fn decided_by(seen: &Cpus, allowed: &CpuSet, limits: &Explained, policy: &Policy) -> String {
    let file = if seen.count() >= allowed.len() {
        limits.cpuset.as_ref().map(|decided| &decided.file)
    } else if policy.cpu_count == CpuCount::Shares && limits.quota.is_none() {
        limits.weight.as_ref().map(|decided| &decided.file)
    } else {
        limits.quota.as_ref().map(|decided| &decided.file)
    };
    file.map_or_else(|| HOST.to_owned(), |file| shown(file))
}

/// The set of the container's own cgroup, and the quota of each level.
fn cpu_files(group: &Group) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    for dir in group.directories(Controller::Cpuset)?.into_iter().take(1) {
        files.extend(["cpuset.cpus.effective", "cpuset.effective_cpus"].map(|name| dir.join(name)));
    }
    for dir in group.directories(Controller::Cpu)? {
        let names = ["cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"];
        files.extend(names.map(|name| dir.join(name)));
    }
    Ok(files.into_iter().filter_map(|file| read(file, None)).collect())
}

/// CPU time: an account, whose sources are said.
pub(super) fn cpu_time(group: &Group, user_hz: u64) -> anyhow::Result<Option<Formula>> {
    let Some(used) = group.cpu_time()? else { return Ok(None) };
    let ticks = |time: Usec| time.ticks(user_hz).0;
    let text = format!(
        "used since the cgroup was made, in ticks of 1/{user_hz} s: user {} (nice {}), system {}, \
         throttled (steal) {}; idle is the rest of age × visible CPUs. Rows are an account in \
         steps, so that none falls when the container moves or CPUs leave",
        ticks(used.user),
        ticks(used.nice),
        ticks(used.system),
        ticks(used.throttled)
    );
    let mut ancestry = Vec::new();
    for controller in [Controller::Cpuacct, Controller::Cpu] {
        let Some(dir) = own_directory(group, controller) else { continue };
        for name in ["cpuacct.usage_percpu", "cpuacct.stat", "cpu.stat", "cpu.stat.local"] {
            ancestry.extend(read(dir.join(name), None).filter(|one| !ancestry.contains(one)));
        }
    }
    let decided_by = ancestry.first().map(|source| shown(&source.file));
    Ok(Some(Formula { text, decided_by, ancestry }))
}

/// The first number of uptime: an age.
pub(super) fn age(container: &Container, user_hz: u64) -> Formula {
    let anchor = container.anchor();
    let stat = format!("/proc/{}/stat", anchor.pid);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(100)
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 10_000_000;
    let (text, file) = match anchor.boottime_offset {
        Some(offset) => {
            let offset = offset / 10_000_000;
            let up = now.saturating_add_signed(offset);
            let sign = if offset < 0 { "−" } else { "+" };
            let offset = hundredths(offset.unsigned_abs());
            let text = format!(
                "a time namespace: {} s since boot {sign} {offset} s = {} s",
                hundredths(now),
                hundredths(up)
            );
            (text, format!("/proc/{}/timens_offsets", anchor.pid))
        }
        None => {
            let start = procfmt::units::scale(anchor.start_time.0, 100, user_hz);
            let text = format!(
                "{} s since boot − {} s, the start of {} = {} s",
                hundredths(now),
                hundredths(start),
                match anchor.kind {
                    AnchorKind::Init => "the container's init",
                    AnchorKind::Oldest => "its oldest process",
                },
                hundredths(now.saturating_sub(start))
            );
            (text, stat.clone())
        }
    };
    let value = format!("{} (field 22)", anchor.start_time.0);
    let ancestry = vec![Source { file: stat.into(), key: None, value }];
    Formula { text, decided_by: Some(file), ancestry }
}

/// Load averages.
pub(super) fn load(group: &Group) -> Formula {
    let name = match group.version(Controller::Pids) {
        Some(Version::V1) => "tasks",
        _ => "cgroup.threads",
    };
    let file = own_directory(group, Controller::Pids).map(|dir| dir.join(name));
    let count = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file).ok()?;
        let value = format!("{} tasks here, and those below", text.lines().count());
        Some(Source { file: file.clone(), key: None, value })
    };
    let text = "every 5 s: load × e^(−5/T) + n × (1 − e^(−5/T)), n tasks in state R or D, \
                T 60, 300 and 900 s; running and total are of the last sample";
    Formula {
        text: text.to_owned(),
        decided_by: file.as_deref().map(shown),
        ancestry: file.iter().filter_map(count).collect(),
    }
}
