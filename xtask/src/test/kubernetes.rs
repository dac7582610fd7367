//! Kubernetes of current releases: a control plane, pods by containerd or CRI-O alone, and a whole
//! node. What is started and how is in `crate::kubernetes`; what is checked is in scripts here.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::live::{self, Tee};
use super::tally::Tally;
use super::{Outcome, ci, dist, engines};
use crate::kubernetes::{CONTROL_PLANE, CRI, Harness, NODE, Needs};
use crate::program::Program;
use crate::vm::Machine;
use crate::{deploy, repo, sh};

/// What the scripts call besides what is built for them.
pub(super) const PROGRAMS: [&str; 4] = ["busybox", "ip", "jq", "openssl"];

/// What every list of checks begins with.
const BEGIN: &str = include_str!("kubernetes/begin.sh");
/// And ends with.
const END: &str = include_str!("kubernetes/end.sh");

/// What is checked at a control plane without nodes.
const OF_CONTROL_PLANE: &[&str] = &[
    include_str!("kubernetes/deploy.sh"),
    include_str!("kubernetes/webhook.sh"),
    include_str!("kubernetes/run.sh"),
];
/// What is checked with pods by containerd or CRI-O alone.
const OF_CRI: &[&str] = &[
    include_str!("nri/kinds.sh"),
    include_str!("nri/restarts.sh"),
    include_str!("nri/older.sh"),
    include_str!("nri/crio.sh"),
    include_str!("nri/run.sh"),
];
/// The suites of Debian whose containerd is older in what matters to NRI: 1.7 and 2.1.
const OLDER: [&str; 2] = ["trixie", "forky"];
/// What is checked on a node.
const OF_NODE: &[&str] = &[
    include_str!("kubelet/pods.sh"),
    include_str!("kubelet/installer.sh"),
    include_str!("kubelet/kinds.sh"),
    include_str!("kubelet/run.sh"),
];

/// Manifests, webhook and policies at a real API server.
///
/// # Errors
/// When something cannot be built, or the script ends before its last check.
pub(super) fn control_plane() -> Result<Outcome> {
    let job = Job::new(Needs::ControlPlane, "kubernetes", CONTROL_PLANE, OF_CONTROL_PLANE)?;
    deploy::check()?;
    natively(&job)
}

/// The NRI plugin at a real containerd, at older ones and at CRI-O, on this machine.
///
/// # Errors
/// As [`control_plane`].
pub(super) fn nri() -> Result<Outcome> {
    let mut job = Job::new(Needs::Cri, "nri", CRI, OF_CRI)?;
    for suite in OLDER {
        job.command.arg(engines::root(&repo::cache()?, suite)?);
    }
    natively(&job)
}

/// The same on pure cgroup v2, without the older ones.
///
/// # Errors
/// As [`control_plane`], and when there is no virtual machine.
pub(super) fn nri_v2() -> Result<Outcome> {
    virtually(&Job::new(Needs::Cri, "nri", CRI, OF_CRI)?, &Machine::for_tests())
}

/// Deployments, the `DaemonSet` and everything that a kubelet does, on this machine.
///
/// # Errors
/// As [`control_plane`].
pub(super) fn kubelet() -> Result<Outcome> {
    natively(&Job::new(Needs::Node, "kubelet", NODE, OF_NODE)?)
}

/// The same on pure cgroup v2, and with the `DaemonSet`, which starts the daemon on the host: that machine.
///
/// # Errors
/// As [`nri_v2`].
pub(super) fn kubelet_v2() -> Result<Outcome> {
    let machine = Machine { memory: NODE_MIB, cpus: NODE_CPUS, ..Machine::for_tests() };
    virtually(&Job::of_machine(Needs::Node, "kubelet", NODE, OF_NODE)?, &machine)
}

/// The memory of a virtual machine that is a node.
const NODE_MIB: u32 = 6144;
/// Its CPUs. Emulated ones wait for each other.
const NODE_CPUS: u32 = 2;

/// A script with everything that it needs.
struct Job {
    /// Holds the folder of the command.
    _harness: Harness,
    /// Holds the image of the installer.
    _image: TempDir,
    command: Command,
}

impl Job {
    fn new(needs: Needs, name: &str, scripts: &[&str], checks: &[&str]) -> Result<Self> {
        Self::with(needs, scripts, checks, |harness, script| {
            harness.command(script, &format!("resview-{name}"))
        })
    }

    /// For a machine that is there for nothing else.
    fn of_machine(needs: Needs, name: &str, scripts: &[&str], checks: &[&str]) -> Result<Self> {
        Self::with(needs, scripts, checks, |harness, script| {
            harness.command_of_machine(script, &format!("resview-{name}"))
        })
    }

    fn with(
        needs: Needs,
        scripts: &[&str],
        checks: &[&str],
        command: impl FnOnce(&Harness, &str) -> Command,
    ) -> Result<Self> {
        let program = Program::build(dist::VERSION)?;
        let harness = Harness::new(needs)?;
        let script = [scripts, &[BEGIN], checks, &[END]].concat().concat();
        let mut command = command(&harness, &script);
        command.arg(&program.path).arg(repo::root());
        let image = tempfile::Builder::new().prefix("kubernetes-").tempdir()?;
        if needs == Needs::Node {
            command.arg(deploy::archive(&program, "resview", image.path())?);
        }
        Ok(Self { _harness: harness, _image: image, command })
    }

    /// What a shell runs for it.
    fn line(&self) -> String {
        let mut line = "env".to_owned();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                let value = sh::quote(&value.to_string_lossy());
                let _ = write!(line, " {}={value}", name.to_string_lossy());
            }
        }
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        for word in words {
            let _ = write!(line, " {}", sh::quote(&word.to_string_lossy()));
        }
        line
    }
}

fn natively(job: &Job) -> Result<Outcome> {
    let mut shell = Command::new("sh");
    let ended = live::run(shell.args(["-c", &format!("exec {}", job.line())]))?;
    judge(&ended.output, ended.good)
}

fn virtually(job: &Job, machine: &Machine) -> Result<Outcome> {
    let mut output = Tee::default();
    let script = format!("echo {FIRST}\nexec {}\n", job.line());
    let status = machine.run(&script, &mut output)?;
    let output = output.text();
    // A guest that stalled has been started anew; what it said before does not count.
    judge(output.rsplit(FIRST).next().unwrap_or_default(), status == 0)
}

/// What the guest prints first.
const FIRST: &str = "the guest begins";

fn judge(output: &str, good: bool) -> Result<Outcome> {
    let tally = Tally::read(output, output, ci());
    if (!good && tally.failed == 0) || tally.passed == 0 {
        bail!("the checks did not come to their end: see the output above");
    }
    Ok(Outcome::Ran(tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_understands_the_scripts() {
        for (scripts, checks) in [(CONTROL_PLANE, OF_CONTROL_PLANE), (CRI, OF_CRI), (NODE, OF_NODE)]
        {
            let script = [scripts, &[BEGIN], checks, &[END]].concat().concat();
            sh::run(Command::new("bash").args(["-n", "-c", &script])).unwrap();
        }
    }
}
