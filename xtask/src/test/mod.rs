//! `cargo xtask test`: every check of the project, some beside others, and a table at the end.
//!
//! What cannot run here is skipped by name and reason; with `CI=true` that is a failure.

mod binaries;
mod busy;
mod dist;
mod engines;
mod fuzz;
mod kubernetes;
mod lanes;
mod live;
mod steps;
mod summary;
mod systemd;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use busy::Ticks;
use clap::ValueEnum;
pub(crate) use engines::image;
pub(crate) use live::Tee;
use steps::Step;
use summary::{Report, Verdict};

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these steps
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    only: Vec<Step>,
    /// All but these steps
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    skip: Vec<Step>,
    /// Where reports go, of steps that run beside others
    #[arg(long, hide = true, value_name = "FILE")]
    reports: Option<PathBuf>,
}

/// How the scripts of steps count their checks, and clean up.
pub(crate) const COMMON: &str = include_str!("common.sh");

/// What a step hands back: what its tests did, and whether it could run at all.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It ran; failed tests are in the tally.
    Ran(tally::Tally),
    /// It could not run, for this reason.
    Skipped(String),
}

/// Whether skipped tests count as failed.
pub(crate) fn ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
}

/// Runs the steps; the exit status says whether all of them passed.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let wanted = |step: &&Step| match &args.only[..] {
        [] => step.by_default() && !args.skip.contains(step),
        only => only.contains(step) && !args.skip.contains(step),
    };
    let steps: Vec<Step> = Step::value_variants().iter().filter(wanted).copied().collect();
    let begin = Instant::now();
    let reports = match &args.reports {
        None => lanes::run(&steps)?,
        Some(file) => one_after_another(&steps, &mut |reports| lanes::keep(reports, file))?,
    };
    if args.reports.is_none() {
        print!("{}", summary::text(&reports, begin.elapsed().as_secs_f64()));
    }
    let good = reports.iter().all(Report::is_good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the steps, and has `keep` see the reports after each.
fn one_after_another(
    steps: &[Step],
    keep: &mut dyn FnMut(&[Report]) -> Result<()>,
) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for step in steps {
        reports.push(report(*step));
        keep(&reports)?;
    }
    Ok(reports)
}

fn report(step: Step) -> Report {
    println!("\n=== {}: {}", step.name(), step.help());
    let (begin, ticks) = (Instant::now(), Ticks::now());
    let (verdict, tally) = match step.run() {
        Ok(Outcome::Ran(tally)) if tally.failed == 0 => (Verdict::Passed, tally),
        Ok(Outcome::Ran(tally)) => (Verdict::Failed("tests failed".to_owned()), tally),
        Ok(Outcome::Skipped(reason)) if ci() => {
            let reason = format!("{reason} (CI=true makes a skip a failure)");
            (Verdict::Failed(reason), tally::Tally::default())
        }
        Ok(Outcome::Skipped(reason)) => (Verdict::Skipped(reason), tally::Tally::default()),
        Err(error) => (Verdict::Failed(format!("{error:#}")), tally::Tally::default()),
    };
    match &verdict {
        Verdict::Passed => {}
        Verdict::Failed(reason) => println!("FAILED {}: {reason}", step.name()),
        Verdict::Skipped(reason) => println!("SKIPPED {}: {reason}", step.name()),
    }
    let (seconds, busy) = (begin.elapsed().as_secs_f64(), Ticks::now().busy_since(ticks));
    Report { name: step.name(), verdict, tally, seconds, busy }
}
