//! `/proc/loadavg`.

use anyhow::{Context, Result, ensure};

use crate::container::Container;
use crate::text::decimal;
use crate::tree::Tree;

pub(super) fn loadavg_without_host_tasks(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/loadavg"])?;
    let mut container = Container::new(tree)?;
    let text = container.read("/proc/loadavg")?;
    let tasks = text.split_whitespace().nth(3).and_then(|tasks| tasks.split_once('/'));
    let (running, total) = tasks.context("no tasks in loadavg")?;
    let (running, total): (u64, u64) = (running.parse()?, total.parse()?);
    ensure!(running <= total && total <= 10, "{running}/{total} tasks; it has about three");
    // The next pid is that of the pid namespace, in which few processes were started.
    let last = decimal(&text, 4)?;
    ensure!(last <= 100.0, "the last pid is {last}");
    Ok(())
}

pub(super) fn late_first_read_is_plausible(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/loadavg"])?;
    let mut container = Container::new(tree)?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    let text = container.read("/proc/loadavg")?;
    for n in 0..3 {
        let average = decimal(&text, n)?;
        ensure!((0.0..=3.0).contains(&average), "an idle container has a load of {average}");
    }
    Ok(())
}
