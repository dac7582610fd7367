//! The package under a real systemd, in a virtual machine: containers read while the service is restarted,
//! killed, upgraded and stopped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::live::Tee;
use super::tally::Tally;
use super::{Outcome, ci, dist};
use crate::program::{Program, static_build};
use crate::stage::Package;
use crate::vm::Machine;
use crate::{deb, repo};

/// The versions of the two builds, the older one first.
const VERSIONS: [&str; 2] = [dist::VERSION, "0.1.0+b"];

/// How long the guest may take. This only bounds a hang: it takes minutes on an idle machine of two CPUs,
/// and half an hour on one with ten times as much to do.
const LIMIT_S: u64 = 40 * 60;

/// As few as show the view something to choose from. Emulated ones wait for each other, and each has
/// some dozens of files to read.
const CPUS: u32 = 2;

/// What the guest prints first.
const BEGIN: &str = "the guest begins";

/// What runs in the guest, in this order.
const SCRIPTS: [&str; 5] = [
    include_str!("systemd/readers.sh"),
    include_str!("systemd/service.sh"),
    include_str!("systemd/clock.sh"),
    include_str!("systemd/node.sh"),
    include_str!("systemd/run.sh"),
];

/// Builds packages of two versions, and runs `systemd/run.sh` with them.
///
/// # Errors
/// When something does not build, or the guest ends before its last check.
pub(super) fn run(suite: &str) -> Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("systemd-").tempdir_in(repo::cache()?)?;
    let ([older, newer], reader) = programs()?;
    let package = |of, program, name| moved(&deb::build(of, program, dir.path())?, name);
    let mut files = vec![
        package(Package::Lxcfs, &older, "lxcfs.deb")?,
        package(Package::Resview, &older, "a.deb")?,
        package(Package::Resview, &newer, "b.deb")?,
        reader,
    ];
    let container = dir.path().join("container.sh");
    std::fs::write(&container, include_str!("systemd/container.sh"))?;
    files.push(container);

    let systemd = Some(suite.to_owned());
    let machine = Machine { systemd, files, cpus: CPUS, limit: LIMIT_S, ..Machine::for_tests() };
    let mut output = Tee::default();
    let script = format!("echo {BEGIN}\n{}", SCRIPTS.concat());
    let status = machine.run(&script, &mut output)?;
    let output = output.text();
    // A guest that stalled has been started anew; what it said before does not count.
    let output = output.rsplit(BEGIN).next().unwrap_or_default();
    let tally = Tally::read(output, output, ci());
    if (status != 0 && tally.failed == 0) || tally.passed == 0 {
        bail!("the guest did not come to its end: see the output above");
    }
    Ok(Outcome::Ran(tally))
}

/// Both versions of the program, and the one that reads in containers.
///
/// # Errors
/// When something does not compile.
pub(super) fn programs() -> Result<([Program; 2], PathBuf)> {
    let reader = static_build("testkit", "reader", VERSIONS[0])?;
    let [older, newer] = VERSIONS;
    Ok(([Program::build(older)?, Program::build(newer)?], reader))
}

fn moved(from: &Path, name: &str) -> Result<PathBuf> {
    let to = from.with_file_name(name);
    std::fs::rename(from, &to).with_context(|| format!("cannot move {}", from.display()))?;
    Ok(to)
}
