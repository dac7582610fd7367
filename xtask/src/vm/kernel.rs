//! A kernel of Debian's, unpacked in the cache and never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{PrivateSources, apt_get};
use crate::sh;

/// What a virtual machine starts with.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// The folder of modules, `…/lib/modules/<release>`.
    pub(crate) modules: PathBuf,
}

/// The kernel by the name that `--kernel` takes: a series that this machine's Debian offers
/// (`6.12`, `6.1`), or a suite whose current kernel is wanted (`trixie`, `bookworm-backports`).
///
/// # Errors
/// When there is no such kernel, or apt fails.
pub(crate) fn fetch(cache: &Path, name: &str) -> Result<Kernel> {
    let dir = cache.join(format!("kernel-{name}"));
    if !dir.is_dir() {
        let part = cache.join(format!("kernel-{name}.part"));
        // A part left over by an interrupted run is not trusted.
        sh::run(Command::new("rm").arg("-rf").arg(&part))?;
        std::fs::create_dir_all(&part)?;
        download(&part, name)?;
        std::fs::rename(&part, &dir)?;
    }
    find(&dir)
}

fn download(dir: &Path, name: &str) -> Result<()> {
    let (options, packages) = if name.starts_with(|first: char| first.is_ascii_digit()) {
        match newest(name)? {
            Some(package) => (Vec::new(), vec![package]),
            // Not this machine's Debian: the suite whose stable kernel has that number.
            None if name == "6.12" => of_suite("trixie")?,
            None => bail!("apt offers no package linux-image-{name}*; name a suite instead"),
        }
    } else {
        of_suite(name)?
    };
    eprintln!("fetching {}", packages.join(" "));
    let mut download = apt_get(&options, &["download", "-qq", "-oAPT::Sandbox::User=root"]);
    sh::run(download.args(packages).current_dir(dir))?;
    let unpack = r#"cd "$1"; for deb in *.deb; do dpkg-deb -x "$deb" .; done; rm ./*.deb
        [ -d lib/modules ] || mv usr/lib .
        depmod -b . "$(ls lib/modules)""#;
    sh::run(&mut sh::script(unpack, &[dir.as_os_str()]))
}

/// The newest package of a series that this machine's own apt offers.
fn newest(series: &str) -> Result<Option<String>> {
    let pattern =
        format!(r"^linux-image-{}\.[0-9.+-]*(deb[0-9]+-)?amd64$", series.replace('.', r"\."));
    let search =
        || sh::output(Command::new("apt-cache").args(["search", "--names-only", &pattern]));
    let mut found = search()?;
    if found.is_empty() {
        sh::run(&mut apt_get(&[], &["update", "-qq"]))?;
        found = search()?;
    }
    let names = found.lines().filter_map(|line| line.split(' ').next());
    Ok(names.max_by_key(|name| numbers(name)).map(str::to_owned))
}

/// The package behind a suite's `linux-image-amd64`, and those that newer Debians split off it.
fn of_suite(suite: &str) -> Result<(Vec<String>, Vec<String>)> {
    let options = PrivateSources::new(&[suite])?.options;
    let image = depends(&options, "linux-image-amd64", "linux-image-")?;
    let image = image.into_iter().next().context("linux-image-amd64 depends on no kernel")?;
    let mut packages = vec![image];
    for prefix in ["linux-binary-", "linux-modules-", "linux-base-"] {
        packages.extend(depends(&options, &packages[0], prefix)?);
    }
    let of_that_suite = packages.iter().map(|package| format!("{package}/{suite}"));
    Ok((options, of_that_suite.collect()))
}

fn depends(options: &[String], package: &str, prefix: &str) -> Result<Vec<String>> {
    let text = sh::output(Command::new("apt-cache").args(options).args(["depends", package]))?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
}

/// The numbers in a package's name, so that 6.12.9 sorts before 6.12.107.
fn numbers(name: &str) -> Vec<u64> {
    let parts = name.split(|character: char| !character.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

fn find(dir: &Path) -> Result<Kernel> {
    let script = r#"cd "$1"; ls -d "$1"/lib/modules/*/; ls "$1"/boot/vmlinuz-* "$1"/lib/modules/*/vmlinuz 2>/dev/null || true"#;
    let found = sh::output(&mut sh::script(script, &[dir.as_os_str()]))?;
    let mut lines = found.lines();
    let mut next = || lines.next().map(PathBuf::from);
    match (next(), next()) {
        (Some(modules), Some(image)) => Ok(Kernel { image, modules }),
        _ => bail!("{} holds no kernel: delete it and try again", dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_not_the_last_in_the_alphabet() {
        let names = ["linux-image-6.12.9+deb12-amd64", "linux-image-6.12.107+deb12-amd64"];
        assert!(numbers(names[0]) < numbers(names[1]));
    }
}
