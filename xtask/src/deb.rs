//! `cargo xtask deb`: Debian packages.
//!
//! By dpkg-deb, and not cargo-deb: two packages come from one build, with files that the built
//! program prints, and tools that have to be compiled first would cost more than they save.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::program::{Args, Program};
use crate::stage::{Format, Package, copy, lay_out};
use crate::{repo, sh};

/// The scripts that dpkg runs.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// Builds the packages and prints their paths.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let (program, out) = args.program()?;
    for package in Package::ALL {
        println!("{}", build(package, &program, &out)?.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a package of `program` in `out`; returns its path.
///
/// # Errors
/// When a file is missing, or dpkg-deb fails.
pub(crate) fn build(package: Package, program: &Program, out: &Path) -> Result<PathBuf> {
    let stage = tempfile::Builder::new().prefix("stage-").tempdir_in(out)?;
    lay_out(package, Format::Deb, program, stage.path())?;
    let architecture = sh::output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    control(package, stage.path(), &program.version, architecture)?;
    let file = out.join(format!("{}_{}_{architecture}.deb", package.name(), program.version));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--build"]).arg(stage.path()).arg(&file);
    sh::run(pack.stdout(std::process::Stdio::null()))?;
    Ok(file)
}

/// Where what dpkg reads of `package` is in the repository.
fn packaging(package: Package) -> PathBuf {
    let dir = repo::root().join("packaging/debian");
    match package {
        Package::Resview => dir,
        Package::Lxcfs => dir.join("lxcfs"),
    }
}

fn control(package: Package, stage: &Path, version: &str, architecture: &str) -> Result<()> {
    let packaging = packaging(package);
    for name in SCRIPTS {
        copy(&packaging.join(name), &stage.join("DEBIAN").join(name), 0o755)?;
    }
    // What is in /etc belongs to the operator: dpkg asks before it replaces it.
    let lists = r#"cd "$1"
        find usr etc -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums
        find etc -type f -printf '/%p\n' | LC_ALL=C sort >DEBIAN/conffiles
        chmod 755 DEBIAN; du -sk --exclude=DEBIAN . | cut -f1"#;
    let size = sh::output(&mut sh::script(lists, &[stage.as_os_str()]))?;
    let path = packaging.join("control");
    let template = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let text = filled_in(&template, version, architecture, size.trim());
    std::fs::write(stage.join("DEBIAN/control"), text)?;
    Ok(())
}

fn filled_in(template: &str, version: &str, architecture: &str, size_kib: &str) -> String {
    template
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", size_kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for package in Package::ALL {
            let template = std::fs::read_to_string(packaging(package).join("control")).unwrap();
            let text = filled_in(&template, "1.2", "amd64", "3");
            assert!(text.starts_with(&format!("Package: {}\nVersion: 1.2\n", package.name())));
            assert!(!text.contains('@') || text.matches('@').count() == 1, "{text}");
        }
    }
}
