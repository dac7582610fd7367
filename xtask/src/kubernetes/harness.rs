//! What runs scripts beside a Kubernetes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::build;
use super::versions::Needs;
use crate::{repo, test};

/// The scripts for a control plane: how checks are counted comes first.
pub(crate) const CONTROL_PLANE: &[&str] =
    &[include_str!("begin.sh"), test::COMMON, include_str!("control-plane.sh")];

/// Those for pods by containerd or CRI-O alone.
pub(crate) const CRI: &[&str] = &[
    include_str!("begin.sh"),
    test::COMMON,
    include_str!("control-plane.sh"),
    include_str!("containerd.sh"),
    include_str!("crio.sh"),
    include_str!("cri.sh"),
];

/// Those for a control plane and a node.
pub(crate) const NODE: &[&str] = &[
    include_str!("begin.sh"),
    test::COMMON,
    include_str!("control-plane.sh"),
    include_str!("containerd.sh"),
    include_str!("cri.sh"),
    include_str!("kubelet.sh"),
];

/// The programs, the root of containers, and an empty folder.
#[derive(Debug)]
pub(crate) struct Harness {
    path: OsString,
    image: PathBuf,
    work: tempfile::TempDir,
}

impl Harness {
    /// Builds what is missing.
    ///
    /// # Errors
    /// When something cannot be built.
    pub(crate) fn new(needs: Needs) -> Result<Self> {
        let mut folders = build::fetch(needs)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        folders.extend(std::env::split_paths(&path));
        let image = match needs {
            Needs::ControlPlane => PathBuf::new(),
            Needs::Cri | Needs::Node => test::image(&repo::cache()?)?,
        };
        Ok(Self {
            path: std::env::join_paths(folders).context("a folder with a colon in its name")?,
            image,
            work: tempfile::Builder::new().prefix("kubernetes-").tempdir()?,
        })
    }

    /// A script in mount and network namespaces of its own; what is added as arguments are its own.
    pub(crate) fn command(&self, script: &str, place: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--propagation", "private", "bash"]);
        self.with_script(command, script, place)
    }

    /// The same on a machine that is there for nothing else.
    pub(crate) fn command_of_machine(&self, script: &str, place: &str) -> Command {
        self.with_script(Command::new("bash"), script, place)
    }

    fn with_script(&self, mut command: Command, script: &str, place: &str) -> Command {
        command.args(["-c", script]);
        command.arg("kubernetes").arg(self.work.path()).arg(place).arg(&self.image);
        command.env("PATH", &self.path);
        command
    }
}
