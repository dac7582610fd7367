//! Taking it away again, on the host: no pod could unmount what is mounted there.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::daemon::Daemon;
use super::init::Init;
use super::place::{Place, UNIT};
use super::program::{self, Installed};
use super::{agent, files};
use crate::cli::{DEFAULT_MOUNTPOINT, DaemonPlace};
use crate::runtime_dir::DEFAULT_RUNTIME_DIR;
use crate::slots::{Shown, Slots};
use crate::{admin, mountinfo, supervise};

/// How long the guard may take to cover the slots.
const GUARD_MAX: Duration = Duration::from_secs(30);

/// From a pod: has the host's program do it there, out of the pod's reach.
///
/// # Errors
/// It cannot be done, or not all of it.
pub(crate) fn ask(place: &Place, init: &Init) -> anyhow::Result<()> {
    let daemon = Daemon::look(&place.control())?;
    if let Some(other) = init.other(place, &daemon)? {
        tracing::info!("{other} another installation's, such as a package's, and is left alone");
        return Ok(());
    }
    let is_there = !matches!(Installed::look(place)?, Installed::Missing);
    if !is_there && daemon == Daemon::Nobody {
        return Ok(());
    }
    if !is_there {
        program::put(place)?;
    }
    let dir = place.install_dir().to_str().context("a path in UTF-8, please")?;
    let systemd = if matches!(init, Init::Systemd(_)) { "yes" } else { "no" };
    let mut arguments = vec!["node", "--uninstall", "--host", "/", "--install-dir", dir];
    arguments.extend(["--systemd", systemd]);
    if let Init::Bare { cgroup } = init {
        arguments.extend(["--cgroup", cgroup]);
    }
    init.run(place, &arguments)?;
    if Installed::look(place)? != Installed::Missing {
        bail!("the host has not done all of it: see the log there");
    }
    tracing::info!("nothing of it is left on the host");
    Ok(())
}

/// On the host itself.
///
/// # Errors
/// What is in the way. What was done by then stays done, and another attempt goes on.
pub(crate) fn here(place: &Place, init: &Init) -> anyhow::Result<()> {
    if let Some(other) = init.other(place, &Daemon::look(&place.control())?)? {
        bail!("{other} another installation's, such as a package's: remove that");
    }
    // Nobody starts it again.
    if let Init::Systemd(systemd) = init {
        systemd.disable(UNIT)?;
    }
    // While the daemon can: containers get the kernel's own files back.
    agent::detach_all(&place.agent())?;
    let daemon = DaemonPlace {
        mountpoint: DEFAULT_MOUNTPOINT.into(),
        runtime_dir: DEFAULT_RUNTIME_DIR.into(),
    };
    if Daemon::look(&place.control())? != Daemon::Nobody {
        admin::stopped(&daemon)?;
    }
    if let Init::Systemd(systemd) = init {
        systemd.stop(UNIT)?;
    }
    remove_slots(&supervise::slots_dir(&daemon.runtime_dir))?;
    remove_files(place)?;
    match init {
        Init::Systemd(systemd) => systemd.reload(),
        Init::Bare { cgroup } => {
            remove_cgroups(cgroup);
            Ok(())
        }
    }
}

/// Containers that bind a slot go on seeing the host's file, which the guard puts there before it
/// ends: without a master, their mounts stay when ours go.
fn remove_slots(dir: &Path) -> anyhow::Result<()> {
    let begin = Instant::now();
    while Slots::new(dir.to_owned()).shown()?.iter().any(|(_, shown)| *shown == Shown::View) {
        if begin.elapsed() > GUARD_MAX {
            tracing::warn!("nobody covers the slots; what is bound from them is dead");
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if mountinfo::at(&mountinfo::read()?, dir).is_none() {
        return Ok(());
    }
    let what = || format!("cannot unmount {}", dir.display());
    let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(dir, all).with_context(what)?;
    unmount(dir, UnmountFlags::DETACH).with_context(what)
}

fn remove_files(place: &Place) -> anyhow::Result<()> {
    files::remove(&place.unit())?;
    files::remove(&place.policy())?;
    let run = place.runtime_dir();
    // Nothing is deleted through a mount.
    if let Some(mount) = mountinfo::read()?.iter().find(|mount| mount.mount_point.starts_with(&run))
    {
        bail!("{} is still mounted", mount.mount_point.display());
    }
    if run.exists() {
        std::fs::remove_dir_all(&run)
            .with_context(|| format!("cannot remove {}", run.display()))?;
    }
    for file in [place.command_line(), place.previous(), place.program()] {
        files::remove(&file)?;
    }
    // Somebody else may have something there.
    for dir in
        [place.policy().parent(), Some(Path::new(DEFAULT_MOUNTPOINT)), Some(place.install_dir())]
    {
        let _ = dir.map(std::fs::remove_dir);
    }
    Ok(())
}

/// Empty by now, and harmless if not.
fn remove_cgroups(name: &str) {
    let mounts = mountinfo::read().unwrap_or_default();
    for mount in mounts.iter().filter(|mount| mount.fs_type.starts_with("cgroup")) {
        let _ = std::fs::remove_dir(mount.mount_point.join(name));
    }
}
