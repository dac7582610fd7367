//! The steps of `cargo xtask test`, in their order.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use testkit::{Layout, layout};

use super::lanes::Lane;
use super::live::Tee;
use super::tally::Tally;
use super::{Outcome, binaries, ci, dist, engines, fuzz, kubernetes, live, systemd};
use crate::vm::Machine;
use crate::{instructions, packages, repo, rules, sh};

/// A step; the doc comment is what is printed when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// install the Debian packages that the tests use
    Packages,
    /// cargo fmt --check
    Fmt,
    /// the house rules: file lengths, unsafe code, who depends on whom
    Rules,
    /// what later steps need, compiled: the program linked statically in two versions, the fuzz targets
    Build,
    /// clippy, warnings are errors
    Clippy,
    /// the documentation, warnings are errors
    Doc,
    /// how many instructions each hot path takes, against those that are stored
    Instructions,
    /// all tests on this machine
    Native,
    /// the integration tests on pure cgroup v1
    V1,
    /// the integration tests on pure cgroup v2, in a virtual machine with Debian's 6.12 kernel
    V2,
    /// the packages for Debian and Fedora: what is in them, and what they run
    Dist,
    /// Docker, Podman, containerd, runc, crun and LXC, and LXCFS's ways of use, on this machine
    Engines,
    /// restarts, kills and upgrades of the package, under systemd in a virtual machine
    Systemd,
    /// each fuzz target for some seconds
    Fuzz,
    /// not by default: the container engines of Debian 13, on this machine
    EnginesTrixie,
    /// not by default: those of the Debian after it
    EnginesForky,
    /// not by default: restarts, kills and upgrades under the older systemd of Debian 12
    Systemd252,
    /// not by default: the integration tests on cgroup v1 as systemd mounts it, kernel 6.1
    V1Vm,
    /// not by default: the manifests, the webhook and the policy at a Kubernetes API server
    Kubernetes,
    /// not by default: the NRI plugin with current containerd, CRI-O and runc, on this machine
    Nri,
    /// not by default: the same on pure cgroup v2, in a virtual machine
    NriV2,
    /// not by default: a whole Kubernetes node on this machine
    Kubelet,
    /// not by default: the same on pure cgroup v2, with the DaemonSet, in a virtual machine
    KubeletV2,
}

impl Step {
    /// The name on the command line and in the table.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it does.
    pub(crate) fn help(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default()
    }

    /// Whether it runs when no step is named.
    pub(crate) fn by_default(self) -> bool {
        let engines = [Self::EnginesTrixie, Self::EnginesForky];
        let kubernetes = [Self::Kubernetes, Self::Nri, Self::NriV2, Self::Kubelet, Self::KubeletV2];
        ![Self::V1Vm, Self::Systemd252].contains(&self)
            && !engines.contains(&self)
            && !kubernetes.contains(&self)
    }

    /// With whom it runs.
    pub(super) fn lane(self) -> Lane {
        match self {
            Self::Packages | Self::Fmt | Self::Rules => Lane::First,
            Self::Build | Self::Clippy | Self::Doc | Self::Instructions | Self::Dist => Lane::Quiet,
            Self::Native | Self::V1 | Self::Fuzz => Lane::Main,
            _ if self.is_virtual() => Lane::Main,
            _ => Lane::Engines,
        }
    }

    /// Whether it runs in a virtual machine.
    pub(super) fn is_virtual(self) -> bool {
        [Self::V2, Self::Systemd, Self::Systemd252, Self::V1Vm, Self::NriV2, Self::KubeletV2]
            .contains(&self)
    }

