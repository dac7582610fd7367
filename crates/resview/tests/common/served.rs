//! A daemon in a mount namespace of its own, and the program beside it.

#![allow(unreachable_pub)] // as common is

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::*;

pub struct Served {
    pub running: Running,
    pub mountpoint: PathBuf,
    dir: tempfile::TempDir,
}

impl Served {
    /// Starts it, and waits until all of its view is there.
    #[track_caller]
    pub fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mountpoint = dir.path().join("view");
        std::fs::create_dir(&mountpoint).unwrap();
        let mut command = in_private_mounts(Path::new(RESVIEW));
        command.arg("daemon").arg("--mountpoint").arg(&mountpoint).args(options);
        command.arg("--runtime-dir").arg(dir.path().join("run")).args(["--log", "warn"]);
        let running = Running::start(&mut command);
        let view = seen_by(running.pid(), &mountpoint);
        eventually("the view is there", || is_complete(&view));
        Self { running, mountpoint, dir }
    }

    /// The program in the mount namespace of a process, told where the daemon is.
    pub fn command(&self, beside: u32, subcommand: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &beside.to_string(), "-m", RESVIEW, subcommand]);
        command.arg("--mountpoint").arg(&self.mountpoint);
        if subcommand != "run" {
            command.arg("--runtime-dir").arg(self.dir.path().join("run"));
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
