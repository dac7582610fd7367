//! Real container engines: each starts a container by the flag that is documented for it, and what is
//! promised of it is looked at; and LXCFS's ways of use, by this program under that name. The engines are
//! this machine's, or those of another suite of Debian.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::live;
use super::tally::Tally;
use super::{Outcome, ci, dist};
use crate::program::Program;
use crate::vm::suite;
use crate::{packages, repo, sh};

/// What the checks themselves need.
pub(super) const PROGRAMS: [&str; 4] = ["mmdebstrap", "ip", "jq", "lxcfs"];

/// What the root of another suite has: the engines, and what the checks need.
const IN_ROOT: &str = "containerd,crun,docker-cli,docker.io,iproute2,iptables,jq,lxc,lxcfs,mawk,podman,\
                       procps,runc,util-linux";

/// What containers consist of: what reads /proc and /sys, and a shell.
const IN_CONTAINERS: &str = "dash,coreutils,grep,libc-bin,mawk,ncurses-base,procps,sed,util-linux";

/// A suite whose programs run under every kernel that tests meet.
const SUITE: &str = "bookworm";

/// What is called for each engine, and last what calls it.
const SCRIPTS: [&str; 9] = [
    super::COMMON,
    include_str!("engines/surroundings.sh"),
    include_str!("engines/docker.sh"),
    include_str!("engines/podman.sh"),
    include_str!("engines/containerd.sh"),
    include_str!("engines/oci.sh"),
    include_str!("engines/lxc.sh"),
    include_str!("engines/lxcfs.sh"),
    include_str!("engines/run.sh"),
];

/// Runs `engines/run.sh` on this machine, in mount and network namespaces of its own; with the engines of
/// `suite` if there is one.
///
/// # Errors
/// When something does not build, or the script ends before its last check.
pub(super) fn run(suite: Option<&str>) -> Result<Outcome> {
    let program = Program::build(dist::VERSION)?;
    let cache = repo::cache()?;
    let image = image(&cache)?;
    let work = tempfile::Builder::new().prefix("engines-").tempdir()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "bash", "-c"]);
    if let Some(suite) = suite {
        command.args([ENTER, "engines"]).arg(root(&cache, suite)?);
    }
    command.arg(script());
    if suite.is_none() {
        command.arg("engines");
    }
    command.args([&program.path, &image]).arg(work.path());
    command.arg(format!("resview-engines-{}", suite.unwrap_or("own")));
    // Podman's word about cgroup v1, before each answer.
    let ended = live::run(command.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1"))?;
    let tally = Tally::read(&ended.output, &ended.output, ci());
    if (!ended.good && tally.failed == 0) || tally.passed == 0 {
        bail!("the checks did not come to their end: see the output above");
    }
    Ok(Outcome::Ran(tally))
}

/// What makes another suite's root the root.
const ENTER: &str = include_str!("engines/enter.sh");

/// All in one, as bash takes it.
fn script() -> String {
    SCRIPTS.concat().replace("@INSIDE@", include_str!("engines/inside.sh"))
}

/// The root of containers, as a tar archive; made first if it is not there yet.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn image(cache: &Path) -> Result<PathBuf> {
    let image = cache.join("engines.tar");
    let _lock = repo::lock(cache)?;
    if !image.is_file() {
        let dir = tempfile::Builder::new().prefix("engines-").tempdir_in(cache)?;
        let (root, part) = (dir.path().join("root"), dir.path().join("part.tar"));
        bootstrap(&root)?;
        sh::run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&part).arg("."))?;
        std::fs::rename(&part, &image)
            .with_context(|| format!("cannot move {}", part.display()))?;
    }
    Ok(image)
}

/// The folder with the engines of `suite`, made first if it is not there yet.
///
/// # Errors
/// When it cannot be made.
pub(super) fn root(cache: &Path, suite: &str) -> Result<PathBuf> {
    let _lock = repo::lock(cache)?;
    let dir = cache.join(format!("engines-{suite}"));
    if !dir.is_dir() {
        let part = cache.join(format!("engines-{suite}.part"));
        // A part left over by an interrupted run is not trusted.
        sh::run(Command::new("rm").arg("-rf").arg(&part))?;
        println!("making a root of {suite} with its engines");
        suite::bootstrap(suite, IN_ROOT, &part)?;
        std::fs::rename(&part, &dir).with_context(|| format!("cannot move {}", part.display()))?;
    }
    Ok(dir)
}

/// Unpacks the programs. Nothing of them has to be set up but awk.
fn bootstrap(root: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--mode=root", "--variant=extract", "--keyring=/usr/share/keyrings"])
        .arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
        .arg("--dpkgopt=path-exclude=/usr/share/*")
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg(format!("--include={IN_CONTAINERS}"))
        .arg(SUITE)
        .arg(root)
        .arg(packages::mirror()?);
    sh::run(&mut command)?;
    std::os::unix::fs::symlink("mawk", root.join("usr/bin/awk")).context("cannot link awk")?;
    for dir in ["dev", "proc", "run", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(dir)).with_context(|| format!("cannot make {dir}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_understands_the_script() {
        for script in [&script(), ENTER] {
            sh::run(Command::new("bash").args(["-n", "-c", script])).unwrap();
        }
        assert!(!script().contains("@INSIDE@"));
    }
}
