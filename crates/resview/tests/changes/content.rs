//! Whether a file's content is what the kernel could have printed, and what it says.

use std::collections::BTreeMap;

use procfmt::cpulist::CpuSet;
use procfmt::units::Kib;
use procfmt::{
    cpuinfo, diskstats, loadavg, meminfo, node_meminfo, partitions, per_cpu, stat, uptime, vmstat,
    zoneinfo,
};

/// What a file says that can be held against what was set, and against what it said before.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The CPUs that it shows.
    pub(crate) cpus: Option<CpuSet>,
    /// The size of memory.
    pub(crate) total: Option<Kib>,
    /// Numbers that may only grow, by name.
    pub(crate) counters: BTreeMap<String, u64>,
}

/// What `text` says, or why the kernel could not have printed it.
pub(crate) fn facts(name: &str, text: &[u8]) -> Result<Facts, String> {
    let mut facts = Facts::default();
    match name.trim_start_matches("proc/") {
        "meminfo" => {
            all_lines(text, 0, meminfo::parse(text).count())?;
            let totals = meminfo::Totals::parse(text);
            let (free, available) = (totals.mem_free, totals.mem_available);
            ensure(free <= available && available <= totals.mem_total, "free, available, total")?;
            ensure(totals.swap_free <= totals.swap_total, "swap free, total")?;
            facts.total = Some(totals.mem_total);
        }
        "cpuinfo" => {
            facts.cpus = Some(cpuinfo::stanzas(text).filter_map(|stanza| stanza.cpu).collect());
        }
        "stat" => read_stat(text, &mut facts)?,
        "schedstat" => read_schedstat(text, &mut facts)?,
        "uptime" => {
            let uptime = uptime::Uptime::parse(text).ok_or("no uptime")?;
            facts.counters.insert("up".to_owned(), uptime.up);
            facts.counters.insert("idle".to_owned(), uptime.idle);
        }
        "loadavg" => ensure(loadavg::Loadavg::parse(text).is_some(), "no load")?,
        "swaps" => {
            ensure(text.starts_with(b"Filename"), "no header")?;
            all_lines(text, 1, lines(text).skip(1).filter(|row| is_swap(row)).count())?;
        }
        "slabinfo" => ensure(text.starts_with(b"slabinfo - version"), "no header")?,
        "diskstats" => all_lines(text, 0, diskstats::parse(text).count())?,
        "partitions" => {
            ensure(text.is_empty() || text.starts_with(partitions::HEADER), "no header")?;
            all_lines(text, if text.is_empty() { 0 } else { 2 }, partitions::parse(text).count())?;
        }
        "vmstat" => all_lines(text, 0, vmstat::parse(text).count())?,
        "zoneinfo" => ensure(!zoneinfo::parse(text).is_empty(), "no zone")?,
        "interrupts" => facts.cpus = Some(columns(text)?),
        "softirqs" => {
            all_lines(text, 1, per_cpu::softirqs(text).count())?;
            facts.cpus = Some(columns(text)?);
        }
        name if name.starts_with("pressure/") => {
            let lines: Vec<_> = lines(text).collect();
            ensure(!lines.is_empty() && lines.iter().all(|line| is_pressure(line)), "no pressure")?;
        }
        name if name.ends_with("/online") || name.ends_with("/present") => {
            let list = CpuSet::parse_list(text).map_err(|error| error.to_string())?;
            facts.cpus = name.contains("/cpu/").then_some(list);
        }
        name if name.ends_with("/meminfo") => {
            all_lines(text, 0, node_meminfo::parse(text).count())?;
            let node = node_meminfo::Totals::parse(text);
            ensure(node.mem_free <= node.mem_total, "free, total")?;
        }
        _ => return Err("nobody knows its form".to_owned()),
    }
    Ok(facts)
}

fn ensure(good: bool, what: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(format!("wrong: {what}")) }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

/// The lines after the first `skipped` must all have been understood, and the last be whole.
fn all_lines(text: &[u8], skipped: usize, understood: usize) -> Result<(), String> {
    ensure(text.is_empty() || text.ends_with(b"\n"), "cut off")?;
    ensure(lines(text).count() == skipped + understood, "a line of another form")
}

/// A row for each CPU, whose columns may only grow, and so for all of them together.
fn read_stat(text: &[u8], facts: &mut Facts) -> Result<(), String> {
    let mut cpus = CpuSet::default();
    for line in String::from_utf8_lossy(text).lines() {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let name = words.next().ok_or("an empty line")?;
        let numbers: Result<Vec<u64>, _> = words.map(str::parse).collect();
        let numbers = numbers.map_err(|error| format!("{line}: {error}"))?;
        ensure(!numbers.is_empty(), line)?;
        if name.starts_with("cpu") || name == "processes" {
            let named = numbers.iter().enumerate();
            facts
                .counters
                .extend(named.map(|(column, &value)| (format!("{name} {column}"), value)));
        }
    }
    for (line, _) in stat::parse(text) {
        if let stat::Line::Cpu(cpu) = line {
            cpus.insert(cpu);
        }
    }
    ensure(facts.counters.contains_key("cpu 0"), "no first line")?;
    facts.cpus = Some(cpus);
    Ok(())
}

/// Of each CPU the seventh number counts, in nanoseconds.
fn read_schedstat(text: &[u8], facts: &mut Facts) -> Result<(), String> {
    let mut cpus = CpuSet::default();
    for line in String::from_utf8_lossy(text).lines().filter(|line| line.starts_with("cpu")) {
        let words: Vec<_> = line.split(' ').collect();
        let busy = words.get(7).and_then(|word| word.parse().ok()).ok_or("no seventh number")?;
        facts.counters.insert(words[0].to_owned(), busy);
        cpus.insert(words[0]["cpu".len()..].parse().map_err(|_| "no number of a CPU")?);
    }
    facts.cpus = Some(cpus);
    Ok(())
}

/// The CPUs that a table's header names.
fn columns(text: &[u8]) -> Result<CpuSet, String> {
    let header = lines(text).next().ok_or("no header")?;
    let header = String::from_utf8_lossy(header).into_owned();
    let number = |name: &str| name.strip_prefix("CPU").and_then(|number| number.parse().ok());
    let cpus: Option<CpuSet> = header.split_whitespace().map(number).collect();
    cpus.ok_or_else(|| format!("a header like {header:?}"))
}

/// Name and type, and three numbers.
fn is_swap(row: &[u8]) -> bool {
    let row = String::from_utf8_lossy(row);
    let words: Vec<_> = row.split_whitespace().collect();
    words.len() == 5 && words.iter().skip(2).all(|word| word.parse::<i64>().is_ok())
}

fn is_pressure(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let words: Vec<_> = line.trim_end().split(' ').collect();
    let [kind, values @ ..] = &words[..] else { return false };
    let keys = ["avg10=", "avg60=", "avg300=", "total="];
    let is = |(word, key): (&&str, &str)| {
        word.strip_prefix(key).is_some_and(|number| number.parse::<f64>().is_ok())
    };
    ["some", "full"].contains(kind) && values.len() == 4 && values.iter().zip(keys).all(is)
}
