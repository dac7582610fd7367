//! Taking the kernel's text apart, with errors that say what is wrong with it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use procfmt::cpulist::CpuSet;

/// The value of a line `key: value kB`.
pub(crate) fn meminfo(text: &str, key: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let line = line.with_context(|| format!("no line {key} in meminfo"))?;
    let value = line.split_whitespace().next().unwrap_or_default();
    value.parse().with_context(|| format!("{key} is {value:?}"))
}

/// The rows of `/proc/stat` whose first word starts with `cpu`, by that word.
pub(crate) fn cpu_rows(stat: &str) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut rows = BTreeMap::new();
    for line in stat.lines().filter(|line| line.starts_with("cpu")) {
        let (name, numbers) = line.split_once(' ').context("a row without numbers in stat")?;
        rows.insert(name.to_owned(), numbers_of(numbers)?);
    }
    Ok(rows)
}

/// Ticks of user, nice and system time of the first row of `/proc/stat`.
pub(crate) fn busy(stat: &str) -> Result<u64> {
    let rows = cpu_rows(stat)?;
    let total = rows.get("cpu").context("no line cpu in stat")?;
    Ok(total.iter().take(3).sum())
}

/// The first number of the line of `/proc/stat` that starts with `key`.
pub(crate) fn stat_line(stat: &str, key: &str) -> Option<u64> {
    let mut words = stat.lines().find(|line| line.split(' ').next() == Some(key))?.split(' ');
    words.nth(1)?.parse().ok()
}

/// All numbers of a line.
pub(crate) fn numbers_of(line: &str) -> Result<Vec<u64>> {
    line.split_whitespace()
        .map(|word| word.parse().with_context(|| format!("{word:?} is no number")))
        .collect()
}

/// The n-th number, with a fraction, of a line.
pub(crate) fn decimal(text: &str, n: usize) -> Result<f64> {
    let word = text.split_whitespace().nth(n).with_context(|| format!("{text:?} is too short"))?;
    word.parse().with_context(|| format!("{word:?} is no number"))
}

/// A list of CPUs such as `0-1,3`.
pub(crate) fn cpus(list: &str) -> Result<CpuSet> {
    CpuSet::parse_list(list.as_bytes()).with_context(|| format!("{list:?} is no list of CPUs"))
}

/// How often `cpuinfo` has a line `processor`.
pub(crate) fn processors(cpuinfo: &str) -> usize {
    let is_row = |line: &&str| line.split([':', ' ', '\t']).next() == Some("processor");
    cpuinfo.lines().filter(is_row).count()
}
