//! The results: as tables, as JSON, as a plot.

mod svg;
mod table;
mod targets;

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::trees::Kind;

/// What was measured of each file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Read without a pause: what 50 or 99 of 100 reads do not exceed, in microseconds.
    Steady(u32),
    /// The same after a pause, in which whatever was remembered has become too old.
    Anew(u32),
    /// Reads per second, of so many clients together.
    Rate(u32),
    /// CPU time of the server per read, in microseconds, with so many clients.
    Cpu(u32),
}

/// One measure of all files, in all trees.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) measure: Measure,
    /// A file, and the value in each tree that has it.
    pub(crate) rows: Vec<(String, Vec<Option<f64>>)>,
}

/// Everything that a run has measured.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// The columns.
    pub(crate) trees: Vec<Kind>,
    pub(crate) tables: Vec<Table>,
}

impl Comparison {
    /// Adds a file to the table of a measure, unless no tree has a value.
    pub(crate) fn add(&mut self, measure: Measure, file: &str, values: Vec<Option<f64>>) {
        let table = self.tables.iter_mut().find(|table| table.measure == measure);
        if let Some(table) = table.filter(|_| values.iter().any(Option::is_some)) {
            table.rows.push((file.to_owned(), values));
        }
    }

    /// The one tree of others that all are compared with: the first, as it was named first.
    fn other(&self) -> Option<&Kind> {
        self.trees.iter().find(|kind| matches!(kind, Kind::Other(_)))
    }

    fn column(&self, kind: &Kind) -> Option<usize> {
        self.trees.iter().position(|tree| tree == kind)
    }

    /// A value by that of another tree, as both stand in a row.
    fn ratio(&self, row: &[Option<f64>], of: &Kind, to: &Kind) -> Option<f64> {
        let value = |kind: &Kind| self.column(kind).and_then(|column| row.get(column).copied()?);
        let to = value(to)?;
        value(of).filter(|_| to > 0.0).map(|of| of / to)
    }

    fn table(&self, measure: Measure) -> Option<&Table> {
        self.tables.iter().find(|table| table.measure == measure)
    }

    /// Writes `compare.json`, `compare.md` and `compare.svg`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let files = [
            ("compare.json", serde_json::to_string_pretty(&self.json())?),
            ("compare.md", self.markdown()),
            ("compare.svg", svg::plot(self)),
        ];
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("{}", path.display());
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let tables: Vec<Value> = self.tables.iter().map(|table| self.table_json(table)).collect();
        let trees: Vec<_> = self.trees.iter().map(Kind::title).collect();
        let targets = targets::of(self);
        json!({ "trees": trees, "tables": tables, "targets": targets })
    }

    fn table_json(&self, table: &Table) -> Value {
        let cell = |row: &[Option<f64>], kind: &Kind, value: Option<f64>| {
            let by_other = self.other().and_then(|other| self.ratio(row, kind, other));
            json!({
                "tree": kind.title(),
                "value": value,
                "by_kernel": self.ratio(row, kind, &Kind::Kernel),
                "by_other": by_other,
            })
        };
        let rows = table.rows.iter().map(|(file, row)| {
            let cells = self.trees.iter().zip(row).filter(|(_, value)| value.is_some());
            let cells: Vec<_> = cells.map(|(kind, value)| cell(row, kind, *value)).collect();
            json!({ "file": file, "cells": cells })
        });
        let (title, unit) = table::title(table.measure);
        json!({
            "measure": table.measure,
            "title": title,
            "unit": unit,
            "rows": rows.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four files: one that all have, one that LXCFS lacks, one that is slow, one that is cheap.
    pub(super) fn example() -> Comparison {
        let other = Kind::Other("LXCFS 5.0.3".to_owned());
        let trees = vec![Kind::Kernel, Kind::Alone, Kind::Container, Kind::Shared, other];
        let row = |file: &str, values: [f64; 5]| {
            (file.to_owned(), values.map(|value| (value > 0.0).then_some(value)).to_vec())
        };
        let times = vec![
            row("meminfo", [9.0, 36.0, 4.5, 45.0, 225.0]),
            row("vmstat", [10.0, 36.0, 5.0, 48.0, 0.0]),
            row("stat", [10.0, 36.0, 7.0, 70.0, 200.0]),
            row("uptime", [5.0, 36.0, 5.0, 44.0, 200.0]),
        ];
        let table = |measure, rows: &Vec<_>| Table { measure, rows: rows.clone() };
        let rates = vec![row("meminfo", [100_000.0, 50_000.0, 200_000.0, 40_000.0, 5000.0])];
        let cpu = vec![row("meminfo", [0.0, 0.0, 1.0, 20.0, 100.0])];
        Comparison {
            trees,
            tables: vec![
                table(Measure::Steady(50), &times),
                table(Measure::Anew(50), &times),
                table(Measure::Rate(2), &rates),
                table(Measure::Cpu(1), &cpu),
            ],
        }
    }

    #[test]
    fn every_cell_has_both_ratios() {
        let json = example().json();
        let cell = &json["tables"][0]["rows"][0]["cells"][3];
        let (value, by_kernel) = (cell["value"].as_f64(), cell["by_kernel"].as_f64());
        assert_eq!((cell["tree"].as_str(), value), (Some("shared tree"), Some(45.0)));
        assert_eq!((by_kernel, cell["by_other"].as_f64()), (Some(5.0), Some(0.2)));
        // LXCFS has no vmstat.
        let row = &json["tables"][0]["rows"][1]["cells"];
        assert_eq!(row.as_array().unwrap().len(), 4);
        assert!(row[3]["by_other"].is_null() && row[3]["by_kernel"].is_number());
    }

    #[test]
    fn results_are_three_files() {
        let dir = tempfile::tempdir().unwrap();
        example().write(&dir.path().join("new")).unwrap();
        for name in ["compare.json", "compare.md", "compare.svg"] {
            assert!(dir.path().join("new").join(name).is_file(), "{name}");
        }
    }
}
