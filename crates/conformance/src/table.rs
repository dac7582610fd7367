//! The result as a table, one column per tree.

use std::fmt::Write as _;

use crate::Verdict;

/// What the checks found in one tree.
#[derive(Clone, Debug)]
pub struct Column {
    /// The tree.
    pub title: String,
    /// By the check's name.
    pub verdicts: Vec<(String, Verdict)>,
    /// Whether the reasons are worth telling: those of the kernel's own files are always the same,
    /// that they are the host's.
    pub explained: bool,
}

impl Column {
    /// The checks that failed, with their reasons.
    #[must_use]
    pub fn failures(&self) -> Vec<(&str, &str)> {
        let failed = self.verdicts.iter().filter_map(|(name, verdict)| match verdict {
            Verdict::Fail(reason) => Some((name.as_str(), reason.as_str())),
            Verdict::Pass | Verdict::NotApplicable(_) => None,
        });
        failed.collect()
    }

    fn count(&self, is: fn(&Verdict) -> bool) -> usize {
        self.verdicts.iter().filter(|(_, verdict)| is(verdict)).count()
    }
}

/// The longest reason of the first column, and of the others, in characters.
const LENGTHS: (usize, usize) = (400, 110);

/// A table in Markdown, then the reasons of all that is no pass: in full for the first column.
#[must_use]
pub fn markdown(columns: &[Column]) -> String {
    let mut text = "| check |".to_owned();
    let _ = write!(
        text,
        "{}\n|---|",
        columns.iter().map(|c| format!(" {} |", c.title)).collect::<String>()
    );
    let _ = writeln!(text, "{}", "---|".repeat(columns.len()));
    let names = columns.first().map(|column| column.verdicts.as_slice()).unwrap_or_default();
    for (name, _) in names {
        let cells = columns.iter().map(|column| match verdict(column, name) {
            Some(Verdict::Pass) => " pass |",
            Some(Verdict::Fail(_)) => " **fail** |",
            Some(Verdict::NotApplicable(_)) | None => " – |",
        });
        let _ = writeln!(text, "| {name} |{}", cells.collect::<String>());
    }
    let counts = columns.iter().map(|column| {
        let passed = column.count(|verdict| matches!(verdict, Verdict::Pass));
        let failed = column.count(|verdict| matches!(verdict, Verdict::Fail(_)));
        format!(" {passed} pass, {failed} fail |")
    });
    let _ = writeln!(text, "| **all** |{}", counts.collect::<String>());
    for (n, column) in columns.iter().enumerate().filter(|(_, column)| column.explained) {
        reasons(column, if n == 0 { LENGTHS.0 } else { LENGTHS.1 }, &mut text);
    }
    text
}

fn verdict<'a>(column: &'a Column, name: &str) -> Option<&'a Verdict> {
    column.verdicts.iter().find(|(other, _)| other == name).map(|(_, verdict)| verdict)
}

fn reasons(column: &Column, length: usize, text: &mut String) {
    let mut lines = String::new();
    for (name, verdict) in &column.verdicts {
        let (what, reason) = match verdict {
            Verdict::Pass => continue,
            Verdict::Fail(reason) => ("fail", reason),
            Verdict::NotApplicable(reason) => ("not applicable", reason),
        };
        let mut reason = reason.trim().replace('\n', "; ");
        if let Some((cut, _)) = reason.char_indices().nth(length) {
            reason.truncate(cut);
            reason.push('…');
        }
        let _ = writeln!(lines, "- {name}: {what}: {reason}");
    }
    if !lines.is_empty() {
        let _ = write!(text, "\n{}:\n\n{lines}", column.title);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_in_the_table_and_every_reason_below_it() {
        let column = |title: &str, verdict| Column {
            title: title.to_owned(),
            verdicts: vec![("memory".to_owned(), verdict)],
            explained: true,
        };
        let text = markdown(&[
            column("ours", Verdict::Pass),
            column("other", Verdict::Fail("too\nmuch".to_owned())),
            column("third", Verdict::NotApplicable("no such file".to_owned())),
        ]);
        assert!(text.contains("| check | ours | other | third |\n|---|---|---|---|\n"), "{text}");
        assert!(text.contains("| memory | pass | **fail** | – |"), "{text}");
        assert!(text.contains("| **all** | 1 pass, 0 fail | 0 pass, 1 fail |"), "{text}");
        assert!(text.contains("- memory: fail: too; much"), "{text}");
        assert!(text.contains("- memory: not applicable: no such file"), "{text}");
    }

    #[test]
    fn others_reasons_are_short_and_the_kernels_left_out() {
        let column = |title: &str, explained| Column {
            title: title.to_owned(),
            verdicts: vec![("disks".to_owned(), Verdict::Fail("é".repeat(300)))],
            explained,
        };
        let text = markdown(&[column("ours", true), column("other", true), column("bare", false)]);
        let lengths: Vec<usize> =
            text.lines().map(|line| line.matches('é').count()).filter(|count| *count > 0).collect();
        assert_eq!(lengths, [300, LENGTHS.1], "{text}");
    }
}
