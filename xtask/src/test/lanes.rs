//! What runs at the same time. Most steps wait more than they compute, and most of what computes is a
//! compiler, for which nobody has to wait. The tests of this machine run with nothing but a compiler
//! of low priority beside them.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tempfile::NamedTempFile;

use super::steps::Step;
use super::summary::{Report, Verdict};
use super::{one_after_another, tally};
use crate::program;

/// With whom a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Before all others.
    First,
    /// One after the other, in sight.
    Main,
    /// What has this machine's containers, beside the virtual machines.
    Engines,
    /// Compilers, beside everything.
    Quiet,
}

/// How much the quiet lane leaves to the others, as nice(1) has it: nine tenths.
const NICE: &str = "10";

/// Runs all steps; the reports are in the order of the steps.
///
/// # Errors
/// When this program cannot be started beside itself.
pub(super) fn run(steps: &[Step]) -> Result<Vec<Report>> {
    let of = |lane| steps.iter().copied().filter(|step| step.lane() == lane).collect::<Vec<_>>();
    let (main, engines, quiet) = (of(Lane::Main), of(Lane::Engines), of(Lane::Quiet));
    let lanes = [&main, &engines, &quiet];
    if lanes.iter().filter(|lane| !lane.is_empty()).count() < 2 {
        return one_after_another(steps, &mut |_| Ok(()));
    }
    let mut reports = one_after_another(&of(Lane::First), &mut |_| Ok(()))?;
    let quiet = Beside::start(&quiet, &["nice", "-n", NICE])?;
    let virtual_from = main.iter().position(|step| step.is_virtual()).unwrap_or(main.len());
    let (here, emulated) = main.split_at(virtual_from);
    reports.extend(one_after_another(here, &mut |_| Ok(()))?);
    let engines = Beside::start(&engines, &[])?;
    reports.extend(one_after_another(emulated, &mut |_| Ok(()))?);
    for beside in [engines, quiet].into_iter().flatten() {
        reports.extend(beside.finish()?);
    }
    let place =
        |report: &Report| Step::value_variants().iter().position(|step| step.name() == report.name);
    reports.sort_by_key(place);
    Ok(reports)
}

/// This program once more, with some of the steps; what it prints is shown when it has ended.
struct Beside {
    steps: Vec<Step>,
    child: Child,
    output: NamedTempFile,
    reports: NamedTempFile,
    begin: Instant,
}

impl Beside {
    fn start(steps: &[Step], by: &[&str]) -> Result<Option<Self>> {
        if steps.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = steps.iter().map(|step| step.name()).collect();
        println!("\n=== beside what follows: {}", names.join(", "));
        let temporary = || NamedTempFile::new().context("cannot make a temporary file");
        let (output, reports) = (temporary()?, temporary()?);
        // Also when cargo has built another in its place meanwhile.
        let this = format!("/proc/{}/exe", std::process::id());
        // Should this program be killed, that one goes with it.
        let mut words = by.iter().chain(&["setpriv", "--pdeathsig", "KILL"]);
        let mut command = Command::new(words.next().copied().unwrap_or_default());
        command.args(words).arg(this).args(["test", "--only", &names.join(",")]);
        command.arg("--reports").arg(reports.path()).env(program::RUN, program::run());
        let file = |output: &NamedTempFile| output.reopen().context("cannot open a temporary file");
        command.stdin(Stdio::null()).stdout(file(&output)?).stderr(file(&output)?);
        let child = command.spawn().context("cannot start this program once more")?;
        Ok(Some(Self { steps: steps.to_vec(), child, output, reports, begin: Instant::now() }))
    }

    /// Waits for its end; a step that it did not come to has failed.
    fn finish(mut self) -> Result<Vec<Report>> {
        let status = self.child.wait().context("cannot wait for this program")?;
        let names: Vec<String> = self.steps.iter().map(|step| step.name()).collect();
        println!("\n=== what ran beside the others: {}", names.join(", "));
        let mut output = File::open(self.output.path()).context("the output is gone")?;
        std::io::copy(&mut output, &mut std::io::stdout().lock()).context("cannot show output")?;
        let text = std::fs::read(self.reports.path()).context("the reports are gone")?;
        let mut reports: Vec<Report> = serde_json::from_slice(&text).unwrap_or_default();
        for step in &self.steps {
            let name = step.name();
            if reports.iter().all(|report| report.name != name) {
                reports.push(Report {
                    name,
                    verdict: Verdict::Failed(format!("not reached: {status}")),
                    tally: tally::Tally::default(),
                    seconds: self.begin.elapsed().as_secs_f64(),
                    busy: 0.0,
                });
            }
        }
        Ok(reports)
    }
}

/// Keeps what there is to report, for whoever has started this program beside itself.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn keep(reports: &[Report], to: &std::path::Path) -> Result<()> {
    let text = serde_json::to_vec(reports).context("a report that is no JSON")?;
    let write = || File::create(to)?.write_all(&text);
    write().with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_was_not_reached_has_failed() {
        let reports = NamedTempFile::new().unwrap();
        let done = Report {
            name: Step::Clippy.name(),
            verdict: Verdict::Passed,
            tally: tally::Tally { passed: 7, ..tally::Tally::default() },
            seconds: 1.5,
            busy: 0.5,
        };
        keep(&[done], reports.path()).unwrap();
        let beside = Beside {
            steps: vec![Step::Clippy, Step::Doc],
            child: Command::new("false").spawn().unwrap(),
            output: NamedTempFile::new().unwrap(),
            reports,
            begin: Instant::now(),
        };
        let reports = beside.finish().unwrap();
        let shown: Vec<_> = reports.iter().map(|one| (&*one.name, one.is_good())).collect();
        assert_eq!(shown, [("clippy", true), ("doc", false)]);
        assert_eq!(reports[0].tally.passed, 7);
    }

    #[test]
    fn what_tests_this_machine_has_no_other_tests_beside_it() {
        for step in [Step::Native, Step::V1] {
            assert_eq!((step.lane(), step.is_virtual()), (Lane::Main, false));
        }
        for step in [Step::V2, Step::Systemd] {
            assert_eq!((step.lane(), step.is_virtual()), (Lane::Main, true));
        }
        assert_eq!(Step::Engines.lane(), Lane::Engines);
    }
}
