//! Which powers the worker keeps.

use std::path::PathBuf;

use anyhow::Context;
use cgroup::{Controller, Layout};
use hostfs::HostFs;
use sandbox::{OnViolation, Report, Sandbox};

use super::Settings;

/// Set to `log`, it has the kernel log calls that the filter would refuse: to find what is missing.
const VARIABLE: &str = "RESVIEW_SECCOMP";

/// The sandbox that this process is in.
#[derive(Debug)]
pub(super) struct Prison {
    sandbox: Sandbox,
    report: Report,
    /// Whether files are still made when everything runs.
    makes_files: bool,
}

impl Prison {
    /// Enters it, for good. `rings`: requests come through some.
    pub(super) fn enter(settings: &Settings, rings: bool) -> anyhow::Result<Self> {
        let serve = &settings.serve;
        let mut writable: Vec<PathBuf> = serve.upkeep.histories.iter().cloned().collect();
        for dir in &writable {
            // It has to be there to be kept.
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let makes_files = serve.upkeep.blkio_accounting;
        if makes_files {
            writable.extend(blkio_hierarchy()?);
        }
        let logs = std::env::var_os(VARIABLE).is_some_and(|value| value == "log");
        let sandbox = Sandbox {
            writable,
            // For the names in backtraces.
            readable: std::env::current_exe().into_iter().collect(),
            triggers: serve.triggers,
            rings,
            memory: settings.memory_bytes,
            core_dumps: false,
            on_violation: if logs { OnViolation::Log } else { OnViolation::Refuse },
        };
        let report = sandbox::enter(&sandbox)?;
        tracing::info!("sandbox: {report}");
        Ok(Self { sandbox, report, makes_files })
    }

    /// Gives up making files too, when all that are needed are there.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        if !self.makes_files {
            sandbox::settle(&self.sandbox)?;
        }
        Ok(())
    }

    /// What is in force.
    pub(super) fn report(&self) -> &Report {
        &self.report
    }
}

/// Where a cgroup is made for a moment, for each new disk: see `--blkio-accounting`.
fn blkio_hierarchy() -> anyhow::Result<Option<PathBuf>> {
    let layout = Layout::detect(&HostFs::mount()?)?;
    let hierarchy = layout.hierarchy_of(Controller::Io);
    Ok(hierarchy.map(|hierarchy| hierarchy.mount_point().to_owned()))
}
