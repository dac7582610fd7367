//! No text makes a parser of `procfmt` panic, and what it took apart prints in bounded space.
//!
//! Run: `cargo +nightly fuzz run procfmt_parsers` in the repository's root.

#![no_main]

use libfuzzer_sys::fuzz_target;
use procfmt::cpulist::CpuSet;
use procfmt::{
    cpuinfo, diskstats, loadavg, meminfo, node_meminfo, partitions, per_cpu, pid_stat, pid_status,
    schedstat, stat, swaps, uptime, vmstat, zoneinfo,
};

/// A line that was read grows by no more than its columns' padding.
const PADDING: usize = 64;

fuzz_target!(|text: &[u8]| {
    lists(text);
    tables(text);
    let mut out = Vec::new();
    if let Some(uptime) = uptime::Uptime::parse(text) {
        uptime.write(&mut out);
    }
    if let Some(loadavg) = loadavg::Loadavg::parse(text) {
        loadavg.write(&mut out);
    }
    let _ = pid_stat::PidStat::parse(text);
    if let Some(status) = pid_status::PidStatus::parse(text) {
        let _ = status.is_namespace_init();
    }
    meminfo::parse(text).for_each(|line| line.write(&mut out));
    let _ = meminfo::Totals::parse(text);
    node_meminfo::parse(text).for_each(|line| line.write(&mut out));
    vmstat::parse(text).for_each(|line| line.write(&mut out));
    bounded(text, &out);
});

fn bounded(text: &[u8], out: &[u8]) {
    let lines = text.split(|byte| *byte == b'\n').count();
    let most = 8 * (text.len() + lines * PADDING);
    assert!(out.len() <= most, "{} bytes became {}", text.len(), out.len());
}

/// Lists and masks of CPUs read again as what was printed.
fn lists(text: &[u8]) {
    for set in [CpuSet::parse_list(text), CpuSet::parse_mask(text)].into_iter().flatten() {
        let (mut list, mut mask) = (Vec::new(), Vec::new());
        set.write_list(&mut list);
        assert_eq!(CpuSet::parse_list(&list).as_ref(), Ok(&set));
        set.write_mask(procfmt::cpulist::mask_width(text), &mut mask);
        assert_eq!(set.iter().count(), usize::try_from(set.len()).unwrap());
    }
}

fn tables(text: &[u8]) {
    let mut out = Vec::new();
    for stanza in cpuinfo::stanzas(text) {
        let _ = stanza.place();
        out.extend_from_slice(stanza.text);
    }
    assert!(out == text, "the stanzas are not the text");
    out.clear();
    for (line, words) in stat::parse(text) {
        let _ = (line, words);
    }
    let _ = (stat::busy_ticks(text).count(), stat::btime(text));
    diskstats::parse(text)
        .for_each(|row| row.write_with(&diskstats::Counters::default(), &mut out));
    partitions::parse(text).for_each(|row| row.write(&mut out));
    let _ = swaps::devices(text).count();
    let _ = schedstat::parse(text).count();
    for name in per_cpu::softirqs(text) {
        per_cpu::write_softirq(name, [0, u64::MAX].into_iter(), &mut out);
    }
    for zone in zoneinfo::parse(text) {
        let _ = zone.managed();
        zone.write_header(&mut out);
        zone.pages.iter().for_each(|stat| stat.write_with(u64::MAX, &mut out));
    }
    bounded(text, &out);
}
