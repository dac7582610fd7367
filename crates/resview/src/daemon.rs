//! `resview daemon`: serves the view to all containers, in the foreground.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use hostfs::HostFs;
use supervisor::Ended;
use view::catalogue::{FilePolicy, PRESSURE};
use view::policy::Policy;
use viewfs::Upkeep;

use crate::cli::{DEFAULT_MOUNTPOINT, DaemonOptions, Transport};
use crate::exit_codes;
use crate::logging;
use crate::mountpoint::{Occupied, check_empty, check_free, resolve};
use crate::runtime_dir;
use crate::serve::{ServeOptions, Subtype, default_threads};
use crate::supervise::{OnStop, Reach, Supervision, SupervisionOptions};
use crate::worker::Settings;

/// Runs the daemon until it is told to stop; exit code 0 then, 1 if it could not start. Under a
/// service manager, an end that somebody asked for by `resview stop` has a code of its own.
/// `arguments` is the command line from `daemon` on.
pub(crate) fn main(options: &DaemonOptions, arguments: &[OsString]) -> ExitCode {
    match run(options, arguments) {
        Ok(Ended::Stopped) if std::env::var_os("NOTIFY_SOCKET").is_some() => {
            exit_codes::STOPPED.into()
        }
        Ok(Ended::Stopped | Ended::Otherwise) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn run(options: &DaemonOptions, arguments: &[OsString]) -> anyhow::Result<Ended> {
    logging::start(options.log.as_deref(), "info")?;
    if options.transport == Transport::IoUring {
        check_io_uring(&options.supervision)?;
    }
    let policy = options.view.policy()?;
    let mountpoint = prepare(&options.mountpoint)?;
    let usual = || runtime_dir::containers(&options.runtime_dir, &mountpoint);
    let containers = options.containers.as_deref().map_or_else(|| Ok(usual()), resolve)?;
    let supervision = Supervision {
        mountpoint: &mountpoint,
        runtime_dir: &options.runtime_dir,
        reach: Some(Reach {
            containers,
            group: options.group.clone(),
            log: options.log.clone(),
            plugin: options.nri.then(|| options.plugin.clone()),
        }),
        subtype: Subtype::Resview,
        transport: match options.transport {
            Transport::Device => supervisor::Transport::Device,
            Transport::IoUring => supervisor::Transport::IoUring,
        },
        pressure: has_pressure(&policy)?,
        worker_arguments: arguments.to_vec(),
        options: &options.supervision,
        usr2_switches: false,
        before_mount: check_before_mount,
    };
    supervision.run()
}

/// Refuses what a connection that ends with its worker cannot do.
fn check_io_uring(options: &SupervisionOptions) -> anyhow::Result<()> {
    let impossible = [
        (options.on_stop == OnStop::Keep, "--on-stop keep: no later daemon could take over"),
        (options.slots, "--slots: they would show a dead view for as long as the daemon runs"),
        (options.requests_per_second.is_some(), "--requests-per-second: no request can be put off"),
    ];
    match impossible.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => bail!("--transport io-uring does not go together with {what}"),
        None => Ok(()),
    }
}

/// What a worker of this daemon serves at `mountpoint`.
pub(crate) fn worker_settings(
    options: &DaemonOptions,
    mountpoint: &Path,
) -> anyhow::Result<Settings> {
    let upkeep = Upkeep {
        histories: Some(runtime_dir::histories(&options.runtime_dir, mountpoint)),
        registrations: Some(runtime_dir::registrations(&options.runtime_dir, mountpoint)),
        blkio_accounting: options.blkio_accounting,
        ..Upkeep::default()
    };
    let serve = ServeOptions {
        mountpoint: mountpoint.to_owned(),
        upkeep,
        subtype: Subtype::Resview,
        policy: options.view.policy()?,
        threads: options.threads.unwrap_or_else(default_threads),
        triggers: true,
    };
    Ok(Settings {
        serve,
        memory_bytes: Some(options.supervision.memory_limit.0),
        requests_per_second: options.supervision.requests_per_second,
        log: options.log.clone(),
    })
}

/// Whether there are to be pressure files: not where the operator wants none, nor with `psi=0`, nor
/// where the kernel was built without.
pub(crate) fn has_pressure(policy: &Policy) -> anyhow::Result<bool> {
    let wanted = policy.of_file(PRESSURE) != FilePolicy::Absent;
    Ok(wanted && HostFs::mount()?.proc.stat(PRESSURE).is_ok())
}

/// The directory to mount on. The default one is made; any other has to be there, because a name
/// mistyped would else become a directory.
fn prepare(mountpoint: &Path) -> anyhow::Result<PathBuf> {
    if mountpoint == Path::new(DEFAULT_MOUNTPOINT) {
        make_default(mountpoint)?;
    }
    Ok(resolve(mountpoint)?)
}

/// Asked if there is no daemon to take over from.
fn check_before_mount(mountpoint: &Path) -> Result<(), String> {
    let checked = check_free(mountpoint, Occupied::ByAnything).and_then(|path| check_empty(&path));
    checked.map_err(|error| error.to_string())
}

fn make_default(mountpoint: &Path) -> anyhow::Result<()> {
    match std::fs::create_dir_all(mountpoint) {
        // A dead view is there, which nobody can tell from a file: what is there is looked at later.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOTCONN) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result.with_context(|| format!("cannot make {}", mountpoint.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_uring_goes_with_nothing_that_it_cannot_keep() {
        let usual = SupervisionOptions::default();
        assert!(check_io_uring(&usual).is_ok());
        let with = |change: fn(&mut SupervisionOptions)| {
            let mut options = usual.clone();
            change(&mut options);
            check_io_uring(&options).unwrap_err().to_string()
        };
        assert!(with(|options| options.on_stop = OnStop::Keep).contains("--on-stop keep"));
        assert!(with(|options| options.slots = true).contains("--slots"));
        let rate = |options: &mut SupervisionOptions| {
            options.requests_per_second = Some(std::num::NonZeroU32::MIN);
        };
        assert!(with(rate).contains("--requests-per-second"));
    }
}