    /// Runs it.
    ///
    /// # Errors
    /// When something fails that is not a test.
    pub(crate) fn run(self) -> Result<Outcome> {
        match self {
            Self::Packages => install_packages(),
            Self::Fmt => check(repo::cargo().args(["fmt", "--all", "--check"])),
            Self::Rules => rules(),
            Self::Build => build(),
            Self::Clippy => check(
                repo::cargo()
                    .args(["clippy", "--workspace", "--all-targets", "--quiet"])
                    .args(["--", "-D", "warnings"]),
            ),
            Self::Doc => check(
                repo::cargo()
                    .args(["doc", "--workspace", "--no-deps", "--quiet"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
            Self::Instructions => hot_paths(),
            Self::Native => native(),
            Self::V1 => v1(),
            Self::V2 => virtual_machine(&Machine::for_tests()),
            Self::Dist => distribution(),
            Self::Engines => with_engines(None),
            Self::EnginesTrixie => with_engines(Some("trixie")),
            Self::EnginesForky => with_engines(Some("forky")),
            Self::Systemd => under_systemd("trixie"),
            Self::Systemd252 => under_systemd("bookworm"),
            Self::Fuzz => fuzz::run(),
            Self::V1Vm => virtual_machine(&Machine {
                kernel: "6.1".to_owned(),
                cgroup: "v1".to_owned(),
                ..Machine::for_tests()
            }),
            Self::Kubernetes => with_kubernetes(kubernetes::control_plane),
            Self::Nri => with_kubernetes(kubernetes::nri),
            Self::NriV2 => virtual_kubernetes(kubernetes::nri_v2),
            Self::KubeletV2 => virtual_kubernetes(kubernetes::kubelet_v2),
            Self::Kubelet => with_kubernetes(kubernetes::kubelet),
        }
    }
}

fn check(command: &mut Command) -> Result<Outcome> {
    sh::run(command)?;
    Ok(Outcome::Ran(Tally::default()))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn install_packages() -> Result<Outcome> {
    if !packages::has_apt() {
        let reason = "without apt, what the tests miss has to be installed by hand";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    let missing = packages::missing()?;
    if !missing.is_empty() && !is_root() {
        let names = missing.join(" ");
        return Ok(Outcome::Skipped(format!("only root can install what is missing: {names}")));
    }
    packages::install()?;
    Ok(Outcome::Ran(Tally::default()))
}

fn rules() -> Result<Outcome> {
    let broken = rules::broken()?;
    if broken.is_empty() {
        return Ok(Outcome::Ran(Tally::default()));
    }
    bail!("house rules are broken:\n  {}", broken.join("\n  "))
}

fn build() -> Result<Outcome> {
    systemd::programs()?;
    fuzz::build()?;
    Ok(Outcome::Ran(Tally::default()))
}

fn hot_paths() -> Result<Outcome> {
    if let Some(reason) = instructions::missing() {
        return Ok(Outcome::Skipped(reason));
    }
    let found = instructions::check()?;
    let failed = found.bad.len() as u64;
    Ok(Outcome::Ran(Tally { passed: found.good, failed, failures: found.bad, ..Tally::default() }))
}

fn native() -> Result<Outcome> {
    with_skips(repo::cargo().args(["test", "--workspace", "--no-fail-fast"]))
}

/// A mount namespace of its own, in which the cgroup2 mount of a hybrid machine is gone.
fn v1() -> Result<Outcome> {
    match layout() {
        Layout::V1 => {
            println!("this machine is pure cgroup v1: the step before was this one");
            return Ok(Outcome::Ran(Tally::default()));
        }
        Layout::V2 => {
            return Ok(Outcome::Skipped("this machine has no cgroup v1 hierarchies".to_owned()));
        }
        Layout::Hybrid if !is_root() => {
            return Ok(Outcome::Skipped("hiding the cgroup2 mount needs root".to_owned()));
        }
        Layout::Hybrid => {}
    }
    let hide = "awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts | xargs -r umount\n";
    let script = format!("set -e\n{hide}set +e\n{}", binaries::script(&binaries::build()?));
    let mut command = Command::new("unshare");
    with_skips(command.args(["--mount", "--propagation", "private", "sh", "-c", &script]))
}

fn distribution() -> Result<Outcome> {
    match missing(&["dpkg-deb", "rpmbuild", "mandoc"]) {
        Some(reason) => Ok(Outcome::Skipped(reason)),
        None => dist::run(),
    }
}

fn with_engines(suite: Option<&str>) -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::Skipped("engines need root".to_owned()));
    }
    match missing(&engines::PROGRAMS) {
        Some(reason) => Ok(Outcome::Skipped(reason)),
        None => engines::run(suite),
    }
}

fn with_kubernetes(run: fn() -> Result<Outcome>) -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::Skipped("namespaces need root".to_owned()));
    }
    match missing(&kubernetes::PROGRAMS) {
        Some(reason) => Ok(Outcome::Skipped(reason)),
        None => run(),
    }
}

fn virtual_kubernetes(run: fn() -> Result<Outcome>) -> Result<Outcome> {
    match no_machine() {
        Some(reason) => Ok(Outcome::Skipped(reason)),
        None => with_kubernetes(run),
    }
}

fn under_systemd(suite: &str) -> Result<Outcome> {
    match no_machine().or_else(|| missing(&["mmdebstrap", "dpkg-deb"])) {
        Some(reason) => Ok(Outcome::Skipped(reason)),
        None => systemd::run(suite),
    }
}

/// Why there can be no virtual machine here.
fn no_machine() -> Option<String> {
    if !is_root() {
        return Some("what a guest's root consists of belongs to root: needs root".to_owned());
    }
    missing(&["qemu-system-x86_64", "busybox", "depmod"])
}

fn missing(programs: &[&str]) -> Option<String> {
    let missing = programs.iter().find(|program| !sh::has(program));
    missing.map(|program| format!("{program} is not installed"))
}

fn virtual_machine(machine: &Machine) -> Result<Outcome> {
    if let Some(reason) = no_machine() {
        return Ok(Outcome::Skipped(reason));
    }
    let tests = binaries::script(&binaries::build()?);
    let script = format!(
        "echo {BEGIN}\nexport RESVIEW_SKIPS=/vm/skips\n: >/vm/skips\n(\n{tests})\nstatus=$?\n\
         sed 's/^/{MARK}/' /vm/skips\nexit $status\n"
    );
    let mut output = Tee::default();
    let status = machine.run(&script, &mut output)?;
    let output = output.text();
    // A guest that stalled has been started anew; what it said before does not count.
    let output = output.rsplit(BEGIN).next().unwrap_or_default();
    let skips: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix(MARK)).collect();
    judge(output, &skips.join("\n"), status == 0)
}

/// What the guest prints first.
const BEGIN: &str = "the guest begins";

/// What the guest puts before each line of its list of skipped tests.
const MARK: &str = "skip-list ";

/// Runs tests with a list in which they note that they were skipped.
fn with_skips(command: &mut Command) -> Result<Outcome> {
    let list = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let ended = live::run(command.env("RESVIEW_SKIPS", list.path()))?;
    let skips = std::fs::read_to_string(list.path()).context("cannot read the list of skips")?;
    judge(&ended.output, &skips, ended.good)
}

fn judge(output: &str, skips: &str, good: bool) -> Result<Outcome> {
    let tally = Tally::read(output, skips, ci());
    if !good && tally.failed == 0 {
        bail!("failed without a failed test: see the output above");
    }
    Ok(Outcome::Ran(tally))
}
