//! Every renderer of the catalogue takes any text of the host and any container: it does not panic,
//! what it gives is bounded, and memory adds up.
//!
//! Run: `cargo +nightly fuzz run view_renderers` in the repository's root.

#![no_main]

mod container;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use procfmt::meminfo;
use view::ResourceView;
use view::catalogue::{PROC_FILES, Sys, sys};

/// The entries of `/sys` that are rendered, one of each kind and some that are not.
const SYS_PATHS: [&str; 18] = [
    "devices/system/cpu/online",
    "devices/system/cpu/possible",
    "devices/system/cpu/offline",
    "devices/system/cpu/isolated",
    "devices/system/cpu/smt/active",
    "devices/system/cpu/cpu0/topology/core_cpus",
    "devices/system/cpu/cpu0/topology/core_cpus_list",
    "devices/system/cpu/cpu1/cache/index0/shared_cpu_map",
    "devices/system/cpu/cpu1/cpufreq/affected_cpus",
    "devices/system/node/online",
    "devices/system/node/has_cpu",
    "devices/system/node/node0/cpulist",
    "devices/system/node/node0/cpumap",
    "devices/system/node/node0/distance",
    "devices/system/node/node0/meminfo",
    "devices/system/node/node1/numastat",
    "block/sda/stat",
    "block/sda/inflight",
];

/// A table has a row or a column for each CPU, of which an arbitrary container has few.
const MOST_PER_BYTE: usize = 64;
const MOST_AT_ALL: usize = 1 << 18;

fuzz_target!(|bytes: &[u8]| {
    let _ = one(Unstructured::new(bytes));
});

fn one(mut bytes: Unstructured<'_>) -> Result<()> {
    let view = container::arbitrary(&mut bytes)?;
    let choice = bytes.int_in_range(0..=PROC_FILES.len() + SYS_PATHS.len() - 1)?;
    let host = bytes.take_rest();
    let mut out = Vec::new();
    if let Some(file) = PROC_FILES.get(choice) {
        if (file.render)(host, &view, &mut out).is_ok() && file.name == "meminfo" {
            memory_adds_up(host, &out, &view);
        }
    } else if let Sys::Virtual(file) = sys(SYS_PATHS[choice - PROC_FILES.len()]) {
        let _ = file.render(host, &view, &mut out);
    }
    let most = MOST_AT_ALL + MOST_PER_BYTE * host.len();
    assert!(out.len() <= most, "{} bytes became {}", host.len(), out.len());
    Ok(())
}

/// free ≤ available ≤ total, where the host's text has each of these lines once.
fn memory_adds_up(host: &[u8], out: &[u8], view: &ResourceView) {
    let keys: [&[u8]; 3] = [b"MemFree", b"MemAvailable", b"MemTotal"];
    let once = |key: &&[u8]| meminfo::parse(host).filter(|line| line.key == *key).count() == 1;
    if view.memory.is_none() || !keys.iter().all(once) {
        return;
    }
    let value =
        |key: &[u8]| meminfo::parse(out).find(|line| line.key == key).map(|line| line.value);
    let values = keys.map(value);
    assert!(values.is_sorted() && values[0].is_some(), "{values:?}");
}
