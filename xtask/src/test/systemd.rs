//! The package under a real systemd, in a virtual machine: containers read while the service is restarted,
//! killed, upgraded and stopped.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::live::Tee;
use super::tally::Tally;
use super::{Outcome, ci};
use crate::vm::Machine;
use crate::{deb, repo, sh};

/// The versions of the two builds, the older one first.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.0+b"];

/// How long the guest may take. This only bounds a hang: it takes minutes on an idle machine of two CPUs,
/// and half an hour on one with ten times as much to do.
const LIMIT_S: u64 = 40 * 60;

/// As few as show the view something to choose from. Emulated ones wait for each other, and each has
/// some dozens of files to read.
const CPUS: u32 = 2;

/// What the guest prints first.
const BEGIN: &str = "the guest begins";

/// What runs in the guest, in this order.
const SCRIPTS: [&str; 4] = [
    include_str!("systemd/readers.sh"),
    include_str!("systemd/service.sh"),
    include_str!("systemd/clock.sh"),
    include_str!("systemd/run.sh"),
];

/// Builds two packages, looks at them, and runs `systemd/run.sh` with them.
///
/// # Errors
/// When something does not build, or the guest ends before its last check.
pub(super) fn run(suite: &str) -> Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("systemd-").tempdir_in(repo::cache()?)?;
    let mut files = Vec::new();
    for (version, name) in VERSIONS.into_iter().zip(["a.deb", "b.deb"]) {
        let package = deb::build(version, dir.path())?;
        sound(&package, version)?;
        let file = dir.path().join(name);
        std::fs::rename(&package, &file)?;
        files.push(file);
    }
    files.push(deb::static_build("testkit", "reader", VERSIONS[0])?);
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

/// What every package has to be.
fn sound(package: &Path, version: &str) -> Result<()> {
    let dpkg_deb = |what: &str| sh::output(Command::new("dpkg-deb").arg(what).arg(package));
    let about = dpkg_deb("-I")?;
    for line in ["Package: resview", &format!("Version: {version}"), "Architecture: "] {
        if !about.lines().any(|said| said.trim().starts_with(line)) {
            bail!("{}: no line {line:?} in its control file:\n{about}", package.display());
        }
    }
    if about.contains("Depends:") {
        bail!("{} needs other packages, though its program is static", package.display());
    }
    let contents = dpkg_deb("-c")?;
    for file in ["./usr/bin/resview", "./usr/lib/systemd/system/resview.service"] {
        let line = contents.lines().find(|line| line.ends_with(&format!(" {file}")));
        let line = line.with_context(|| format!("{} has no {file}", package.display()))?;
        let mode = if file.contains("/bin/") { "-rwxr-xr-x" } else { "-rw-r--r--" };
        if !line.starts_with(&format!("{mode} root/root ")) {
            bail!("{}: wrong owner or mode: {line}", package.display());
        }
    }
    // Nothing that others may change, and nothing that makes whoever runs it root.
    let odd = |line: &&str| {
        let mode = line.get(..10).unwrap_or_default();
        mode.contains(['s', 't']) || (mode.get(8..9) == Some("w") && !mode.starts_with('l'))
    };
    match contents.lines().find(odd) {
        Some(line) => bail!("{}: {line}", package.display()),
        None => Ok(()),
    }
}
