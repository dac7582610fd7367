//! The CPU time in `/proc/stat`.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::Layout;

use super::cpus::two_cpus;
use crate::container::Container;
use crate::text::{busy, cpu_rows};
use crate::tree::Tree;

/// Ticks in a second, as `/proc/stat` counts on every architecture of today.
const HZ: u64 = 100;

/// Uses CPU for a second.
const BURN: &str = "timeout 1 sh -c \"while :; do :; done\"; true";

/// A process outside the container that keeps a CPU busy until it is dropped.
pub(super) struct Neighbour(Child);

impl Neighbour {
    pub(super) fn start() -> Result<Self> {
        let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        Ok(Self(child.context("cannot start sh")?))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the container's cgroup has used, in ticks.
fn used(container: &Container) -> Result<u64> {
    if testkit::layout() == Layout::V2 {
        let text = container.cgroup.read("cpu", "cpu.stat");
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(usage.context("no usage_usec in cpu.stat")?.parse::<u64>()? * HZ / 1_000_000)
    } else {
        let text = container.cgroup.read("cpuacct", "cpuacct.usage");
        Ok(text.trim().parse::<u64>()? * HZ / 1_000_000_000)
    }
}

/// One reading: the cgroup's usage before and after it, and what `/proc/stat` shows.
fn reading(container: &mut Container) -> Result<[u64; 3]> {
    let before = used(container)?;
    let shown = busy(&container.read("/proc/stat")?)?;
    Ok([before, shown, used(container)?])
}

pub(super) fn stat_shows_container_cpu_time(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/stat"])?;
    let mut container = Container::new(tree)?;
    let _neighbour = Neighbour::start()?;
    let [before0, shown0, after0] = reading(&mut container)?;
    container.sh(BURN)?;
    container.sh(BURN)?;
    let [before1, shown1, after1] = reading(&mut container)?;
    let shown = shown1.saturating_sub(shown0);
    let (least, most) = (before1.saturating_sub(after0), after1.saturating_sub(before0));
    // Half a tick for each row and column is lost; v1's own sampled counters are off by more.
    let (least, most) = ((least * 8 / 10).saturating_sub(10), most * 12 / 10 + 10);
    ensure!(
        (least..=most).contains(&shown),
        "stat counted {shown} ticks, the cgroup between {least} and {most}"
    );
    Ok(())
}

pub(super) fn busy_neighbour_invisible_in_idle_container(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/stat"])?;
    let mut container = Container::new(tree)?;
    let before = used(&container)?;
    let first = busy(&container.read("/proc/stat")?)?;
    let neighbour = Neighbour::start()?;
    std::thread::sleep(Duration::from_secs(2));
    drop(neighbour);
    let gained = busy(&container.read("/proc/stat")?)?.saturating_sub(first);
    // Reading is work too, and in a slow virtual machine not little.
    let own = used(&container)?.saturating_sub(before);
    ensure!(gained <= own * 12 / 10 + 10, "idle, it used {own} ticks, and stat shows {gained}");
    Ok(())
}

pub(super) fn rows_add_up(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/stat"])?;
    let mut container = Container::new(tree)?;
    for _ in 0..2 {
        let rows = cpu_rows(&container.read("/proc/stat")?)?;
        let total = rows.get("cpu").context("no line cpu in stat")?;
        let count = u64::try_from(rows.len())?;
        for (column, total) in total.iter().enumerate() {
            let rows = rows.iter().filter(|(name, _)| *name != "cpu");
            let sum: u64 = rows.filter_map(|(_, row)| row.get(column)).sum();
            // Each row is cut to whole ticks.
            ensure!(
                sum.abs_diff(*total) <= count,
                "column {column}: {sum} in rows, {total} in all"
            );
        }
        container.sh(BURN)?;
    }
    Ok(())
}

pub(super) fn no_row_outruns_elapsed(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/stat"])?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_quota(50_000, 100_000))?;
    let begin = Instant::now();
    let first = cpu_rows(&container.read("/proc/stat")?)?;
    container.sh(BURN)?;
    let second = cpu_rows(&container.read("/proc/stat")?)?;
    let elapsed = u64::try_from(begin.elapsed().as_millis())? * HZ / 1000;
    for (name, row) in second.iter().filter(|(name, _)| *name != "cpu") {
        let Some(before) = first.get(name) else { continue };
        // Without guest time, which is in user time already.
        let sum = |row: &[u64]| row.iter().take(8).sum::<u64>();
        let gained = sum(row).saturating_sub(sum(before));
        ensure!(gained <= elapsed + 10, "{name} counted {gained} ticks within {elapsed}");
    }
    Ok(())
}

pub(super) fn throttled_time_is_steal(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/stat"])?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_quota(10_000, 100_000))?;
    let steal = |container: &mut Container| -> Result<u64> {
        let rows = cpu_rows(&container.read("/proc/stat")?)?;
        rows.get("cpu").and_then(|row| row.get(7)).copied().context("no steal column in stat")
    };
    let (throttled, before) = (throttled(&container)?, steal(&mut container)?);
    // On a busy machine it may take a while until the container is the one that is held back.
    for _ in 0..20 {
        container.sh(BURN)?;
        if self::throttled(&container)? >= throttled + HZ {
            break;
        }
    }
    let gained = steal(&mut container)?.saturating_sub(before);
    ensure!(gained >= HZ / 3, "throttled for at least a second, steal gained {gained} ticks");
    Ok(())
}

/// For how long the container's cgroup was held back, in ticks.
fn throttled(container: &Container) -> Result<u64> {
    let text = container.cgroup.read("cpu", "cpu.stat");
    let (key, unit) = match testkit::layout() {
        Layout::V2 => ("throttled_usec ", 1_000_000),
        Layout::V1 | Layout::Hybrid => ("throttled_time ", 1_000_000_000),
    };
    let time = text.lines().find_map(|line| line.strip_prefix(key));
    Ok(time.context("no throttled time in cpu.stat")?.parse::<u64>()? * HZ / unit)
}

pub(super) fn no_counter_goes_backwards_when_quota_or_cpuset_changes(tree: &Tree) -> Result<()> {
    two_cpus()?;
    tree.needs(&["proc/stat"])?;
    let mut container = Container::new(tree)?;
    let mut before = cpu_rows(&container.read("/proc/stat")?)?;
    let burn = "timeout 0.3 sh -c \"while :; do :; done\"; true";
    type Change = fn(&testkit::TestCgroup);
    let changes: [Change; 6] = [
        |cgroup| cgroup.set_quota(50_000, 100_000),
        |cgroup| cgroup.set_quota(200_000, 100_000),
        |cgroup| cgroup.set_cpuset("1"),
        |cgroup| cgroup.set_cpuset("0-1"),
        |cgroup| cgroup.set_quota(20_000, 100_000),
        |cgroup| cgroup.set_quota(200_000, 100_000),
    ];
    for (number, change) in changes.iter().enumerate() {
        container.sh(burn)?;
        change(&container.cgroup);
        let after = cpu_rows(&container.read("/proc/stat")?)?;
        for (name, row) in &after {
            for (column, (old, new)) in before.get(name).into_iter().flatten().zip(row).enumerate()
            {
                ensure!(new >= old, "change {number}: {name}, column {column}: {old}, then {new}");
            }
        }
        // Rows that are gone for a while are compared when they come back.
        before.extend(after);
    }
    Ok(())
}
