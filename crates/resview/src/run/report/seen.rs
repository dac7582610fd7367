//! What the files of /proc and /sys say, wherever this runs.

use std::path::Path;

use procfmt::diskstats;
use procfmt::loadavg::Loadavg;
use procfmt::meminfo::Totals;
use procfmt::stat::busy_ticks;
use procfmt::units::{Bytes, Kib};
use procfmt::uptime::Uptime;
use serde::{Deserialize, Serialize};

/// The values, as numbers where the table compares them. `None`: the file is missing or not of its
/// form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// kB: MemTotal, MemFree, MemAvailable, SwapTotal, SwapFree.
    pub(super) memory: Option<[u64; 5]>,
    /// Rows of /proc/stat.
    pub(super) cpus: Option<u32>,
    /// `/sys/devices/system/cpu/online`.
    pub(super) cpu_list: Option<String>,
    /// Hundredths of a task.
    pub(super) load: Option<[u64; 3]>,
    /// Running tasks, existing tasks.
    pub(super) tasks: Option<[u64; 2]>,
    /// Hundredths of a second.
    pub(super) uptime: Option<u64>,
    /// Hundredths of a second that the CPUs worked, by /proc/stat.
    pub(super) cpu_time: Option<u64>,
    /// Bytes read from and written to disks.
    pub(super) disks: Option<[u64; 2]>,
}

impl Seen {
    /// Reads everything.
    pub(crate) fn now() -> Self {
        Self::by(|path| std::fs::read(path).ok())
    }

    /// Reads everything by `read`, which takes a path and gives what is there.
    pub(crate) fn by(read: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let loadavg = read("/proc/loadavg").and_then(|text| Loadavg::parse(&text));
        let stat = read("/proc/stat");
        let online = read("/sys/devices/system/cpu/online");
        Self {
            memory: read("/proc/meminfo").map(|text| memory(&text)),
            cpus: stat.as_deref().and_then(|text| u32::try_from(busy_ticks(text).count()).ok()),
            cpu_list: online.map(|text| String::from_utf8_lossy(text.trim_ascii()).into_owned()),
            load: loadavg.map(|loadavg| loadavg.averages),
            tasks: loadavg.map(|loadavg| [loadavg.running, loadavg.total]),
            uptime: read("/proc/uptime").and_then(|text| Uptime::parse(&text)).map(|time| time.up),
            cpu_time: stat.as_deref().map(cpu_time),
            disks: read("/proc/diskstats").map(|text| disks(&text)),
        }
    }
}

fn memory(text: &[u8]) -> [u64; 5] {
    let totals = Totals::parse(text);
    let Totals { mem_total, mem_free, mem_available, swap_total, swap_free, .. } = totals;
    [mem_total, mem_free, mem_available, swap_total, swap_free].map(|Kib(kib)| kib)
}

fn cpu_time(stat: &[u8]) -> u64 {
    let ticks = busy_ticks(stat).map(|(_, ticks)| ticks).sum();
    let procfmt::units::Ticks(ticks) = ticks;
    procfmt::units::scale(ticks, 100, rustix::param::clock_ticks_per_second())
}

fn disks(text: &[u8]) -> [u64; 2] {
    // Partitions would count twice what their disk counts.
    let whole = |row: &diskstats::Row<'_>| {
        let name = String::from_utf8_lossy(row.name).replace('/', "!");
        Path::new("/sys/block").join(name).exists()
    };
    diskstats::parse(text).filter(whole).fold([0, 0], |[read, written], row| {
        // Counters after the name: reads merged sectors ms writes merged sectors ms …
        let bytes = |index| counter(&row, index).saturating_mul(SECTOR);
        [bytes(2).saturating_add(read), bytes(6).saturating_add(written)]
    })
}

/// A sector of /proc/diskstats, whatever the device's own.
const SECTOR: u64 = 512;

/// The counter at `index`. Counted from the end of the row, as a name may hold blanks.
fn counter(row: &diskstats::Row<'_>, index: usize) -> u64 {
    let from_end = row.columns.saturating_sub(index + 1);
    let digits = row.text.rsplit(|&byte| byte == b' ').nth(from_end);
    digits.and_then(procfmt::limit_value::number).unwrap_or(0)
}

/// `50 MiB`, `23.5 GiB`.
pub(super) fn amount(bytes: Bytes) -> String {
    let mib = bytes.0 >> 20;
    match (bytes.0, mib) {
        (bytes, 0) => format!("{} KiB", bytes >> 10),
        (_, 0..10_240) => format!("{mib} MiB"),
        _ => format!("{}.{} GiB", mib >> 10, ((mib & 1023) * 10) >> 10),
    }
}

/// `1.05`.
pub(crate) fn hundredths(value: u64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (bytes, text) in [
            (0, "0 KiB"),
            (4096, "4 KiB"),
            (50 << 20, "50 MiB"),
            (10 << 30, "10.0 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(amount(Bytes(bytes)), text);
        }
        assert_eq!(hundredths(105), "1.05");
    }

    #[test]
    fn counters_are_found_behind_a_name_with_a_blank() {
        let text = b" 253       0 a b 1 2 3 4 5 6 7 8 9 10 11\n";
        let row = diskstats::parse(text).next().unwrap();
        assert_eq!((counter(&row, 2), counter(&row, 6)), (3, 7));
        assert_eq!(counter(&row, 99), 11, "past the end: the last, never a panic");
    }

    #[test]
    fn this_machine_can_be_read() {
        let seen = Seen::now();
        assert!(seen.memory.is_some_and(|[total, ..]| total > 0));
        assert!(seen.cpus.is_some_and(|cpus| cpus > 0));
        assert!(seen.uptime.is_some() && seen.load.is_some());
    }
}
