//! Debian packages that are unpacked in the cache, and never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::packages::apt_get;
use crate::{repo, sh};

/// The folder `name` of the cache, which `fill` fills when it is not there yet.
///
/// # Errors
/// When the folder cannot be made or filled.
pub(crate) fn folder(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = repo::cache()?;
    let _lock = repo::lock(&cache)?;
    let dir = cache.join(name);
    if !dir.is_dir() {
        let part = cache.join(format!("{name}.part"));
        // A part left over by an interrupted run is not trusted.
        sh::run(Command::new("rm").arg("-rf").arg(&part))?;
        std::fs::create_dir_all(&part)?;
        fill(&part)?;
        std::fs::rename(&part, &dir)?;
    }
    Ok(dir)
}

/// Fetches packages, with these options for apt, and unpacks them in `dir`.
///
/// # Errors
/// When apt or dpkg-deb fails.
pub(crate) fn packages(dir: &Path, options: &[String], packages: &[String]) -> Result<()> {
    eprintln!("fetching {}", packages.join(" "));
    let mut download = apt_get(options, &["download", "-qq", "-oAPT::Sandbox::User=root"]);
    sh::run(download.args(packages).current_dir(dir))?;
    let unpack = r#"cd "$1"; for deb in *.deb; do dpkg-deb -x "$deb" .; done; rm ./*.deb"#;
    sh::run(&mut sh::script(unpack, &[dir.as_os_str()]))
}
