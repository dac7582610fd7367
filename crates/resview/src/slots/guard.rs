//! The process that covers the slots when all others are gone.
//!
//! Whoever keeps the FUSE connections alive also holds the write end of a pipe whose read end is
//! this process's standard input. End of file there means that nobody does any more, service
//! manager included: the view is dead for good.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{PROC_SUPER_MAGIC, statfs};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::place::{Detached, Position};
use super::{Shown, Slots, slots_of};
use crate::logging;
use crate::mountpoint::has_view;

/// How often to look whether the view is mounted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// `SYSFS_MAGIC` of linux/magic.h.
const SYSFS_MAGIC: u32 = 0x6265_6572;

/// With a view and a directory as its arguments: lays the slots there, waits until nobody serves
/// the view any more, and covers them with the host's own files.
///
/// # Errors
/// The slots cannot be laid or covered.
pub(crate) fn main(arguments: &[OsString]) -> anyhow::Result<()> {
    let [view, dir] = arguments else { bail!("a view and a directory for slots, please") };
    let (view, dir) = (Path::new(view), Path::new(dir));
    logging::start(None, "info")?;
    outlive_the_terminal()?;
    let slots = Slots::new(dir.to_owned());
    if !wait_for_view(view)? {
        return Ok(());
    }
    // First what is needed at the end, when the host may be short of everything.
    let covers = covers(view)?;
    slots.lay(view)?;
    tracing::info!(slots = %dir.display(), count = covers.len(), "slots are laid");
    wait_for_end()?;
    tracing::warn!("nobody serves the view any more; the slots show the host's files");
    cover(&slots, &covers)
}

/// Waits until all of the view is mounted; `false`: it never came.
fn wait_for_view(view: &Path) -> anyhow::Result<bool> {
    // The pressure files come last, into a directory of the view. Asking about that waits for the
    // first worker, which this process may.
    let stdin = rustix::stdio::stdin();
    for place in [view.to_owned(), view.join("proc/pressure")] {
        while !has_view(&place)? && (place == view || place.is_dir()) {
            let mut pipe = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut pipe, Some(&LOOK)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(false),
                Err(errno) => return Err(errno).context("cannot wait on standard input"),
            }
        }
    }
    Ok(true)
}

/// It has to be there when those who stop the others are done.
fn outlive_the_terminal() -> anyhow::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .context("cannot take over the signals")?;
    }
    Ok(())
}

/// A mount of the host's own file for every slot.
fn covers(view: &Path) -> anyhow::Result<Vec<(PathBuf, Detached)>> {
    let mut covers = Vec::new();
    for slot in slots_of(view)? {
        let on_host = Path::new("/").join(&slot.path);
        if is_kernels_own(&on_host) {
            covers.push((slot.path, Detached::clone_of(&on_host)?));
        } else {
            tracing::warn!(path = %on_host.display(), "not the kernel's own: no cover for it");
        }
    }
    Ok(covers)
}

/// Whether the path leads to procfs or sysfs, and not to something mounted over it.
fn is_kernels_own(path: &Path) -> bool {
    let kernels = |kind: u32| kind == SYSFS_MAGIC || i64::from(kind) == PROC_SUPER_MAGIC;
    statfs(path).is_ok_and(|stat| u32::try_from(stat.f_type).is_ok_and(kernels))
}

fn wait_for_end() -> anyhow::Result<()> {
    // Nobody writes; a byte would mean nothing.
    let copied = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    copied.map(drop).context("cannot wait on standard input")
}

/// Every slot that shows a view gets its cover; one that fails does not keep the others from it.
fn cover(slots: &Slots, covers: &[(PathBuf, Detached)]) -> anyhow::Result<()> {
    let mut result = Ok(());
    for (path, shown) in slots.shown()? {
        let Some((_, cover)) = covers.iter().find(|(of, _)| *of == path) else { continue };
        if shown == Shown::View
            && let Err(error) = cover.put(&slots.dir.join(&path), Position::Top)
        {
            tracing::error!(slot = %path.display(), error = format!("{error:#}"), "not covered");
            result = Err(error);
        }
    }
    result
}
