//! The LXCFS to compare with: the installed one, and those of newer Debians, which are unpacked
//! below `target/` with the libraries that they need, and never installed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::unpacked;
use crate::packages::PrivateSources;
use crate::sh;

/// What `all` stands for: the last releases of the series 5, 6 and 7 that Debian has.
const ALL: [&str; 3] = ["installed", "trixie", "forky"];

/// An LXCFS that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Lxcfs {
    /// What to start.
    pub(crate) program: PathBuf,
    version: String,
}

impl Lxcfs {
    /// What its column is called.
    pub(crate) fn title(&self) -> String {
        format!("LXCFS {}", self.version)
    }

    /// What it is started with beside `-l`: from version 7 on there are triggers of pressure.
    pub(crate) fn options(&self) -> &'static [&'static str] {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major >= 7) { &["--enable-psi-poll"] } else { &[] }
    }
}

/// The programs behind what `--lxcfs` was given, each version once.
///
/// # Errors
/// When a suite's package cannot be fetched, or a program does not say its version.
pub(crate) fn resolve(wanted: &[String]) -> Result<Vec<Lxcfs>> {
    let mut found: Vec<Lxcfs> = Vec::new();
    let words = wanted.iter().flat_map(|word| match word.as_str() {
        "all" => ALL.to_vec(),
        word => vec![word],
    });
    for word in words {
        let program = match word {
            "installed" => PathBuf::from("lxcfs"),
            path if path.contains('/') => Path::new(path).canonicalize()?,
            suite => fetch(suite)?,
        };
        let version = version(&program)?;
        // On a newer Debian the installed one is that of a suite.
        if !found.iter().any(|lxcfs| lxcfs.version == version) {
            found.push(Lxcfs { program, version });
        }
    }
    Ok(found)
}

/// The version that LXCFS prints, in quotes, to standard error.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text.trim().trim_matches('"').lines().next().unwrap_or_default().to_owned())
}

/// A program that starts the LXCFS of a Debian suite.
fn fetch(suite: &str) -> Result<PathBuf> {
    let dir = unpacked::folder(&format!("lxcfs-{suite}"), |dir| download(dir, suite))?;
    Ok(dir.join("start"))
}

fn download(dir: &Path, suite: &str) -> Result<()> {
    let options = PrivateSources::new(&[suite])?.options;
    let mut packages = vec!["lxcfs".to_owned()];
    // LXCFS needs libc and libfuse; libc needs that of gcc. More is not below those.
    for package in ["lxcfs", "libc6"] {
        for library in libraries(&options, package)? {
            if !packages.contains(&library) {
                packages.push(library);
            }
        }
    }
    let packages: Vec<_> = packages.iter().map(|package| format!("{package}/{suite}")).collect();
    unpacked::packages(dir, &options, &packages)?;
    let start = r#"printf %s "$2" >"$1/start"; chmod 755 "$1/start""#;
    sh::run(&mut sh::script(start, &[dir.as_os_str(), OsStr::new(START)]))
}

/// Starts what was unpacked beside it, with the libraries and the loader from there. LXCFS looks
/// for its own library, which lies in a folder of its own, on the same path.
const START: &str = r#"#!/bin/sh
root=$(dirname "$(readlink -f "$0")")
set -- "$root"/usr/lib/*-linux-gnu*/ld-linux-*.so.* -- "$@"
loader=$1
shift 2
libraries=$(dirname "$loader")
exec "$loader" --library-path "$libraries/lxcfs:$libraries" "$root/usr/bin/lxcfs" "$@"
"#;

/// The libraries that a package depends on.
fn libraries(options: &[String], package: &str) -> Result<Vec<String>> {
    let text = sh::output(Command::new("apt-cache").args(options).args(["depends", package]))?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(names.filter(|name| name.starts_with("lib")).map(str::to_owned).collect())
}
