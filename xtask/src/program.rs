//! `cargo xtask static`: one program that runs on every distribution, because it needs no library.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::{repo, sh};

/// Options of `cargo xtask static`, `deb` and `rpm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The version of the package and of the program [default: that of the workspace]
    #[arg(long)]
    version: Option<String>,
    /// Where to put it [default: target/packages]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Args {
    /// The program to make packages of, and where to put them.
    ///
    /// # Errors
    /// See [`Program::build`].
    pub(crate) fn program(&self) -> Result<(Program, PathBuf)> {
        let version = self.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
        let out = match &self.out {
            Some(dir) => dir.clone(),
            None => repo::target()?.join("packages"),
        };
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        Ok((Program::build(version)?, out))
    }
}

/// A build of `resview` that is linked statically.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Where it is. The next build of the same version is put there too.
    pub(crate) path: PathBuf,
    /// Which version it says that it is.
    pub(crate) version: String,
}

impl Program {
    /// Builds `version`.
    ///
    /// # Errors
    /// When the version is none for a package, the program does not compile, or is not static.
    pub(crate) fn build(version: &str) -> Result<Self> {
        check_version(version)?;
        let path = static_build("resview", "resview", version)?;
        Ok(Self { path, version: version.to_owned() })
    }
}

/// Builds the program and prints its path.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let (program, out) = args.program()?;
    let copy = out.join("resview");
    std::fs::copy(&program.path, &copy)
        .with_context(|| format!("cannot copy the program to {}", copy.display()))?;
    println!("{}", copy.display());
    Ok(ExitCode::SUCCESS)
}

/// What dpkg and rpm both take: a hyphen would begin the revision.
fn check_version(version: &str) -> Result<()> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || ".+~".contains(letter);
    if !version.starts_with(|c: char| c.is_ascii_digit()) || !version.chars().all(fits) {
        bail!("{version:?} is no version of a package: digits, letters, '.', '+' and '~'");
    }
    Ok(())
}

/// The variable in which a process is told to which [`run`] it belongs.
pub(crate) const RUN: &str = "RESVIEW_RUN";

/// The name of this run of the chores, which is one with those that it has started. It builds a version
/// once.
pub(crate) fn run() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let own = || format!("{} {}", std::process::id(), since.as_nanos());
        std::env::var(RUN).unwrap_or_else(|_| own())
    })
}

/// Whether the names of functions stay in a program. They are a fifth of its size, and nothing that runs
/// it needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbols {
    Kept,
    Stripped,
}

/// Builds a program of the workspace that needs no library at run time; returns its path.
///
/// # Errors
/// When it does not compile, or needs one all the same.
pub(crate) fn static_build(package: &str, name: &str, version: &str) -> Result<PathBuf> {
    kept_build(package, name, version, Symbols::Stripped)
}

/// The same with the names of its functions, for a tool that looks into it.
///
/// # Errors
/// As [`static_build`].
pub(crate) fn static_build_with_symbols(
    package: &str,
    name: &str,
    version: &str,
) -> Result<PathBuf> {
    kept_build(package, name, version, Symbols::Kept)
}

fn kept_build(package: &str, name: &str, version: &str, symbols: Symbols) -> Result<PathBuf> {
    let all = repo::target()?.join("static");
    let dir = all.join(version);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    // cargo puts each version in the same place.
    let _lock = repo::lock(&all)?;
    let (kept, mark) = (dir.join(name), dir.join(format!("{name}.run")));
    if std::fs::read_to_string(&mark).is_ok_and(|built_in| built_in == run()) {
        return Ok(kept);
    }
    let built = build(package, name, version)?;
    let part = dir.join(format!("{name}.part"));
    std::fs::copy(&built, &part)
        .with_context(|| format!("cannot copy the program to {}", part.display()))?;
    if symbols == Symbols::Stripped {
        // Not by cargo, which would compile all crates once more for a program that keeps them.
        sh::run(Command::new("strip").arg("--strip-all").arg(&part))?;
    }
    let keep = || {
        // Whoever runs the one before goes on.
        std::fs::rename(&part, &kept)?;
        std::fs::write(&mark, run())
    };
    keep().with_context(|| format!("cannot put the program at {}", kept.display()))?;
    Ok(kept)
}

/// Half a megabyte of the program would be a list of the addresses in it, which the loader adds its own
/// to. The short form of that list takes glibc 2.36, which is in the program. Functions that are the same
/// are there once: an address says what a function does, and not which one it is.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=debuginfo \
                     -C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--icf=all";

fn build(package: &str, name: &str, version: &str) -> Result<PathBuf> {
    let host = host()?;
    // With --target, the flags are not those of build scripts and macros, which cannot be static.
    sh::run(
        repo::cargo()
            .args(["build", "--profile", "dist", "--quiet", "-p", package, "--bin", name])
            .args(["--target", &host])
            .env("RUSTFLAGS", FLAGS)
            .env("RESVIEW_VERSION", version),
    )?;
    let program = repo::target()?.join(host).join("dist").join(name);
    check_static(&program)?;
    Ok(program)
}

/// What rustc builds for here, such as `x86_64-unknown-linux-gnu`.
///
/// # Errors
/// When rustc does not say it.
pub(crate) fn host() -> Result<String> {
    let about = sh::output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it builds for")
}

fn check_static(program: &Path) -> Result<()> {
    // ldd fails for a static program, and says why.
    let linked = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let says = [linked.stdout, linked.stderr].concat();
    let says = String::from_utf8_lossy(&says);
    if !says.contains("statically linked") && !says.contains("not a dynamic executable") {
        bail!("{} is not static: {says}", program.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_one_for_every_format() {
        for good in ["0.1.0", "0.1.0+b", "1.0~rc1"] {
            check_version(good).unwrap();
        }
        for bad in ["", "1.0-1", "v1", "1.0 ", "1/2", "$(id)"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_program_that_needs_libraries_is_found_out() {
        let error = check_static(Path::new("/usr/bin/ldd")).map(drop);
        assert!(error.is_ok(), "a script needs none: {error:?}");
        let own = std::env::current_exe().unwrap();
        assert!(check_static(&own).unwrap_err().to_string().contains("is not static"));
    }
}
