//! `resview run` without a command: one table of what the host shows, what the container shows, and
//! the cgroup file that decided it. Both columns are read by the same code from the same paths, the
//! one outside and the other inside, so the table cannot say anything else than the files do.

mod deciding;
mod seen;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use cgroup::Explained;
use serde::Serialize;

use self::deciding::deciding;
pub(crate) use self::seen::{Seen, hundredths};
use super::cgroups::Cgroups;
use crate::exit_codes::{self, Code};
use crate::output;
use crate::view_options::CpuCount;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    quantity: &'static str,
    host: String,
    container: String,
    decided_by: String,
}

/// The process inside: prints what it sees for the one outside.
pub(super) fn print_own() -> anyhow::Result<Code> {
    super::signals::release_all()?;
    let text = serde_json::to_string(&Seen::now()).context("cannot encode the report")?;
    output::line(text);
    Ok(exit_codes::OK)
}

/// Prints the table; `text` is what [`print_own`] printed.
pub(super) fn print_table(
    host: &Seen,
    text: &str,
    cgroups: &Cgroups,
    policy: Option<CpuCount>,
) -> anyhow::Result<()> {
    let container: Seen =
        serde_json::from_str(text).context("the container's report cannot be understood")?;
    let file_of = |controller: &str, v1: &str, v2: &str| cgroups.file(controller, v1, v2);
    let rows = rows(host, &container, &cgroups.explain()?, &file_of, policy);
    // `resview run | head -1` is no failure.
    match std::io::stdout().write_all(table(&rows).as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print the table"),
    }
}

/// A controller's file of the container's cgroup: by the controller's name on v1, and the file's
/// names on v1 and v2. `None`: there is none.
pub(crate) type FileOf<'a> = &'a dyn Fn(&str, &str, &str) -> Option<PathBuf>;

/// The rows of the table. `policy` is `None` where it is not known.
pub(crate) fn rows(
    host: &Seen,
    container: &Seen,
    limits: &Explained,
    file_of: FileOf<'_>,
    policy: Option<CpuCount>,
) -> Vec<Row> {
    deciding(host, container, limits, file_of, policy)
}

/// Columns as wide as their widest cell, two blanks between them.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["QUANTITY", "HOST", "CONTAINER", "DECIDED BY"];
    let cells = |row: &'_ Row| {
        [row.quantity.to_owned(), row.host.clone(), row.container.clone(), row.decided_by.clone()]
    };
    let lines: Vec<[String; 4]> =
        std::iter::once(head.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; 4];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for line in &lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
        out.push_str(padded.collect::<String>().trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |quantity, host: &str, decided_by: &str| Row {
            quantity,
            host: host.to_owned(),
            container: "1".to_owned(),
            decided_by: decided_by.to_owned(),
        };
        let rows = [row("memory", "24106 MiB", "/a"), row("CPUs", "2", "")];
        assert_eq!(
            table(&rows),
            "QUANTITY  HOST       CONTAINER  DECIDED BY\n\
             memory    24106 MiB  1          /a\n\
             CPUs      2          1\n"
        );
    }
}
