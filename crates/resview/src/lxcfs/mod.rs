//! Called as `lxcfs`: LXCFS's options, defaults, signals and exit codes, so that it can stand where
//! LXCFS stood. Options that have no effect here are named in the log.

mod options;
mod pidfile;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use view::catalogue::{FilePolicy, PRESSURE};
use view::policy::{CpuCount, FileOverrides, Policy};
use viewfs::Upkeep;

pub(crate) use self::options::Options;
use self::pidfile::Pidfile;
use crate::daemon::has_pressure;
use crate::exit_codes;
use crate::logging;
use crate::mountpoint::{Occupied, check_free, resolve};
use crate::runtime_dir::{self, DEFAULT_RUNTIME_DIR};
use crate::serve::{ServeOptions, Subtype, default_threads};
use crate::supervise::{Supervision, SupervisionOptions};
use crate::worker::Settings;

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
        eprintln!("\"{LXCFS_VERSION}\"\n\"resview {}\"", crate::cli::VERSION);
        return ExitCode::SUCCESS;
    }
    match run(&options, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lxcfs: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn run(options: &Options, arguments: &[OsString]) -> anyhow::Result<()> {
    logging::start(level(options), "info")?;
    let mountpoint = options.mountpoint.as_deref().context("a mountpoint is needed")?;
    let mountpoint = resolve(mountpoint)?;
    if let Some(dir) = &options.runtime_dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    // Held until the end; a second daemon is refused here, before it takes over from the first.
    let _pidfile = Pidfile::create(&options.pidfile())?;
    let without_effect = options.without_effect();
    if !without_effect.is_empty() {
        tracing::info!("accepted, without effect here: {}", without_effect.join(", "));
    }
    let worker_arguments =
        std::iter::once(OsString::from("lxcfs")).chain(arguments.iter().skip(1).cloned()).collect();
    let staying_alive =
        SupervisionOptions { on_stop: options.on_stop(), ..SupervisionOptions::default() };
    let supervision = Supervision {
        mountpoint: &mountpoint,
        runtime_dir: &own_runtime_dir(options),
        subtype: Subtype::Lxcfs,
        transport: supervisor::Transport::Device,
        pressure: has_pressure(&Policy {
            files: files(options, &mountpoint)?,
            ..Policy::default()
        })?,
        worker_arguments,
        reach: None,
        options: &staying_alive,
        usr2_switches: true,
        before_mount: |mountpoint| {
            let checked = check_free(mountpoint, Occupied::ByAView);
            checked.map(drop).map_err(|error| error.to_string())
        },
    };
    supervision.run().map(drop)
}

fn level(options: &Options) -> Option<&'static str> {
    options.debug.then_some("debug")
}

/// Below the directory that LXCFS uses, there is one for us.
fn own_runtime_dir(options: &Options) -> PathBuf {
    let runtime_dir = options.runtime_dir.as_ref().map(|dir| dir.join("resview"));
    runtime_dir.unwrap_or_else(|| DEFAULT_RUNTIME_DIR.into())
}

/// Which files are otherwise than usual.
///
/// Incus binds the tree of an instance's own LXCFS without what is mounted below it. In a user namespace
/// the kernel refuses that while something is, and the pressure files would keep containers from starting.
fn files(options: &Options, mountpoint: &Path) -> anyhow::Result<FileOverrides> {
    let mut files = FileOverrides::default();
    if !options.enable_loadavg {
        files.set("loadavg", FilePolicy::Host)?;
    }
    if is_of_an_instance(mountpoint) {
        files.set(PRESSURE, FilePolicy::Absent)?;
    }
    Ok(files)
}

/// Whether this is where Incus has an instance's own LXCFS: `/var/lib/incus/devices/INSTANCE/lxcfs`.
fn is_of_an_instance(mountpoint: &Path) -> bool {
    let mut names = mountpoint.iter().rev();
    names.next().is_some_and(|name| name == "lxcfs")
        && names.nth(1).is_some_and(|name| name == "devices")
}

/// What a worker serves at `mountpoint`.
pub(crate) fn worker_settings(options: &Options, mountpoint: &Path) -> anyhow::Result<Settings> {
    let histories = Some(runtime_dir::histories(&own_runtime_dir(options), mountpoint));
    let serve = ServeOptions {
        mountpoint: mountpoint.to_owned(),
        upkeep: Upkeep { histories, ..Upkeep::default() },
        subtype: Subtype::Lxcfs,
        policy: Policy {
            cpu_count: if options.enable_cfs { CpuCount::Quota } else { CpuCount::Cpuset },
            files: files(options, mountpoint)?,
            swap: !options.disable_swap,
            zswap: !options.disable_zswap,
            v1_swap_includes_memory: true,
            lxcfs_files_only: !options.all_files(),
            ..Policy::default()
        },
        threads: default_threads(),
        triggers: options.enable_psi_poll,
    };
    let supervision = SupervisionOptions::default();
    Ok(Settings {
        serve,
        memory_bytes: Some(supervision.memory_limit.0),
        requests_per_second: supervision.requests_per_second,
        log: level(options).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_known_by_where_incus_keeps_their_devices() {
        let of = |path| is_of_an_instance(Path::new(path));
        assert!(of("/var/lib/incus/devices/web/lxcfs"));
        assert!(of("/var/lib/incus/devices/project_web/lxcfs"));
        assert!(!of("/var/lib/lxcfs") && !of("/devices/lxcfs") && !of("/devices/web/other"));
        assert!(!of("/var/lib/lxc/lxcfs") && !of("/lxcfs") && !of("/"));
    }

    #[test]
    fn only_instances_have_no_pressure_files() {
        let options = Options::try_parse_from(["lxcfs", "/m"]).unwrap();
        let pressure = |path| {
            let files = files(&options, Path::new(path)).unwrap();
            Policy { files, ..Policy::default() }.of_file(PRESSURE)
        };
        assert_eq!(pressure("/var/lib/incus/devices/web/lxcfs"), FilePolicy::Absent);
        assert_ne!(pressure("/var/lib/lxcfs"), FilePolicy::Absent);
    }
}
