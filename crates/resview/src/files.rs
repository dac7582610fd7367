//! `resview files`: the catalogue, for people and for programs.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;
use view::catalogue::{FilePolicy, Listed, listing};

use crate::cli::FilesOptions;
use crate::exit_codes;

/// Prints the catalogue.
pub(crate) fn main(options: &FilesOptions) -> ExitCode {
    let text = if options.json { json(&listing()) } else { Ok(table(&listing())) };
    let printed = text.map_err(anyhow::Error::from).and_then(|text| {
        use std::io::Write;
        match std::io::stdout().write_all(text.as_bytes()) {
            // Whoever reads this has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: cannot print the files: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

#[derive(Serialize)]
struct File {
    name: &'static str,
    policy: String,
    mode: String,
    in_lxcfs: bool,
    v2: &'static str,
    v1: &'static str,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    policy: String,
}

fn json(files: &[Listed]) -> serde_json::Result<String> {
    let line = |&(name, policy): &(&'static str, FilePolicy)| {
        let policy = policy.to_string();
        Line { name, policy }
    };
    let file = |file: &Listed| File {
        name: file.name,
        policy: file.policy.to_string(),
        mode: format!("{:04o}", file.mode),
        in_lxcfs: file.in_lxcfs,
        v2: file.v2,
        v1: file.v1,
        lines: file.lines.iter().map(line).collect(),
    };
    let files: Vec<_> = files.iter().map(file).collect();
    serde_json::to_string_pretty(&files).map(|text| text + "\n")
}

fn table(files: &[Listed]) -> String {
    let header = ["FILE", "POLICY", "MODE", "LXCFS 7", "CGROUP V2", "CGROUP V1"];
    let mut rows = vec![header.map(str::to_owned)];
    for file in files {
        let in_lxcfs = if file.in_lxcfs { "yes" } else { "no" };
        rows.push([
            file.name.to_owned(),
            file.policy.to_string(),
            format!("{:04o}", file.mode),
            in_lxcfs.to_owned(),
            file.v2.to_owned(),
            file.v1.to_owned(),
        ]);
    }
    let widths: Vec<_> = (0..header.len())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max())
        .collect();
    let mut text = String::new();
    // The first row is the header.
    let lines = std::iter::once(String::new()).chain(files.iter().map(differing_lines));
    for (row, lines) in rows.iter().zip(lines) {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}", width = width.unwrap_or(0)));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push_str(&lines);
    }
    text
}

/// Lines of a file that are served otherwise than the file, a row for each policy.
fn differing_lines(file: &Listed) -> String {
    let mut text = String::new();
    for policy in [FilePolicy::Virtual, FilePolicy::Host, FilePolicy::Absent] {
        let lines = file.lines.iter().filter(|(_, of_line)| *of_line == policy);
        let names: Vec<_> = lines.map(|(name, _)| *name).collect();
        if policy != file.policy && !names.is_empty() {
            let _ = writeln!(text, "  {policy}: {}", names.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_file_and_says_which_lines_differ() {
        let text = table(&listing());
        for file in listing() {
            let row = text.lines().find(|line| line.starts_with(&format!("{} ", file.name)));
            assert!(row.is_some_and(|row| row.contains("virtual")), "{}\n{text}", file.name);
        }
        assert!(text.contains("\n  absent: DirectMap*\n"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("slabinfo") && line.contains("0400")));
    }

    #[test]
    fn programs_get_every_line() {
        let text = json(&listing()).unwrap();
        let files: serde_json::Value = serde_json::from_str(&text).unwrap();
        let meminfo = files.as_array().unwrap().iter().find(|file| file["name"] == "meminfo");
        let lines = meminfo.unwrap()["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["name"] == "MemTotal").unwrap();
        assert_eq!(line["policy"], "virtual");
    }
}
