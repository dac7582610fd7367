//! The tables, in Markdown that a terminal shows well too.

use std::fmt::Write as _;

use super::{Comparison, Measure, Table, targets};
use crate::trees::Kind;

/// Heading and unit of a measure.
pub(super) fn title(measure: Measure) -> (String, &'static str) {
    match measure {
        Measure::Steady(percent) => (format!("Read without a pause, p{percent}"), "µs"),
        Measure::Anew(percent) => (format!("Read after a pause, p{percent}"), "µs"),
        Measure::Rate(1) => ("Reads per second, one client".to_owned(), "1/s"),
        Measure::Rate(clients) => (format!("Reads per second, {clients} clients"), "1/s"),
        Measure::Cpu(1) => ("CPU time of the server per read, one client".to_owned(), "µs"),
        Measure::Cpu(clients) => {
            (format!("CPU time of the server per read, {clients} clients"), "µs")
        }
    }
}

impl Comparison {
    /// All tables, with a heading each, and the targets.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let _ = writeln!(text, "### {}\n", self.heading(table));
            text.push_str(&aligned(&self.rows(table)));
            text.push('\n');
        }
        text.push_str("### Targets\n\n");
        text.push_str(&aligned(&targets::rows(&targets::of(self))));
        text
    }

    fn heading(&self, table: &Table) -> String {
        let (title, unit) = title(table.measure);
        let mut heading = format!("{title} ({unit}");
        if !matches!(table.measure, Measure::Cpu(_)) {
            heading.push_str(", × the kernel's");
        }
        if let Some(other) = self.other() {
            let _ = write!(heading, ", × that of {}", other.title());
        }
        heading + ")"
    }

    fn rows(&self, table: &Table) -> Vec<Vec<String>> {
        // The kernel and a tree that somebody else serves cost no server of ours anything.
        let has_values = |column: usize| {
            table.rows.iter().any(|(_, row)| row.get(column).copied().flatten().is_some())
        };
        let columns: Vec<_> =
            self.trees.iter().enumerate().filter(|(column, _)| has_values(*column)).collect();
        let titles = columns.iter().map(|(_, kind)| kind.title().to_owned());
        let mut rows = vec![["file".to_owned()].into_iter().chain(titles).collect()];
        for (file, row) in &table.rows {
            let cells = columns.iter().map(|(column, kind)| match row.get(*column) {
                Some(Some(value)) => self.cell(table.measure, row, kind, *value),
                _ => "–".to_owned(),
            });
            rows.push([file.clone()].into_iter().chain(cells).collect());
        }
        rows
    }

    /// A value and its ratios, as far as they say something.
    fn cell(&self, measure: Measure, row: &[Option<f64>], kind: &Kind, value: f64) -> String {
        let mut cell = match measure {
            Measure::Rate(_) => format!("{value:.0}"),
            _ => format!("{value:.1}"),
        };
        let others = [Some(&Kind::Kernel), self.other()].into_iter().flatten();
        for to in others.filter(|to| *to != kind) {
            if let Some(ratio) = self.ratio(row, kind, to) {
                let _ = write!(cell, " ×{}", short(ratio));
            }
        }
        cell
    }
}

/// A ratio with as many digits as mean something.
pub(super) fn short(ratio: f64) -> String {
    let digits = match ratio {
        ..0.01 => 4,
        ..1.0 => 3,
        ..10.0 => 2,
        _ => 1,
    };
    format!("{ratio:.digits$}")
}

/// A table whose columns are as wide as what is in them.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map(Vec::len).unwrap_or_default();
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column).map(|cell| cell.chars().count()));
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            let lines = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2)));
            let _ = writeln!(text, "{}|", lines.collect::<String>());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn a_cell_is_the_value_and_what_it_is_of_the_kernels_and_the_others() {
        let text = example().markdown();
        let line = text.lines().find(|line| line.starts_with("| meminfo")).unwrap();
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let expected = [
            "9.0 ×0.040",
            "36.0 ×4.00 ×0.160",
            "4.5 ×0.500 ×0.020",
            "45.0 ×5.00 ×0.200",
            "225.0 ×25.0",
        ];
        assert_eq!(cells[2..7], expected, "{line}");
        assert!(
            text.contains(
                "### Read without a pause, p50 (µs, × the kernel's, × that of LXCFS 5.0.3)"
            )
        );
    }

    #[test]
    fn a_file_that_a_tree_lacks_is_a_dash() {
        let text = example().markdown();
        let line = text.lines().find(|line| line.starts_with("| vmstat")).unwrap();
        assert!(line.trim_end_matches('|').trim().ends_with('–'), "{line}");
    }

    #[test]
    fn the_kernel_has_no_column_where_servers_are_compared() {
        let comparison = example();
        let rows = comparison.rows(comparison.table(Measure::Cpu(1)).unwrap());
        assert_eq!(rows[0], ["file", "container tree", "shared tree", "LXCFS 5.0.3"]);
        assert_eq!(rows[1], ["meminfo", "1.0 ×0.010", "20.0 ×0.200", "100.0"]);
    }

    #[test]
    fn all_lines_of_a_table_are_equally_wide() {
        let rows = [["file", "µs"], ["a", "1 000"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "| file | µs    |\n|------|-------|\n| a    | 1 000 |\n");
    }
}
