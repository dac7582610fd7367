//! `/proc/uptime`, and the boot time in `/proc/stat`.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::container::Container;
use crate::text::{decimal, stat_line};
use crate::tree::Tree;

/// Checks the container's uptime against when it was started.
fn plausible(container: &mut Container) -> Result<()> {
    // Else the host's own age would do. A virtual machine may be as young as that.
    let wait = std::time::Duration::from_secs(5);
    let host = decimal(&std::fs::read_to_string("/proc/uptime")?, 0)?;
    if host < 30.0 {
        std::thread::sleep(wait);
    }
    let uptime = decimal(&container.read("/proc/uptime")?, 0)?;
    let age = container.born.elapsed().as_secs_f64();
    // It was started a moment before we knew.
    ensure!((0.0..=age + 3.0).contains(&uptime), "up {uptime} s, started {age:.2} s ago");
    Ok(())
}

pub(super) fn uptime_is_the_containers(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/uptime"])?;
    plausible(&mut Container::new(tree)?)
}

pub(super) fn comm_with_bracket_in_uptime(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/uptime"])?;
    let mut container = Container::new(tree)?;
    container.sh_raw("printf \"a) b (c\" >/proc/1/comm")?;
    plausible(&mut container)
}

pub(super) fn uptime_idle_is_bounded(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/uptime"])?;
    let mut container = Container::new(tree)?;
    let text = container.read("/proc/uptime")?;
    let (up, idle) = (decimal(&text, 0)?, decimal(&text, 1)?);
    let cpus = std::thread::available_parallelism()?.get();
    let most = (up + 0.1) * f64::from(u32::try_from(cpus)?);
    ensure!(idle <= most, "idle {idle} s of {up} s on {cpus} CPUs");
    Ok(())
}

pub(super) fn btime_keeps_process_starts_true(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/stat"])?;
    let mut container = Container::new(tree)?;
    // Field 22, of a process whose name has no blank.
    let start: u64 = container.sh("cut -d \" \" -f 22 /proc/self/stat")?.trim().parse()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let btime = stat_line(&container.read("/proc/stat")?, "btime").context("no btime in stat")?;
    let started = btime + start / 100;
    ensure!(started.abs_diff(now) <= 10, "a process of now started at {started}, it is {now}");
    Ok(())
}
