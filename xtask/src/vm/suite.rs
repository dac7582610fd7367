//! The root of a Debian suite with systemd, kept in the cache; machines see it read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::{packages, sh};

/// Besides the essential packages: systemd as pid 1, and what tests call.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,procps,kmod";

/// What takes time at every start, or waits for something that is not there.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty@tty1.service",
    "ldconfig.service",
    "serial-getty@ttyS0.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-update-utmp.service",
];

/// The folder with the root of `suite`, made first if it is not there yet.
///
/// # Errors
/// When mmdebstrap is not installed or fails.
pub(crate) fn fetch(cache: &Path, suite: &str) -> Result<PathBuf> {
    if !suite.chars().all(|letter| letter.is_ascii_lowercase()) || suite.is_empty() {
        bail!("{suite:?} is no name of a Debian suite");
    }
    let dir = cache.join(format!("systemd-{suite}"));
    if !dir.is_dir() {
        let part = cache.join(format!("systemd-{suite}.part"));
        // A part left over by an interrupted run is not trusted.
        sh::run(Command::new("rm").arg("-rf").arg(&part))?;
        eprintln!("making a root of {suite} with systemd");
        bootstrap(suite, PACKAGES, &part)?;
        mask(&part)?;
        std::fs::rename(&part, &dir)?;
    }
    Ok(dir)
}

/// Makes a root of `suite` in `dir`, with these packages besides the essential ones.
///
/// # Errors
/// When mmdebstrap is not installed or fails.
pub(crate) fn bootstrap(suite: &str, packages: &str, dir: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--mode=root", "--variant=minbase", "--keyring=/usr/share/keyrings"])
        .arg("--aptopt=Acquire::Languages \"none\"")
        // Suites in the making say that they are valid for a week; mirrors may be older.
        .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
        .args(
            ["doc", "man", "locale"]
                .map(|what| format!("--dpkgopt=path-exclude=/usr/share/{what}/*")),
        )
        .arg(format!("--include={packages}"))
        .arg(suite)
        .arg(dir)
        .arg(packages::mirror()?);
    sh::run(&mut command)
}

fn mask(root: &Path) -> Result<()> {
    let units = root.join("etc/systemd/system");
    for unit in MASKED {
        let link = units.join(unit);
        if std::fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink("/dev/null", link)?;
        }
    }
    Ok(())
}
