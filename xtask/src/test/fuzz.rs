//! Each fuzz target for some seconds: enough to catch what is plainly wrong.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::tally::Tally;
use super::{Outcome, live};
use crate::{repo, sh};

/// Seconds for all targets together, and the most and the least for one.
const BUDGET: u64 = 80;
const MOST: u64 = 30;
const LEAST: u64 = 5;

/// Builds and runs the targets of `fuzz/`. `RESVIEW_FUZZ_SECONDS` sets the time for each.
pub(crate) fn run() -> Result<Outcome> {
    if !repo::root().join("fuzz/Cargo.toml").is_file() {
        println!("there are no fuzz targets");
        return Ok(Outcome::Ran(Tally::default()));
    }
    let path = path_with_cargo_fuzz()?;
    let fuzz = || {
        let mut command = repo::cargo();
        // The instrumentation is an unstable option of rustc. This has the stable one take it, so
        // that no second toolchain is needed.
        command.env("RUSTC_BOOTSTRAP", "1").env("PATH", &path).arg("fuzz");
        command
    };
    sh::run(fuzz().arg("build"))?;
    let targets = sh::output(fuzz().arg("list"))?;
    let targets: Vec<&str> = targets.split_whitespace().collect();
    let seconds = format!("-max_total_time={}", seconds(targets.len())?);
    let mut tally = Tally::default();
    for target in targets {
        println!("fuzzing {target}");
        let mut run = fuzz();
        run.args(["run", target]).args(corpora(target)?);
        let ended = live::run(run.args(["--", &seconds, "-verbosity=0"]))?;
        if ended.good {
            tally.passed += 1;
        } else {
            tally.failed += 1;
            tally.failures.push(format!("fuzz target {target}"));
        }
    }
    Ok(Outcome::Ran(tally))
}

/// What a target starts from: what earlier runs found, and the seeds kept in the repository.
fn corpora(target: &str) -> Result<Vec<PathBuf>> {
    let fuzz = repo::root().join("fuzz");
    let (found, seeds) = (fuzz.join("corpus").join(target), fuzz.join("seeds").join(target));
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    Ok([found, seeds].into_iter().filter(|dir| dir.is_dir()).collect())
}

/// `PATH` with a cargo-fuzz in it; one is built into the cache where there is none.
fn path_with_cargo_fuzz() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if sh::has("cargo-fuzz") {
        return Ok(path);
    }
    let cache = repo::cache()?;
    let _lock = repo::lock(&cache)?;
    let tools = cache.join("tools");
    if !tools.join("bin/cargo-fuzz").is_file() {
        println!("building cargo-fuzz, as it is missing");
        let mut install = repo::cargo();
        install.args(["install", "--quiet", "--locked", "cargo-fuzz", "--root"]).arg(&tools);
        sh::run(&mut install)?;
    }
    let folders = std::env::split_paths(&path).chain([tools.join("bin")]);
    std::env::join_paths(folders).context("the cache's path cannot be part of PATH")
}

fn seconds(targets: usize) -> Result<u64> {
    match std::env::var("RESVIEW_FUZZ_SECONDS") {
        Ok(seconds) => seconds.parse().context("RESVIEW_FUZZ_SECONDS is no number"),
        Err(_) => Ok((BUDGET / (targets as u64).max(1)).clamp(LEAST, MOST)),
    }
}
