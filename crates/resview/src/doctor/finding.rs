//! What a check has found.

use serde::Serialize;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// Something is weaker, or to be known; nothing has to be done.
    Note,
    /// Something does not work.
    Problem,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) outcome: Outcome,
    /// A sentence.
    pub(crate) found: String,
    /// What to do; none where nothing has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    pub(crate) fn ok(found: impl Into<String>) -> Self {
        Self { outcome: Outcome::Ok, found: found.into(), advice: None }
    }

    pub(crate) fn note(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { outcome: Outcome::Note, found: found.into(), advice: Some(advice.into()) }
    }

    pub(crate) fn problem(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { outcome: Outcome::Problem, found: found.into(), advice: Some(advice.into()) }
    }
}

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) check: &'static str,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// The worst of it.
    pub(crate) fn has_problem(&self) -> bool {
        self.findings.iter().any(|finding| finding.outcome == Outcome::Problem)
    }
}

/// One line for each finding, and one for what to do about it.
pub(crate) fn text(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        for Finding { outcome, found, advice } in &report.findings {
            let mark = match outcome {
                Outcome::Ok => "ok",
                Outcome::Note => "note",
                Outcome::Problem => "PROBLEM",
            };
            out.push_str(&format!("{mark:<8} {:<13} {found}\n", report.check));
            if let Some(advice) = advice {
                out.push_str(&format!("{:<23}-> {advice}\n", ""));
            }
        }
    }
    let problems = reports.iter().flat_map(|report| &report.findings);
    let problems = problems.filter(|finding| finding.outcome == Outcome::Problem).count();
    out.push_str(&match problems {
        0 => "no problem was found\n".to_owned(),
        1 => "1 problem was found\n".to_owned(),
        many => format!("{many} problems were found\n"),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_to_do() {
        let findings = vec![Finding::ok("fine"), Finding::problem("bad", "do this")];
        let report = Report { check: "fuse", findings };
        assert!(report.has_problem());
        let expected = "ok       fuse          fine\nPROBLEM  fuse          bad\n\
                        \x20                      -> do this\n1 problem was found\n";
        assert_eq!(text(&[report]), expected);
    }
}
