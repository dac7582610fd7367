//! The Debian packages that the tests use. Only what is missing is installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{repo, sh};

/// Runtimes to test with, programs that read the view, and what builds the virtual machine.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "containerd",
    "crun",
    "docker.io",
    "htop",
    "hwloc-nox",
    "iproute2",
    "iptables",
    "jq",
    "kmod",
    "lxc",
    "lxcfs",
    "mandoc",
    "mmdebstrap",
    "numactl",
    "openssl",
    "podman",
    "procps",
    "python3-pip",
    "python3-psutil",
    "rpm",
    "runc",
    "strace",
    "sysstat",
    "util-linux",
    "valgrind",
    "xz-utils",
];

const QEMU: &str = "qemu-system-x86";

/// Whether this is a Debian, or a system like it.
pub(crate) fn has_apt() -> bool {
    sh::has("dpkg-query") && sh::has("apt-get")
}

/// The packages that are not installed.
///
/// # Errors
/// On a machine without dpkg.
pub(crate) fn missing() -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for &package in PACKAGES.iter().chain(&[QEMU]) {
        if !installed(package)? {
            missing.push(package);
        }
    }
    Ok(missing)
}

/// Installs what is missing, and says so.
///
/// # Errors
/// Without dpkg, without root, or when apt-get fails.
pub(crate) fn install() -> Result<()> {
    let mut missing = missing()?;
    if missing.is_empty() {
        println!("all packages are there");
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("only root can install these packages: {}", missing.join(" "));
    }
    println!("installing from Debian, as they are missing: {}", missing.join(" "));
    sh::run(&mut apt_get(&[], &["update", "-qq"]))?;
    let qemu = missing.pop_if(|package| *package == QEMU).is_some();
    if !missing.is_empty() {
        quietly(apt_get(&[], INSTALL).args(&missing))?;
    }
    if qemu { install_qemu() } else { Ok(()) }
}

/// Installs some packages, as far as they are missing: those that only a build needs.
///
/// # Errors
/// Without dpkg, without root, or when apt-get fails.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let mut missing = Vec::new();
    for package in packages {
        if !installed(package)? {
            missing.push(*package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing from Debian, as they are missing: {}", missing.join(" "));
    sh::run(&mut apt_get(&[], &["update", "-qq"]))?;
    quietly(apt_get(&[], INSTALL).args(missing))
}

const INSTALL: &[&str] = &["install", "-qq", "--no-install-recommends"];

/// Bookworm's own qemu 7.2 emulates cmpxchg16b wrongly, which panics some guests; that of its
/// backports does not.
fn install_qemu() -> Result<()> {
    if suite()? != "bookworm" {
        return quietly(apt_get(&[], INSTALL).arg(QEMU));
    }
    let sources = PrivateSources::new(&["bookworm", "bookworm-backports"])?;
    let mut packages = vec![QEMU];
    // The two come from one source: an older qemu-utils would be removed.
    if installed("qemu-utils")? {
        packages.push("qemu-utils");
    }
    let install = [INSTALL, &["-t", "bookworm-backports"]].concat();
    quietly(apt_get(&sources.options, &install).args(packages))
}

/// Without dpkg's several lines for each package; errors are shown.
fn quietly(command: &mut Command) -> Result<()> {
    sh::run(command.stdout(std::process::Stdio::null()))
}

/// apt with a list of sources of its own, so that the machine's configuration stays as it is.
pub(crate) struct PrivateSources {
    /// Options for `apt-get` and `apt-cache`.
    pub(crate) options: Vec<String>,
}

impl PrivateSources {
    /// Fetches the package lists of the given suites from the mirror that this machine's apt uses.
    ///
    /// # Errors
    /// When apt knows no mirror of Debian, or fails.
    pub(crate) fn new(suites: &[&str]) -> Result<Self> {
        let dir = repo::cache()?.join("apt").join(suites.join("+"));
        let lists = dir.join("lists");
        std::fs::create_dir_all(lists.join("partial"))
            .with_context(|| format!("cannot make {}", lists.display()))?;
        let sources = dir.join("sources.list");
        let mirror = mirror()?;
        let lines = suites.iter().map(|suite| format!("deb {mirror} {suite} main\n"));
        std::fs::write(&sources, lines.collect::<String>())
            .with_context(|| format!("cannot write {}", sources.display()))?;
        let options = vec![
            format!("-oDir::Etc::sourcelist={}", sources.display()),
            "-oDir::Etc::sourceparts=-".to_owned(),
            format!("-oDir::State::lists={}", lists.display()),
            // Keys of other suites are in this folder, if Debian's keyring package is installed.
            "-oDir::Etc::trustedparts=/usr/share/keyrings".to_owned(),
            // apt's own user cannot enter a cache below /root.
            "-oAPT::Sandbox::User=root".to_owned(),
        ];
        sh::run(&mut apt_get(&options, &["update", "-qq"]))?;
        Ok(Self { options })
    }
}

/// `apt-get` that asks nothing and waits for another apt to finish.
pub(crate) fn apt_get(options: &[String], args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["-y", "-oDPkg::Lock::Timeout=300", "-oDpkg::Use-Pty=0"]).args(options).args(args);
    command
}

fn installed(package: &str) -> Result<bool> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output()
        .context("cannot start dpkg-query")?;
    Ok(output.stdout == b"installed")
}

/// The address from which apt fetches Debian's main archive.
pub(crate) fn mirror() -> Result<String> {
    let entries = sh::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(SITE) $(ORIGIN) $(LABEL)",
    ]))?;
    let site = entries.lines().find_map(|line| line.strip_suffix(" Debian Debian"));
    site.map(str::to_owned).context("apt knows no mirror of Debian: run `apt-get update`?")
}

/// The code name of this Debian, such as `bookworm`; empty on others.
fn suite() -> Result<String> {
    let path = Path::new("/etc/os-release");
    let text = std::fs::read_to_string(path).context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.unwrap_or_default().trim_matches('"').to_owned())
}
