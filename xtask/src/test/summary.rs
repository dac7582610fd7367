//! The table at the end, and the one line that says it all.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::tally::Tally;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// All is well.
    Passed,
    /// Something is wrong: this.
    Failed(String),
    /// It could not run here: why.
    Skipped(String),
}

/// One line of the table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The step's name.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// What its tests did.
    pub(crate) tally: Tally,
    /// How long it took.
    pub(crate) seconds: f64,
    /// How busy all CPUs were meanwhile, 0 to 1, whoever kept them so.
    pub(crate) busy: f64,
}

impl Report {
    /// Whether nothing went wrong.
    pub(crate) fn is_good(&self) -> bool {
        !matches!(self.verdict, Verdict::Failed(_)) && self.tally.failed == 0
    }

    /// A step that failed without a test to blame, or that was skipped whole, counts as one test.
    fn counts(&self) -> (u64, u64, u64) {
        let Tally { passed, failed, skipped, .. } = self.tally;
        match self.verdict {
            Verdict::Passed => (passed, failed, skipped),
            Verdict::Failed(_) => (passed, failed.max(1), skipped),
            Verdict::Skipped(_) => (passed, failed, skipped.max(1)),
        }
    }
}

/// The summary of all steps, which took `seconds`; its last line is `N passed, N failed, N skipped`.
pub(crate) fn text(reports: &[Report], seconds: f64) -> String {
    let mut text = "\nstep        result     passed   failed  skipped  seconds  busy\n".to_owned();
    let mut sum = (0, 0, 0);
    for report in reports {
        let (passed, failed, skipped) = report.counts();
        let verdict = match (&report.verdict, report.is_good()) {
            (Verdict::Skipped(_), _) => "skipped",
            (_, true) => "passed",
            (_, false) => "FAILED",
        };
        let _ = writeln!(
            text,
            "{:<11} {verdict:<8} {passed:>8} {failed:>8} {skipped:>8} {:>8.1} {:>4.0}%",
            report.name,
            report.seconds,
            report.busy * 100.0
        );
        sum = (sum.0 + passed, sum.1 + failed, sum.2 + skipped);
    }
    let _ = writeln!(text, "all{:>52.1}\n", seconds);
    for report in reports {
        for line in reasons(report) {
            let _ = writeln!(text, "{line}");
        }
    }
    let _ = writeln!(text, "{} passed, {} failed, {} skipped", sum.0, sum.1, sum.2);
    text
}

fn reasons(report: &Report) -> Vec<String> {
    let name = &report.name;
    let mut lines = Vec::new();
    match &report.verdict {
        Verdict::Passed => {}
        Verdict::Failed(reason) => lines.push(format!("FAILED {name}: {reason}")),
        Verdict::Skipped(reason) => lines.push(format!("SKIPPED {name}: {reason}")),
    }
    lines.extend(report.tally.failures.iter().map(|test| format!("FAILED {name}: {test}")));
    let skips = report.tally.skips.iter().filter_map(|line| line.strip_prefix("SKIPPED "));
    lines.extend(skips.map(|skip| format!("SKIPPED {name}: {skip}")));
    lines.extend(report.tally.figures.iter().cloned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict, tally: Tally) -> Report {
        Report { name: "test".to_owned(), verdict, tally, seconds: 1.0, busy: 0.5 }
    }

    #[test]
    fn the_last_line_counts_what_no_test_counted() {
        let passed = report(Verdict::Passed, Tally { passed: 3, ..Tally::default() });
        let broken = report(Verdict::Failed("does not compile".to_owned()), Tally::default());
        let skipped = report(Verdict::Skipped("not root".to_owned()), Tally::default());
        assert!(passed.is_good() && skipped.is_good() && !broken.is_good());
        let text = text(&[passed, broken, skipped], 3.5);
        assert!(text.ends_with("\n3 passed, 1 failed, 1 skipped\n"), "{text}");
        assert!(text.contains("\nSKIPPED test: not root\n"), "{text}");
    }
}
