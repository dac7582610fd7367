//! `/proc/meminfo`: limits, room, and the values of the cgroup.

use anyhow::{Result, ensure};
use testkit::{Layout, TestCgroup};

use crate::container::{Container, fresh};
use crate::not_applicable;
use crate::text::meminfo;
use crate::tree::Tree;

pub(super) const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

fn limited(tree: &Tree, mib: u64) -> Result<Container> {
    tree.needs(&["proc/meminfo"])?;
    Container::limited(tree, |cgroup| cgroup.set_memory(mib * MIB))
}

fn value(container: &mut Container, key: &str) -> Result<u64> {
    meminfo(&container.read("/proc/meminfo")?, key)
}

pub(super) fn memory_total_is_the_limit(tree: &Tree) -> Result<()> {
    let total = value(&mut limited(tree, 64)?, "MemTotal")?;
    ensure!(total == 64 * KIB, "MemTotal is {total} kB, the limit 65536 kB");
    Ok(())
}

pub(super) fn memory_total_is_the_tightest_of_the_ancestry(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/meminfo"])?;
    let parent = TestCgroup::new(&fresh("conformance"));
    parent.set_memory(64 * MIB);
    let child = parent.child("app");
    child.set_memory(128 * MIB);
    let total = value(&mut Container::in_cgroup(tree, child)?, "MemTotal")?;
    ensure!(total == 64 * KIB, "MemTotal is {total} kB, the parent's limit 65536 kB");
    Ok(())
}

pub(super) fn free_le_available_le_total(tree: &Tree) -> Result<()> {
    let mut container = limited(tree, 64)?;
    for fill in ["true", "dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null"] {
        container.sh(fill)?;
        let text = container.read("/proc/meminfo")?;
        let [total, available, free] = [
            meminfo(&text, "MemTotal")?,
            meminfo(&text, "MemAvailable")?,
            meminfo(&text, "MemFree")?,
        ];
        ensure!(free <= available, "MemFree {free} kB > MemAvailable {available} kB");
        ensure!(available <= total, "MemAvailable {available} kB > MemTotal {total} kB");
    }
    Ok(())
}

pub(super) fn memfree_counts_siblings_of_limited_parent(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/meminfo"])?;
    let parent = TestCgroup::new(&fresh("conformance"));
    parent.set_memory(128 * MIB);
    let mut sibling = Container::in_cgroup(tree, parent.child("sibling"))?;
    sibling.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=80 2>/dev/null")?;
    let mut container = Container::in_cgroup(tree, parent.child("app"))?;
    let text = container.read("/proc/meminfo")?;
    for key in ["MemFree", "MemAvailable"] {
        let value = meminfo(&text, key)?;
        ensure!(
            value <= 48 * KIB,
            "{key} is {value} kB, but the sibling left at most {} kB",
            48 * KIB
        );
    }
    Ok(())
}

pub(super) fn anonpages_never_wraps_with_locked_shmem(tree: &Tree) -> Result<()> {
    // Locked pages of a tmpfs are on the unevictable list and still count as shared memory.
    let program = "
import ctypes, mmap, os
fd = os.open('/dev/shm/locked', os.O_RDWR | os.O_CREAT)
os.truncate(fd, 24 << 20)
m = mmap.mmap(fd, 24 << 20)
libc = ctypes.CDLL(None, use_errno=True)
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
assert libc.mlock(ctypes.c_void_p(at), ctypes.c_size_t(24 << 20)) == 0, ctypes.get_errno()
print(open('/proc/meminfo').read())";
    let mut container = limited(tree, 96)?;
    let text = container.python(program)?;
    let anon = meminfo(&text, "AnonPages")?;
    ensure!(anon <= 96 * KIB, "AnonPages is {anon} kB");
    let shmem = meminfo(&text, "Shmem")?;
    ensure!((23 * KIB..=96 * KIB).contains(&shmem), "Shmem is {shmem} kB, 24576 kB are used");
    Ok(())
}

pub(super) fn anon_mapped_shmem_follow_the_cgroup(tree: &Tree) -> Result<()> {
    let program = "
import mmap, os
anon = mmap.mmap(-1, 24 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
fd = os.open('/dev/shm/mapped', os.O_RDWR | os.O_CREAT)
os.truncate(fd, 16 << 20)
shared = mmap.mmap(fd, 16 << 20)
for m in anon, shared:
    for at in range(0, len(m), 4096):
        m[at] = 1
print(open('/proc/meminfo').read())";
    let mut container = limited(tree, 128)?;
    let text = container.python(program)?;
    for (key, at_least) in [("AnonPages", 24), ("Mapped", 16), ("Shmem", 16)] {
        let value = meminfo(&text, key)?;
        // The kernel counts in batches for each CPU.
        let expected = (at_least - 2) * KIB..=128 * KIB;
        ensure!(expected.contains(&value), "{key} is {value} kB, {at_least} MiB are used");
    }
    Ok(())
}

pub(super) fn dirty_is_the_cgroups(tree: &Tree) -> Result<()> {
    let mut container = limited(tree, 128)?;
    let (key, file) = match testkit::layout() {
        Layout::V2 => ("file_dirty ", "memory.stat"),
        Layout::V1 | Layout::Hybrid => ("total_dirty ", "memory.stat"),
    };
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let path = dir.path().join("dirty").display().to_string();
    // Write-back may take the pages away between two readings, so there are a few attempts.
    for _ in 0..8 {
        container
            .sh(&format!("dd if=/dev/zero of={path} bs=1M count=16 conv=notrunc 2>/dev/null"))?;
        let cgroup = |container: &Container| -> u64 {
            let text = container.cgroup.read("memory", file);
            let value = text.lines().find_map(|line| line.strip_prefix(key));
            value.and_then(|value| value.parse().ok()).unwrap_or(0) / KIB
        };
        let before = cgroup(&container);
        let shown = value(&mut container, "Dirty")?;
        let after = cgroup(&container);
        if before >= KIB && before == after {
            ensure!(shown == before, "Dirty is {shown} kB, the cgroup's {before} kB");
            return Ok(());
        }
    }
    not_applicable("no file system here leaves dirty pages to the cgroup")
}

pub(super) fn limit_change_shows_at_next_open(tree: &Tree) -> Result<()> {
    let mut container = limited(tree, 64)?;
    value(&mut container, "MemTotal")?;
    for mib in [200, 48] {
        container.cgroup.set_memory(mib * MIB);
        let total = value(&mut container, "MemTotal")?;
        ensure!(total == mib * KIB, "MemTotal is {total} kB, the limit now {} kB", mib * KIB);
    }
    Ok(())
}

/// Lines that say how big something is that is not memory in use.
const SIZES: [&str; 4] = ["VmallocTotal", "VmallocChunk", "Hugepagesize", "CommitLimit"];

pub(super) fn no_host_line_left_in_meminfo(tree: &Tree) -> Result<()> {
    let mut container = limited(tree, 16)?;
    let host = std::fs::read_to_string("/proc/meminfo")?;
    let text = container.read("/proc/meminfo")?;
    let mut left = Vec::new();
    for line in text.lines() {
        let key = line.split(':').next().unwrap_or_default();
        if SIZES.contains(&key) || key.starts_with("Swap") {
            continue;
        }
        let value = meminfo(&text, key)?;
        // Nothing in a container of 16 MiB is bigger; what is small may be its own by chance.
        if value > 16 * KIB && meminfo(&host, key).is_ok_and(|host| host > 0) {
            left.push(format!("{key} {value} kB"));
        }
    }
    ensure!(left.is_empty(), "with 16 MiB: {}", left.join(", "));
    Ok(())
}
