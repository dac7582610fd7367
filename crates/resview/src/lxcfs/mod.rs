//! Called as `lxcfs`: LXCFS's options, defaults, signals and exit codes, so that it can stand where
//! LXCFS stood. Options that have no effect here are named in the log.

mod options;
mod pidfile;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use signal_hook::consts::{SIGUSR1, SIGUSR2};
use view::catalogue::FilePolicy;
use view::policy::{CpuCount, FileOverrides, Policy};
use viewfs::Upkeep;

use self::options::Options;
use self::pidfile::Pidfile;
use crate::exit_codes;
use crate::logging;
use crate::mountpoint::{Occupied, check_free};
use crate::runtime_dir::{self, DEFAULT_RUNTIME_DIR};
use crate::serve::{ServeOptions, Serving, Subtype};
use crate::service::{Service, default_threads};

/// The version of LXCFS that this stands in for: managers compare it (Incus wants 6.0.1 at least).
const LXCFS_VERSION: &str = "7.0.0";

/// Runs as LXCFS: exit code 0 when stopped by a signal or unmounted, 1 for everything else,
/// `--help` included.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprint!("{error}");
            return exit_codes::FAILED.into();
        }
    };
    if options.version {
        eprintln!("\"{LXCFS_VERSION}\"\n\"resview {}\"", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lxcfs: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    logging::start(options.debug.then_some("debug"), "info")?;
    let mountpoint = options.mountpoint.as_deref().context("a mountpoint is needed")?;
    let serve = serve_options(options, mountpoint)?;
    if let Some(dir) = &options.runtime_dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    // Held until the end; a second daemon is refused here, before it mounts over the first.
    let _pidfile = Pidfile::create(&options.pidfile())?;
    // From here on LXCFS's users are watching: Incus starts us and does not wait. Mount first, do
    // everything else after.
    let service = Service::start(&serve, &[SIGUSR1, SIGUSR2])?;
    let without_effect = options.without_effect();
    if !without_effect.is_empty() {
        tracing::info!("accepted, without effect here: {}", without_effect.join(", "));
    }
    service.run(on_signal)
}

fn serve_options(options: &Options, mountpoint: &Path) -> anyhow::Result<ServeOptions> {
    let mountpoint = check_free(mountpoint, Occupied::ByAView)?;
    // Below the directory that LXCFS uses, there is one for us.
    let runtime_dir = options.runtime_dir.as_ref().map(|dir| dir.join("resview"));
    let runtime_dir = runtime_dir.unwrap_or_else(|| DEFAULT_RUNTIME_DIR.into());
    let histories = Some(runtime_dir::histories(&runtime_dir, &mountpoint));
    let mut files = FileOverrides::default();
    if !options.enable_loadavg {
        files.set("loadavg", FilePolicy::Host)?;
    }
    Ok(ServeOptions {
        mountpoint,
        upkeep: Upkeep { histories, ..Upkeep::default() },
        subtype: Subtype::Lxcfs,
        policy: Policy {
            cpu_count: if options.enable_cfs { CpuCount::Quota } else { CpuCount::Cpuset },
            files,
            swap: !options.disable_swap,
            zswap: !options.disable_zswap,
            v1_swap_includes_memory: true,
            lxcfs_files_only: !options.all_files(),
            ..Policy::default()
        },
        threads: default_threads(),
        triggers: options.enable_psi_poll,
    })
}

fn on_signal(serving: &Serving, signal: i32) {
    if signal == SIGUSR1 {
        tracing::info!("nothing needs reloading: there is no library apart from the program");
        return;
    }
    let on = !serving.is_virtual();
    serving.set_virtual(on);
    // LXCFS's words, which scripts look for; on standard error whatever the log level.
    eprintln!("Switched into {}virtualization mode", if on { "" } else { "non-" });
}
