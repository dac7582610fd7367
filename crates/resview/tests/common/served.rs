//! A daemon in a mount namespace of its own, and the program beside it.

#![allow(dead_code, unreachable_pub)] // as common is

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testkit::need_command;

use crate::common::*;

/// Whether this test can have one; says so where it cannot.
pub fn can_serve(test: &str) -> bool {
    can_run(test) && need_command(test, "unshare") && need_command(test, "nsenter")
}

pub struct Served {
    pub running: Running,
    pub mountpoint: PathBuf,
    dir: tempfile::TempDir,
}

impl Served {
    /// Starts it, and waits until all of its view is there.
    #[track_caller]
    pub fn start(options: &[&str]) -> Self {
        let served = Self::begin(&[options, &["--log", "warn"]].concat(), |_, _| {});
        eventually("the view is there", || is_complete(&served.view()));
        served
    }

    /// Starts it and does not wait; `prepare` gets the command and a directory for what is about it.
    pub fn begin(options: &[&str], prepare: impl FnOnce(&mut Command, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mountpoint = dir.path().join("view");
        std::fs::create_dir(&mountpoint).unwrap();
        let mut command = in_private_mounts(Path::new(RESVIEW));
        command.arg("daemon").arg("--mountpoint").arg(&mountpoint).args(options);
        command.arg("--runtime-dir").arg(dir.path().join("run"));
        prepare(&mut command, dir.path());
        Self { running: Running::start(&mut command), mountpoint, dir }
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Its view, from outside of its mount namespace.
    pub fn view(&self) -> PathBuf {
        seen_by(self.running.pid(), &self.mountpoint)
    }

    /// A process that outlives the daemon in its mount namespace.
    pub fn witness(&self) -> Running {
        let pid = self.running.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-m", "sh", "-c", "echo ready; exec sleep 3600"]);
        let mut witness = Running::start(&mut command);
        witness.wait_for("ready");
        witness
    }

    /// The program in the mount namespace of a process, told where the daemon is.
    pub fn command(&self, beside: u32, subcommand: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &beside.to_string(), "-m", RESVIEW, subcommand]);
        command.arg("--mountpoint").arg(&self.mountpoint);
        if subcommand != "run" {
            command.arg("--runtime-dir").arg(self.runtime_dir());
        }
        command.stdin(Stdio::null());
        command
    }

    /// The same, run to its end.
    pub fn run(&self, beside: u32, subcommand: &str, words: &[&str]) -> Output {
        self.command(beside, subcommand).args(words).output().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        kill_daemon(&self.mountpoint);
    }
}
