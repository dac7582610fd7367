//! `/proc/swaps` and the swap lines of `/proc/meminfo`.

use anyhow::{Context, Result, ensure};

use super::memory::MIB;
use crate::container::Container;
use crate::not_applicable;
use crate::text::meminfo;
use crate::tree::Tree;

/// SwapTotal and SwapFree in kB, and the sums of Size and Used of `/proc/swaps`.
struct Seen {
    total: u64,
    free: u64,
    size: u64,
    used: u64,
}

fn seen(container: &mut Container) -> Result<Seen> {
    let text = container.read("/proc/meminfo")?;
    let swaps = container.read("/proc/swaps")?;
    let column = |n: usize| -> Result<u64> {
        let rows = swaps.lines().skip(1).map(|row| {
            let word = row.split_whitespace().nth(n).context("a short row in swaps")?;
            word.parse::<u64>().with_context(|| format!("{word:?} in swaps"))
        });
        rows.sum()
    };
    Ok(Seen {
        total: meminfo(&text, "SwapTotal")?,
        free: meminfo(&text, "SwapFree")?,
        size: column(2)?,
        used: column(3)?,
    })
}

/// A container of 64 MiB with that much swap. Not every kernel accounts swap.
fn with_swap(tree: &Tree, bytes: u64) -> Result<Container> {
    tree.needs(&["proc/swaps", "proc/meminfo"])?;
    let probe = testkit::TestCgroup::new(&crate::container::fresh("conformance"));
    let limits = ["memory.swap.max", "memory.memsw.limit_in_bytes"];
    if !limits.iter().any(|file| probe.path("memory").join(file).exists()) {
        return not_applicable("the kernel does not account swap");
    }
    Container::limited(tree, |cgroup| {
        cgroup.set_memory(64 * MIB);
        cgroup.set_swap(bytes);
    })
}

pub(super) fn swap_header_always_there(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/swaps"])?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_memory(64 * MIB))?;
    let text = container.read("/proc/swaps")?;
    ensure!(text.starts_with("Filename"), "/proc/swaps starts with {:?}", text.lines().next());
    Ok(())
}

pub(super) fn swaps_and_meminfo_agree(tree: &Tree) -> Result<()> {
    let Seen { total, free, size, used } = seen(&mut with_swap(tree, 32 * MIB)?)?;
    ensure!(total == size, "SwapTotal is {total} kB, /proc/swaps has {size} kB");
    ensure!(total.checked_sub(free) == Some(used), "{total} − {free} kB are not {used} kB");
    Ok(())
}

pub(super) fn swapfree_never_wraps(tree: &Tree) -> Result<()> {
    let mut container = with_swap(tree, 32 * MIB)?;
    // More than fits: some of it goes to swap, where there is any.
    container.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>/dev/null; true")?;
    for bytes in [32 * MIB, 0] {
        container.cgroup.set_swap(bytes);
        let Seen { total, free, .. } = seen(&mut container)?;
        ensure!(free <= total, "SwapFree {free} kB > SwapTotal {total} kB");
    }
    Ok(())
}

pub(super) fn swap_total_is_the_limit(tree: &Tree) -> Result<()> {
    if meminfo(&std::fs::read_to_string("/proc/meminfo")?, "SwapTotal")? < (32 * MIB) >> 10 {
        return not_applicable("the machine has no swap");
    }
    // Of v1's limit, which is for memory and swap together, what is beyond the memory limit.
    let total = seen(&mut with_swap(tree, 32 * MIB)?)?.total;
    ensure!(total == (32 * MIB) >> 10, "SwapTotal is {total} kB, the limit 32768 kB");
    Ok(())
}

pub(super) fn no_swap_where_the_limit_is_zero(tree: &Tree) -> Result<()> {
    let Seen { total, size, .. } = seen(&mut with_swap(tree, 0)?)?;
    ensure!(total == 0 && size == 0, "SwapTotal {total} kB, /proc/swaps {size} kB");
    Ok(())
}
