//! `resview install` and `uninstall`: what makes engines call Resview.
//!
//! Everything is a [`Plan`] of [`Step`]s first, which can be printed (`--dry-run`) and then applied
//! below a root that a package or a test may choose. A plan has only what is not there yet, so an
//! installed front end gives an empty one.
//!
//! Taking back leaves what containers that were made with it need in order to start again or to be
//! stopped: a CDI file with a harmless edit, Docker's runtime name, a hook that does nothing. Only
//! [`Options::purge`] takes that away, too.

mod cdi;
mod containerd;
mod docker;
mod hook_link;
mod lxc;
mod oci;
mod plan;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use plan::{Plan, Step};

use crate::policy::OptIn;

/// What engines start as hook: a link to the binary, so that something harmless can take its place
/// when the binary is gone.
pub const HOOK: &str = "/usr/lib/resview/oci-hook";

/// What engines start as runtime: a link to the binary of this name.
pub const WRAPPER: &str = "/usr/bin/resview-runtime";

/// A front end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// hooks.d of Podman and CRI-O.
    Oci,
    /// `--device resview.dev/view=on`.
    Cdi,
    /// The runtime wrapper in daemon.json.
    Docker,
    /// The runtime wrapper in containerd's configuration.
    Containerd,
    /// `common.conf.d` of LXC, LXD and Incus.
    Lxc,
}

impl Target {
    /// All, in the order of the help text.
    pub const ALL: [Self; 5] = [Self::Oci, Self::Cdi, Self::Docker, Self::Containerd, Self::Lxc];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Cdi => "cdi",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Lxc => "lxc",
        }
    }
}

/// There is no such front end.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "cannot install into {0:?}; use oci (Podman, CRI-O), cdi, docker, containerd or lxc (LXC, LXD, Incus)"
)]
pub struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(word: &str) -> Result<Self, TargetError> {
        match word {
            "podman" | "cri-o" => Ok(Self::Oci),
            "lxd" | "incus" => Ok(Self::Lxc),
            word => {
                let mut all = Self::ALL.into_iter();
                all.find(|target| target.name() == word).ok_or_else(|| TargetError(word.to_owned()))
            }
        }
    }
}

/// How to install and uninstall.
#[derive(Clone, Debug)]
pub struct Options {
    /// Before every path that is read or written; `/` for this machine.
    pub root: PathBuf,
    /// The binary, as engines will see it.
    pub binary: PathBuf,
    /// Where the shared tree is mounted: for LXC.
    pub mountpoint: PathBuf,
    /// Which containers: hooks.d and the wrapper; missing: all, or what a wrapper's configuration
    /// says already.
    pub view: Option<OptIn>,
    /// Whether containers without the view must not start.
    pub required: bool,
    /// Docker: make the wrapper the default runtime.
    pub default_runtime: bool,
    /// The wrapper's environment hints; missing: as configured already, else none.
    pub hints: Option<bool>,
    /// The real runtime of the wrapper; missing: as configured already, else the first of runc and
    /// crun.
    pub runtime: Option<PathBuf>,
    /// Uninstalling: take away even what containers may need.
    pub purge: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/"),
            binary: PathBuf::from("/usr/bin/resview"),
            mountpoint: PathBuf::from("/var/lib/resview"),
            view: None,
            required: false,
            default_runtime: false,
            hints: None,
            runtime: None,
            purge: false,
        }
    }
}

/// Why there is no plan, or why it was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file of an engine is not understood, so it is not touched.
    #[error("{} is not changed: {reason}; correct it first", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is odd.
        reason: String,
    },
    /// The engine's default runtime cannot be wrapped.
    #[error(
        "Docker's default runtime {name:?} {reason}; name the runtime to wrap with --runtime, or leave out --default"
    )]
    Runtime {
        /// The runtime's name in daemon.json.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A step failed. Those before it are done.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was to be done.
        step: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What is to be done so that an engine calls Resview.
///
/// # Errors
/// A file of the engine is not understood.
pub fn install(target: Target, options: &Options) -> Result<Plan, InstallError> {
    let mut plan = Plan::new(&options.root);
    match target {
        Target::Oci => oci::install(&mut plan, options),
        Target::Cdi => cdi::install(&mut plan, options),
        Target::Docker => docker::install(&mut plan, options)?,
        Target::Containerd => containerd::install(&mut plan, options)?,
        Target::Lxc => lxc::install(&mut plan, options),
    }
    Ok(plan)
}

/// What is to be done so that an engine no longer does.
///
/// # Errors
/// A file of the engine is not understood.
pub fn uninstall(target: Target, options: &Options) -> Result<Plan, InstallError> {
    let mut plan = Plan::new(&options.root);
    match target {
        Target::Oci => oci::uninstall(&mut plan, options),
        Target::Cdi => cdi::uninstall(&mut plan, options),
        Target::Docker => docker::uninstall(&mut plan, options)?,
        Target::Containerd => containerd::uninstall(&mut plan, options),
        Target::Lxc => lxc::uninstall(&mut plan, options),
    }
    Ok(plan)
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
