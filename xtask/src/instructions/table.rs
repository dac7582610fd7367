//! The stored counts: a line of text for each path, so that a change of one is a change of one line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result};

/// By how many instructions of a thousand a count may differ.
const TOLERANCE: u64 = 30;
/// The same where another compiler has made the program.
const TOLERANCE_OF_COMPILERS: u64 = 150;
/// By how many it may in any case: paths of some dozens would never be still otherwise.
const SLACK: u64 = 16;

/// The counts of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Which compiler and for what, as `rustc 1.95.0 x86_64`.
    pub(super) compiler: String,
    /// Instructions by path.
    pub(super) counts: BTreeMap<String, u64>,
}

const INTRODUCTION: &str = "# How many instructions each hot path takes, as counted by `cargo xtask \
                            instructions --write`.\n# A change of more than 3 % fails the test.\n";
const COMPILER: &str = "# With ";

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{INTRODUCTION}{COMPILER}{}", self.compiler)?;
        for (path, count) in &self.counts {
            writeln!(f, "{count:>9} {path}")?;
        }
        Ok(())
    }
}

impl FromStr for Table {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let compiler = text.lines().find_map(|line| line.strip_prefix(COMPILER));
        let compiler = compiler.context("no line says which compiler it was")?.to_owned();
        let rows = text.lines().filter(|line| !line.starts_with('#'));
        let row = |line: &str| {
            let (count, path) = line.trim_start().split_once(' ')?;
            Some((path.to_owned(), count.parse().ok()?))
        };
        let row = |line| row(line).with_context(|| format!("no count and path: {line:?}"));
        Ok(Self { compiler, counts: rows.map(row).collect::<Result<_>>()? })
    }
}

/// What has become of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    Same,
    /// Another count.
    Count { path: String, before: u64, now: u64 },
    /// It is not stored.
    New { path: String, now: u64 },
    /// It is stored, and not counted any more.
    Gone { path: String },
}

/// One for each path.
pub(super) fn changes(stored: &Table, counted: &Table) -> Vec<Change> {
    let paths: BTreeSet<&String> = stored.counts.keys().chain(counted.counts.keys()).collect();
    let change = |path: &String| {
        let path = path.clone();
        match (stored.counts.get(&path).copied(), counted.counts.get(&path).copied()) {
            (Some(before), Some(now)) if before == now => Change::Same,
            (Some(before), Some(now)) => Change::Count { path, before, now },
            (None, Some(now)) => Change::New { path, now },
            (_, None) => Change::Gone { path },
        }
    };
    paths.into_iter().map(change).collect()
}

impl Change {
    /// Whether it is so little that it may have no cause in our own code.
    pub(super) fn is_within(&self, same_compiler: bool) -> bool {
        let Self::Count { before, now, .. } = self else { return *self == Self::Same };
        let permille = if same_compiler { TOLERANCE } else { TOLERANCE_OF_COMPILERS };
        before.abs_diff(*now) <= (before.saturating_mul(permille) / 1000).max(SLACK)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => write!(f, "the same"),
            Self::Count { path, before, now } => {
                let word = if now > before { "more" } else { "less" };
                let tenths = before.abs_diff(*now).saturating_mul(1000) / (*before).max(1);
                let (percent, tenth) = (tenths / 10, tenths % 10);
                write!(
                    f,
                    "{path}: {now} instructions, {before} are stored: {percent}.{tenth} % {word}"
                )
            }
            Self::New { path, now } => write!(f, "{path}: {now} instructions, none are stored"),
            Self::Gone { path } => write!(f, "{path}: stored, and not counted any more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_count_is_no_table() {
        for text in ["", "1 stat\n", "# With rustc 1\nstat\n", "# With rustc 1\nmany stat\n"] {
            assert!(text.parse::<Table>().is_err(), "{text:?}");
        }
        let table: Table = "# With rustc 1\n     12 view/stat/2-cpus\n".parse().unwrap();
        assert_eq!(table.counts["view/stat/2-cpus"], 12);
    }
}
