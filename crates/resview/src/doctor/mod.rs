//! `resview doctor`: is this machine fit, does everything fit together, and what is there to do.
//!
//! A check only looks, and runs in a thread of its own with a deadline: one that hangs is reported
//! and left behind. Whatever may hang for good (a mounted file system, a program) is asked by
//! another process.

mod checks;
mod finding;
mod machine;

use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use self::checks::{CHECKS, Check};
use self::finding::{Finding, Report, text};
use self::machine::Machine;
use crate::cli::DoctorOptions;
use crate::exit_codes;

/// How long all checks may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints what is found: exit code 0 if there is no problem, 1 otherwise.
pub(crate) fn main(options: &DoctorOptions) -> ExitCode {
    let machine = Machine::this(options.place.clone());
    let reports = examine(&machine, &CHECKS, PATIENCE);
    let printed = match options.json {
        true => serde_json::to_string_pretty(&json!({ "version": 1, "checks": reports }))
            .map(|text| text + "\n")
            .map_err(anyhow::Error::from),
        false => Ok(text(&reports)),
    };
    let printed = printed.and_then(|text| match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print the findings"),
    });
    if let Err(error) = printed {
        eprintln!("resview: {error:#}");
        return exit_codes::FAILED.into();
    }
    let has_problem = reports.iter().any(Report::has_problem);
    if has_problem { exit_codes::FAILED.into() } else { ExitCode::SUCCESS }
}

/// All checks at once; those that take too long are said to.
fn examine(machine: &Machine, checks: &[Check], patience: Duration) -> Vec<Report> {
    let running: Vec<_> = checks
        .iter()
        .map(|check| {
            let (send, receive) = channel();
            let (machine, look) = (machine.clone(), check.look);
            std::thread::spawn(move || {
                // Nobody may be waiting any longer.
                let _ = send.send(look(&machine));
            });
            (check.name, receive)
        })
        .collect();
    let end = Instant::now() + patience;
    let reports = running.into_iter().map(|(check, receive)| {
        let left = end.saturating_duration_since(Instant::now());
        let findings = receive.recv_timeout(left).unwrap_or_else(|_| vec![overdue(patience)]);
        Report { check, findings }
    });
    reports.collect()
}

fn overdue(patience: Duration) -> Finding {
    Finding::problem(
        format!("this could not be checked: no answer within {} s", patience.as_secs()),
        "something on this machine hangs; see the processes in state D and what they wait for \
         (/proc/PID/stack)",
    )
}

#[cfg(test)]
mod tests {
    use super::machine::fake::Fake;
    use super::*;

    #[test]
    fn a_check_that_hangs_is_a_problem_and_the_others_are_heard() {
        let checks = [
            Check {
                name: "hung",
                look: |_| {
                    std::iter::repeat_with(std::thread::park)
                        .last()
                        .map(|()| Vec::new())
                        .unwrap_or_default()
                },
            },
            Check { name: "fine", look: |_| vec![Finding::ok("fine")] },
        ];
        let fake = Fake::new(&[]);
        let reports = examine(&fake.machine, &checks, Duration::from_secs(1));
        assert!(reports[0].has_problem() && reports[0].findings[0].found.contains("no answer"));
        assert_eq!(reports[1].findings, [Finding::ok("fine")]);
    }
}
