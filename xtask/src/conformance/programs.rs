//! A consumer that Debian has and that nobody installs for a test, since it comes as a service.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use super::unpacked;
use crate::{packages, sh};

const EXPORTER: &str = "prometheus-node-exporter";

/// Where the exporter is neither installed nor in `PATH` yet: fetches it, and runs this program
/// again with it.
///
/// # Errors
/// When it cannot be fetched, or this program cannot be started.
pub(crate) fn again_with_them() -> Result<Option<ExitCode>> {
    if sh::has(EXPORTER) || !packages::has_apt() {
        return Ok(None);
    }
    let fill = |dir: &std::path::Path| unpacked::packages(dir, &[], &[EXPORTER.to_owned()]);
    let dir = unpacked::folder("exporter", fill)?.join("usr/bin");
    ensure!(dir.join(EXPORTER).is_file(), "{} lacks {EXPORTER}: delete it", dir.display());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::env::split_paths(&path).chain([dir]))?;
    let program = std::env::current_exe().context("this program has no path")?;
    let mut command = Command::new(program);
    let status = command.args(std::env::args_os().skip(1)).env("PATH", path).status()?;
    Ok(Some(ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(1))))
}
