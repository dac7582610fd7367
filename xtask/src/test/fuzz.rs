//! Each fuzz target for some seconds: enough to catch what is plainly wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use serde_json::Value;

use super::tally::Tally;
use super::{Outcome, live};
use crate::{program, repo, sh};

/// Seconds for all targets together, and the most and the least for one.
const BUDGET: u64 = 80;
const MOST: u64 = 30;
const LEAST: u64 = 5;

/// What has a program tell libFuzzer where it has been and notice wrong memory accesses. These are the
/// flags of cargo-fuzz, which would have to be compiled first; there it is one command for a developer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares \
                     -Cllvm-args=-sanitizer-coverage-stack-depth \
                     -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Zsanitizer=address \
                     -Cdebug-assertions";

/// A program that fuzzes.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    name: String,
    program: PathBuf,
}

/// Builds the targets of `fuzz/` and runs as many at a time as there are CPUs.
/// `RESVIEW_FUZZ_SECONDS` sets the time for each.
pub(super) fn run() -> Result<Outcome> {
    let targets = targets()?;
    let seconds = format!("-max_total_time={}", seconds(targets.len())?);
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let work = || -> Result<()> {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            println!("fuzzing {}", target.name);
            let ended = live::run(command(target)?.args([&seconds, "-verbosity=0"]))?;
            let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if ended.good {
                tally.passed += 1;
            } else {
                tally.failed += 1;
                tally.failures.push(format!("fuzz target {}", target.name));
            }
        }
        Ok(())
    };
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cpus).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect::<Result<()>>()
    })?;
    Ok(Outcome::Ran(tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)))
}

/// Builds the targets.
///
/// # Errors
/// When they do not compile.
pub(super) fn build() -> Result<()> {
    targets().map(drop)
}

fn targets() -> Result<Vec<Target>> {
    let manifest = repo::root().join("fuzz/Cargo.toml");
    if !manifest.is_file() {
        println!("there are no fuzz targets");
        return Ok(Vec::new());
    }
    let mut cargo = repo::cargo();
    cargo
        .args(["build", "--quiet", "--release", "--bins"])
        .args(["--message-format=json-render-diagnostics"])
        .args(["--config", "profile.release.debug=\"line-tables-only\""])
        .args(["--target", &program::host()?, "--manifest-path"])
        .arg(manifest)
        .env("RUSTFLAGS", FLAGS)
        // The instrumentation is an unstable option of rustc. This has the stable one take it, so
        // that no second toolchain is needed.
        .env("RUSTC_BOOTSTRAP", "1");
    read(&sh::output(&mut cargo)?)
}

fn read(messages: &str) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo's message is no JSON")?;
        let name = message["target"]["name"].as_str();
        if let (Some(name), Some(program)) = (name, message["executable"].as_str()) {
            targets.push(Target { name: name.to_owned(), program: program.into() });
        }
    }
    targets.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(targets)
}

/// A target with what it starts from: what earlier runs found, and the seeds kept in the repository.
fn command(target: &Target) -> Result<Command> {
    let fuzz = repo::root().join("fuzz");
    let of = |folder: &str| fuzz.join(folder).join(&target.name);
    let make = |dir: &Path| {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
    };
    let (found, seeds, artifacts) = (of("corpus"), of("seeds"), of("artifacts"));
    make(&found)?;
    make(&artifacts)?;
    let mut command = Command::new(&target.program);
    command.args([found, seeds].into_iter().filter(|dir| dir.is_dir()));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    // Each crate is linked once, but a generic function of it may be in several.
    command.env("ASAN_OPTIONS", "detect_odr_violation=0").stdin(Stdio::null());
    Ok(command)
}

fn seconds(targets: usize) -> Result<u64> {
    match std::env::var("RESVIEW_FUZZ_SECONDS") {
        Ok(seconds) => seconds.parse().context("RESVIEW_FUZZ_SECONDS is no number"),
        Err(_) => Ok((BUDGET / (targets as u64).max(1)).clamp(LEAST, MOST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_what_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"view"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"b"},"executable":"/t/b"}
{"reason":"compiler-artifact","target":{"name":"a"},"executable":"/t/a"}
{"reason":"build-finished","success":true}"#;
        let target =
            |name: &str| Target { name: name.to_owned(), program: format!("/t/{name}").into() };
        assert_eq!(read(messages).unwrap(), [target("a"), target("b")]);
    }
}
