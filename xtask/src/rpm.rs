//! `cargo xtask rpm`: packages for Fedora and its kin.
//!
//! By rpmbuild with a spec file, and not cargo-generate-rpm, for the reasons that `deb` gives.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::program::{Args, Program, host};
use crate::stage::{Format, Package, lay_out};
use crate::{repo, sh};

/// Builds the packages and prints their paths.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let (program, out) = args.program()?;
    for path in build(&program, &out)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes all packages of `program` in `out`; returns their paths, in the order of [`Package::ALL`].
///
/// # Errors
/// When a file is missing, or rpmbuild is missing or fails.
pub(crate) fn build(program: &Program, out: &Path) -> Result<Vec<PathBuf>> {
    ensure!(sh::has("rpmbuild"), "rpmbuild is not installed; on Debian, it is in the package rpm");
    let dir = tempfile::Builder::new().prefix("rpm-").tempdir_in(out)?;
    let stage = dir.path().join("stage");
    for package in Package::ALL {
        lay_out(package, Format::Rpm, program, &stage)?;
    }
    let host = host()?;
    let architecture = host.split('-').next().unwrap_or_default();
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--target", &format!("{architecture}-linux")]);
    for (name, value) in [
        ("_topdir", dir.path().as_os_str()),
        ("stage", stage.as_os_str()),
        ("package_version", program.version.as_ref()),
    ] {
        rpmbuild.arg("--define").arg(format!("{name} {}", value.to_string_lossy()));
    }
    rpmbuild.arg(repo::root().join("packaging/rpm/resview.spec"));
    sh::run(rpmbuild.stdout(Stdio::null()))?;
    let built = dir.path().join("RPMS").join(architecture);
    let mut paths = Vec::new();
    for package in Package::ALL {
        let name = format!("{}-{}-1.{architecture}.rpm", package.name(), program.version);
        let path = out.join(&name);
        std::fs::rename(built.join(&name), &path)
            .with_context(|| format!("rpmbuild made no {name}"))?;
        paths.push(path);
    }
    Ok(paths)
}
