//! `cargo bench -p bench`: the comparison, shortly, with a release build of the program. `cargo xtask
//! bench` is the whole of it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

const BENCH: &str = env!("CARGO_BIN_EXE_resview-bench");

fn main() -> Result<ExitCode> {
    // `cargo test --benches` comes here too, and wants to know only whether it starts.
    if !std::env::args().any(|word| word == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let resview = build()?;
    let out = Path::new(BENCH).with_file_name("resview-bench.results");
    let mut compare = Command::new(BENCH);
    compare.args(["compare", "--quick", "--resview"]).arg(resview).arg("--out").arg(&out);
    if Path::new("/usr/bin/lxcfs").exists() {
        compare.args(["--lxcfs", "LXCFS=/usr/bin/lxcfs"]);
    }
    let status = compare.status().context("cannot start the benchmark")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program, beside the benchmark's own, which cargo does not build with it.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let status = command.args(["build", "--release", "-p", "resview", "--bin", "resview"]).status();
    ensure!(status.context("cannot start cargo")?.success(), "resview does not compile");
    Ok(Path::new(BENCH).with_file_name("resview"))
}
