//! `resview daemon`: serves the view to all containers, in the foreground.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use sd_notify::NotifyState;
use viewfs::Upkeep;

use crate::cli::{DEFAULT_MOUNTPOINT, DaemonOptions};
use crate::exit_codes;
use crate::logging;
use crate::mountpoint::{Occupied, check_empty, check_free};
use crate::runtime_dir;
use crate::serve::{ServeOptions, Subtype};
use crate::service::{Service, default_threads};

/// Runs the daemon until it is told to stop; exit code 0 then, 1 if it could not start.
pub(crate) fn main(options: &DaemonOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn run(options: &DaemonOptions) -> anyhow::Result<()> {
    logging::start(options.log.as_deref(), "info")?;
    let mountpoint = prepare(&options.mountpoint)?;
    let upkeep = Upkeep {
        histories: Some(runtime_dir::histories(&options.runtime_dir, &mountpoint)),
        blkio_accounting: options.blkio_accounting,
    };
    let options = ServeOptions {
        mountpoint,
        upkeep,
        subtype: Subtype::Resview,
        policy: options.view.policy()?,
        threads: options.threads.unwrap_or_else(default_threads),
        triggers: true,
    };
    let service = Service::start(&options, &[])?;
    notify(NotifyState::Ready);
    let result = service.run(|_, _| {});
    notify(NotifyState::Stopping);
    result
}

/// The directory to mount on. The default one is made; any other has to be there, because a name
/// mistyped would else become a directory.
fn prepare(mountpoint: &Path) -> anyhow::Result<PathBuf> {
    if mountpoint == Path::new(DEFAULT_MOUNTPOINT) {
        make_default(mountpoint)?;
    }
    let mountpoint = check_free(mountpoint, Occupied::ByAnything)?;
    check_empty(&mountpoint)?;
    Ok(mountpoint)
}

fn make_default(mountpoint: &Path) -> anyhow::Result<()> {
    match std::fs::create_dir_all(mountpoint) {
        // A dead view is there; the check that follows says so.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOTCONN) => Ok(()),
        result => result.with_context(|| format!("cannot make {}", mountpoint.display())),
    }
}

/// Tells systemd, if it is systemd that started us.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot reach the socket in NOTIFY_SOCKET");
    }
}
