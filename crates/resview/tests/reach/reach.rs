//! A daemon whose agent is asked, and what there is in containers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use api::{Answer, Attach, Client, ContainerAnswer, Detach, FileOutcome, Outcome};
use api::{Policy, Request, Selector, Status};
pub(crate) use testkit::mounts_of;

use crate::common::{eventually, seen_by};
use crate::support::{Daemon, can_serve};

/// No answer takes longer but one that never comes.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) fn can_reach(test: &str, commands: &[&str]) -> bool {
    can_serve(test) && commands.iter().all(|command| testkit::need_command(test, command))
}

/// A daemon that knows of no engine but those that a test makes up in its own `/run`.
pub(crate) struct Reach {
    pub(crate) daemon: Daemon,
}

impl Reach {
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Self {
        let options = [options, &["--log", "warn"]].concat();
        let daemon = Daemon::start_after(&options, |pid, _| {
            let target = format!("--target={pid}");
            let words = [target.as_str(), "-m", "mount", "-t", "tmpfs", "run", "/run"];
            assert!(Command::new("nsenter").args(words).status().unwrap().success());
        });
        let reach = Self { daemon };
        eventually("the agent answers", || reach.status().is_some());
        reach
    }

    /// A file of the daemon's directory below the runtime directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let entries = std::fs::read_dir(self.daemon.path("run")).unwrap();
        let mut dirs = entries.map(|entry| entry.unwrap().path());
        dirs.find(|dir| dir.join("registrations").exists()).unwrap().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("resview.sock")
    }

    /// What the container tree has under a path, as the host's root sees it.
    pub(crate) fn tree(&self, path: &str) -> PathBuf {
        seen_by(self.daemon.witness(), &self.path("containers")).join(path)
    }

    /// The ids that are registered.
    pub(crate) fn registered(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.path("registrations")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut ids: Vec<_> =
            names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        ids.sort();
        ids
    }

    pub(crate) fn try_ask(&self, request: &Request) -> Option<Vec<Answer>> {
        Client::ask(self.socket(), request, LONG).ok()
    }

    #[track_caller]
    pub(crate) fn ask(&self, request: &Request) -> Vec<Answer> {
        Client::ask(self.socket(), request, LONG).unwrap()
    }

    /// What the agent says of itself, once the view is in its place.
    pub(crate) fn status(&self) -> Option<Status> {
        if !self.daemon.path("run").exists() || self.daemon.worker().is_none() {
            return None;
        }
        let answers = self.try_ask(&Request::Status(api::Nothing {}))?;
        let status = answers.into_iter().find_map(|answer| match answer {
            Answer::Status { status } => Some(status),
            _ => None,
        })?;
        status.problems.is_empty().then_some(status)
    }

    #[track_caller]
    pub(crate) fn attach(&self, pid: u32) -> ContainerAnswer {
        self.attach_with(Selector::Pid(pid), None, None)
    }

    #[track_caller]
    pub(crate) fn attach_with(
        &self,
        container: Selector,
        files: Option<Vec<String>>,
        policy: Option<Policy>,
    ) -> ContainerAnswer {
        one(self.ask(&Request::Attach(Attach { container, files, policy })))
    }

    #[track_caller]
    pub(crate) fn detach(&self, pid: u32) -> ContainerAnswer {
        one(self.ask(&Request::Detach(Detach { container: Selector::Pid(pid) })))
    }

    /// The command line, which asks the same.
    pub(crate) fn resview(&self, words: &[&str]) -> Output {
        self.daemon.command(words)
    }
}

#[track_caller]
fn one(answers: Vec<Answer>) -> ContainerAnswer {
    match answers.into_iter().next() {
        Some(Answer::Container(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_attached(answer: &ContainerAnswer) {
    assert_eq!(answer.outcome, Outcome::Attached, "{answer:?}");
}

/// How many files of an answer came to that.
pub(crate) fn count(answer: &ContainerAnswer, outcome: FileOutcome) -> usize {
    answer.files.iter().filter(|file| file.outcome == outcome).count()
}

/// A file as the container has it at the path.
pub(crate) fn read_in(pid: u32, path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(seen_by(pid, Path::new(path)))
}

/// `MemTotal` of a container's `/proc/meminfo` in KiB.
#[track_caller]
pub(crate) fn mem_total(pid: u32) -> u64 {
    mem_total_of(&read_in(pid, "/proc/meminfo").unwrap())
}

#[track_caller]
pub(crate) fn mem_total_of(text: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with("MemTotal:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap()
}

pub(crate) fn hosts_mem_total() -> u64 {
    mem_total_of(&std::fs::read_to_string("/proc/meminfo").unwrap())
}

pub(crate) fn has_view(pid: u32) -> bool {
    mounts_of(pid).iter().any(|line| line.contains(" - fuse.resview "))
}

/// Whether anything of this daemon is mounted on the machine itself.
pub(crate) fn is_on_the_machine(reach: &Reach) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.contains(reach.daemon.path("").to_str().unwrap())
}
