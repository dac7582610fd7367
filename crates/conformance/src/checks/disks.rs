//! `/proc/diskstats` and `/sys/block`.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use procfmt::diskstats;
use testkit::Layout;

use crate::container::Container;
use crate::not_applicable;
use crate::tree::Tree;

/// How often a device is read, past the page cache.
const READS: u64 = 400;

/// Reads completed of a device, in the text of `/proc/diskstats`.
fn reads(text: &str, device: &str) -> Option<u64> {
    let row = text.lines().find(|line| line.split_whitespace().nth(2) == Some(device))?;
    row.split_whitespace().nth(3)?.parse().ok()
}

/// Something to read from that is on a disk.
struct Source {
    /// The disk's name in `/proc/diskstats`.
    disk: String,
    /// Its device number, such as `254:0`.
    number: String,
    /// The command that reads from the disk, not from the page cache.
    command: String,
    /// The file to read from, where the disk itself may not be opened.
    _file: Option<tempfile::TempDir>,
}

/// The disk that this machine lets us read, or has a file system on.
fn source() -> Result<Source> {
    let text = std::fs::read_to_string("/proc/diskstats")?;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(major), Some(minor), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        // Partitions have no entry of their own there.
        if !std::path::Path::new("/sys/block").join(name).exists() {
            continue;
        }
        let number = format!("{major}:{minor}");
        let device = Source {
            disk: name.to_owned(),
            command: dd(&format!("/dev/{name}")),
            _file: None,
            number,
        };
        if device.works() {
            return Ok(device);
        }
        let file = on_file_system(device)?;
        if file.works() {
            return Ok(file);
        }
    }
    not_applicable("no disk of this machine can be read")
}

fn on_file_system(device: Source) -> Result<Source> {
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let path = dir.path().join("blocks");
    let file = std::fs::File::create(&path)?;
    std::io::copy(&mut std::io::repeat(1).take(READS * 4096), &mut &file)?;
    file.sync_all()?;
    Ok(Source { command: dd(&path.to_string_lossy()), _file: Some(dir), ..device })
}

fn dd(path: &str) -> String {
    format!("dd if={path} of=/dev/null bs=4096 count={READS} iflag=direct")
}

impl Source {
    /// Reads; says whether that was seen in the disk's counters.
    fn works(&self) -> bool {
        let count = || {
            let text = std::fs::read_to_string("/proc/diskstats").unwrap_or_default();
            reads(&text, &self.disk).unwrap_or(0)
        };
        let before = count();
        let output = Command::new("sh").args(["-c", &self.command]).output();
        output.is_ok_and(|output| output.status.success()) && count() >= before + READS
    }
}

pub(super) fn diskstats_without_host_io(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/diskstats"])?;
    let source = source()?;
    let name = &source.disk;
    let mut container = Container::new(tree)?;
    let text = container.read("/proc/diskstats")?;
    let seen = reads(&text, name).unwrap_or(0);
    ensure!(seen < READS, "{seen} reads of {name}; the container read nothing");
    Ok(())
}

pub(super) fn own_io_is_counted(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/diskstats"])?;
    let source = source()?;
    let name = &source.disk;
    let mut container = Container::limited(tree, |cgroup| {
        // v1 counts only where a rule was set once.
        if testkit::layout() != Layout::V2 {
            let rule = format!("{} {}", source.number, 1_u64 << 50);
            cgroup.write("blkio", "blkio.throttle.read_bps_device", &rule);
        }
    })?;
    container.sh(&source.command)?;
    let text = container.read("/proc/diskstats")?;
    let seen = reads(&text, name).with_context(|| format!("no row {name}"))?;
    ensure!((READS..READS * 2).contains(&seen), "{seen} reads of {name}; it made {READS}");
    Ok(())
}

/// The counters of each device, by the name that it has in sysfs.
fn counters(text: &str) -> BTreeMap<String, Vec<u64>> {
    let counters = |row: diskstats::Row<'_>| {
        let name = String::from_utf8_lossy(row.name).replace('/', "!");
        let words: Vec<_> = row.text.split(u8::is_ascii_whitespace).collect();
        let numbers = words.iter().rev().take(row.columns);
        let numbers = numbers.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        (name, numbers.into_iter().rev().collect())
    };
    diskstats::parse(text.as_bytes()).map(counters).collect()
}

pub(super) fn sys_block_agrees_with_diskstats(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/diskstats", "sys/block"])?;
    let mut container = Container::new(tree)?;
    // What is counted meanwhile is counted between two readings of the other file.
    let text = container.sh("cat /proc/diskstats; echo ----; cd /sys/block
         for disk in *; do [ -e \"$disk/stat\" ] && echo 0 0 \"$disk\" $(cat \"$disk/stat\"); done
         echo ----; cat /proc/diskstats")?;
    let mut parts = text.split("----\n").map(counters);
    let mut part = || parts.next().context("the script printed too little");
    let (before, stats, after) = (part()?, part()?, part()?);
    for (disk, stat) in &stats {
        // A disk may come or go meanwhile.
        let (Some(before), Some(after)) = (before.get(disk), after.get(disk)) else { continue };
        ensure!(
            stat.len() == before.len(),
            "{disk}: {stat:?} has not as many numbers as {before:?}"
        );
        for (index, number) in stat.iter().enumerate() {
            // Requests in flight go up and down.
            let between = before.get(index) <= Some(number) && Some(number) <= after.get(index);
            ensure!(
                between || index == 8,
                "{disk}: {stat:?} is not between {before:?} and {after:?}"
            );
        }
    }
    for disk in before.keys().filter(|disk| after.contains_key(*disk)) {
        let mut is_partition =
            || container.sh(&format!("ls -d \"/sys/block/\"*\"/{disk}\"")).is_ok();
        ensure!(stats.contains_key(disk) || is_partition(), "/sys/block lacks {disk}");
    }
    let strange =
        stats.keys().find(|disk| !before.contains_key(*disk) && !after.contains_key(*disk));
    ensure!(strange.is_none(), "/sys/block has {strange:?}, /proc/diskstats has not");
    Ok(())
}
