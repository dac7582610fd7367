//! `cargo xtask instructions`: how many instructions each hot path takes, against those that are stored.
//! Times say nothing on a machine that does other things; counts do.

mod count;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use table::{Change, Table};

use crate::repo;
pub(crate) use count::missing;

/// Options of `cargo xtask instructions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Store what was counted
    #[arg(long)]
    write: bool,
}

/// What has become of the hot paths since the counts were stored.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// How many are as they should be.
    pub(crate) good: u64,
    /// Those that are not, in words.
    pub(crate) bad: Vec<String>,
    /// What should be stored some day.
    pub(crate) notes: Vec<String>,
}

/// Counts, and compares or stores.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    if let Some(reason) = missing() {
        bail!("{reason}");
    }
    if args.write {
        let (before, counted) = (stored().unwrap_or_default(), count::run()?);
        let changes = table::changes(&before, &counted);
        for change in changes.iter().filter(|change| **change != Change::Same) {
            println!("{change}");
        }
        let path = path();
        std::fs::write(&path, counted.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("stored in {}", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if check()?.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts, compares with what is stored, and says what is to be said.
///
/// # Errors
/// When the paths cannot be compiled, run or counted, or nothing is stored.
pub(crate) fn check() -> Result<Found> {
    let (stored, counted) = (stored()?, count::run()?);
    let found = judge(&stored, &counted);
    for line in found.notes.iter().chain(&found.bad) {
        println!("{line}");
    }
    if !found.bad.is_empty() {
        println!(
            "If that is how it shall be, `cargo xtask instructions --write` stores it; say in the \
             commit why."
        );
    }
    Ok(found)
}

fn judge(stored: &Table, counted: &Table) -> Found {
    let mut found = Found::default();
    let same_compiler = stored.compiler == counted.compiler;
    if !same_compiler {
        found.notes.push(format!(
            "note: the stored counts are of {}, these of {}: only large differences count, until \
             `cargo xtask instructions --write` stores these",
            stored.compiler, counted.compiler
        ));
    }
    for change in table::changes(stored, counted) {
        match &change {
            Change::Same => found.good += 1,
            Change::Count { .. } if change.is_within(same_compiler) => found.good += 1,
            Change::Count { before, now, .. } if now < before => {
                found.good += 1;
                found.notes.push(format!("warning: {change}: please store it with --write"));
            }
            Change::Count { .. } | Change::New { .. } | Change::Gone { .. } => {
                found.bad.push(change.to_string());
            }
        }
    }
    found
}

fn path() -> PathBuf {
    repo::root().join("crates/hotpaths/instructions.txt")
}

fn stored() -> Result<Table> {
    let path = path();
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}; `cargo xtask instructions --write` makes it", path.display())
    })?;
    text.parse().with_context(|| format!("{} is not what --write makes", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(compiler: &str, counts: &[(&str, u64)]) -> Table {
        let counts = counts.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
        Table { compiler: compiler.to_owned(), counts }
    }

    #[test]
    fn a_path_that_takes_more_is_found() {
        let before = table("rustc 1", &[("stat", 1000), ("tiny", 50), ("gone", 1)]);
        let now = table("rustc 1", &[("stat", 1031), ("tiny", 66), ("new", 1)]);
        let found = judge(&before, &now);
        assert_eq!(found.good, 1, "a handful of instructions is nothing: {found:?}");
        assert_eq!(found.bad.len(), 3, "{found:?}");
        assert!(found.bad.iter().any(|line| line.contains("3.1 % more")), "{found:?}");
        assert!(found.notes.is_empty());
    }

    #[test]
    fn a_path_that_takes_less_is_to_be_stored() {
        let found =
            judge(&table("rustc 1", &[("stat", 1000)]), &table("rustc 1", &[("stat", 900)]));
        assert!(found.bad.is_empty() && found.notes[0].contains("10.0 % less"), "{found:?}");
        let found =
            judge(&table("rustc 1", &[("stat", 1000)]), &table("rustc 1", &[("stat", 980)]));
        assert!(found.notes.is_empty() && found.good == 1, "{found:?}");
    }

    #[test]
    fn another_compiler_is_given_more_room_and_not_all() {
        let before = table("rustc 1", &[("stat", 1000), ("vmstat", 1000)]);
        let found = judge(&before, &table("rustc 2", &[("stat", 1100), ("vmstat", 1200)]));
        assert!(found.notes[0].contains("rustc 2"), "{found:?}");
        assert_eq!(found.bad.len(), 1, "{found:?}");
        assert!(found.bad[0].contains("vmstat"), "{found:?}");
    }

    #[test]
    fn what_is_stored_can_be_read() {
        let stored = stored().unwrap();
        assert!(stored.counts.len() > 40, "{stored:?}");
        assert_eq!(stored.to_string().parse::<Table>().unwrap(), stored);
    }
}
