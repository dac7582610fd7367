//! The container's mounts: a proc of its own, the view over it, its own cgroups where the cgroups
//! are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use view::catalogue::SYS_DIRECTORIES;

use super::plan::Plan;

/// Arranges the mounts in this process's mount namespace, whose mounts are private already.
pub(super) fn arrange(plan: &Plan) -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
        .context("cannot mount the container's /proc")?;
    cover(&plan.view.join("proc"), Path::new("/proc"))?;
    cover_sys(&plan.view)?;
    for cgroup in &plan.cgroups {
        bind(&cgroup.dir, &cgroup.mount_point)?;
    }
    if let Some(scratch) = &plan.scratch {
        // The binds keep the view alive.
        umount2(scratch, MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {}", scratch.display()))?;
    }
    Ok(())
}

/// Makes every mount private, so that none of ours reaches the host.
pub(super) fn make_private() -> anyhow::Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("cannot make the mounts private")
}

/// Binds everything that the view has in `from` over what is named alike in `onto`. What is not
/// there (pressure files of a kernel without them) cannot be covered and need not be.
fn cover(from: &Path, onto: &Path) -> anyhow::Result<()> {
    for source in entries(from)? {
        let target = onto.join(source.file_name().unwrap_or_default());
        if target.exists() {
            bind(&source, &target)?;
        }
    }
    Ok(())
}

/// In sysfs, the view's directories are bound whole (`…/system/cpu`), because they have fewer
/// entries than the host's.
fn cover_sys(view: &Path) -> anyhow::Result<()> {
    for directory in &SYS_DIRECTORIES {
        let (source, target) = (view.join(directory.name), Path::new("/").join(directory.name));
        if source.is_dir() && target.is_dir() {
            bind(&source, &target)?;
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = || format!("cannot list the view in {}", dir.display());
    let entries = dir.read_dir().with_context(list)?;
    entries.map(|entry| Ok(entry.with_context(list)?.path())).collect()
}

fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    mount(Some(source), target, None::<&OsStr>, MsFlags::MS_BIND, None::<&OsStr>)
        .with_context(|| format!("cannot bind {} over {}", source.display(), target.display()))
}
