//! Processes in containers that open, read, write and poll as they are told.

use std::path::Path;
use std::process::Command;

use testkit::TestCgroup;

pub(crate) use crate::common::client::{Client, per_cgroup};
use crate::common::client::{PYTHON, View};
use crate::support::{Daemon, can_serve, example, in_mounts_of};

pub(crate) fn can_have_clients(test: &str) -> bool {
    can_serve(test) && testkit::need_command(test, PYTHON)
}

impl View for Daemon {
    fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    fn command(&self) -> Command {
        in_mounts_of(self.witness())
    }
}

/// The reader that never pauses, for which a line is a question how often it has read.
pub(crate) fn hammer(daemon: &Daemon, threads: u32, path: &str, cgroup: &TestCgroup) -> Client {
    let words = [example("hammer"), threads.to_string().into(), daemon.mountpoint.join(path)];
    Client::of(daemon, &words.map(Into::into), Some(cgroup))
}
