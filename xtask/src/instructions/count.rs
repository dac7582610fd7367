//! Builds the program of `crates/hotpaths` and has callgrind count what it executes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::table::Table;
use crate::program::static_build_with_symbols;
use crate::sh;

/// The function between whose beginning and end is counted.
const MEASURED: &str = "hotpaths::measured";

/// glibc has a memcpy for each generation of CPUs. This leaves the oldest, which all have.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-ERMS,-FSRM,\
                        -SSSE3,-SSE4_1,-SSE4_2";

/// Why nothing can be counted here, or not compared.
pub(crate) fn missing() -> Option<String> {
    if !sh::has("valgrind") {
        return Some("valgrind is not installed".to_owned());
    }
    let arch = std::env::consts::ARCH;
    (arch != "x86_64").then(|| format!("the stored counts are of x86_64, and this is {arch}"))
}

/// Counts.
///
/// # Errors
/// When the program does not compile or fails, or callgrind does.
pub(super) fn run() -> Result<Table> {
    let program = static_build_with_symbols("hotpaths", "hotpaths", env!("CARGO_PKG_VERSION"))?;
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let counts = dir.path().join("counts");
    // What is in the environment moves the stack, and so what memcpy has to align.
    let names = sh::output(
        Command::new("valgrind")
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("GLIBC_TUNABLES", TUNABLES)])
            .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
            .arg(format!("--toggle-collect={MEASURED}"))
            .arg(format!("--dump-after={MEASURED}"))
            .arg(format!("--callgrind-out-file={}", counts.display()))
            .arg(&program),
    )?;
    let rows = names.lines().zip(1..).map(|(name, number)| {
        let file = counts.with_extension(number.to_string());
        Ok((name.to_owned(), total(&file).with_context(|| format!("no count of {name}"))?))
    });
    Ok(Table { compiler: compiler()?, counts: rows.collect::<Result<_>>()? })
}

/// What callgrind has counted in all functions together.
fn total(file: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("callgrind has not written {}", file.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.with_context(|| format!("no total in {}", file.display()))?;
    let total = total.trim().parse().with_context(|| format!("no number: {total:?}"))?;
    ensure!(total > 0, "callgrind has counted nothing: it does not find {MEASURED}");
    Ok(total)
}

/// Such as `rustc 1.95.0 x86_64`.
fn compiler() -> Result<String> {
    let about = sh::output(Command::new("rustc").arg("-vV"))?;
    let release = about.lines().find_map(|line| line.strip_prefix("release: "));
    let release = release.context("rustc does not say which it is")?;
    Ok(format!("rustc {release} {}", std::env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_nothing_is_no_count() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("counts.1");
        std::fs::write(&file, "events: Ir\nfn=(1) hotpaths::measured\n7 3\ntotals: 1234\n")
            .unwrap();
        assert_eq!(total(&file).unwrap(), 1234);
        std::fs::write(&file, "totals: 0\n").unwrap();
        assert!(total(&file).unwrap_err().to_string().contains(MEASURED));
        assert!(total(&dir.path().join("counts.2")).is_err());
    }
}
