//! What is in the packages, laid out in a folder as it will be on a machine.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::program::Program;
use crate::{repo, sh};

/// A kind of package, as far as places differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Deb,
    Rpm,
}

/// Each package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    /// The program, its service, manual and completions.
    Resview,
    /// What stands where LXCFS's package stood.
    Lxcfs,
}

impl Package {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Resview, Self::Lxcfs];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Resview => "resview",
            Self::Lxcfs => "resview-lxcfs",
        }
    }

    /// A path in the repository, one in the package, and the mode.
    fn files(self) -> &'static [(&'static str, &'static str, u32)] {
        match self {
            Self::Resview => &[
                ("packaging/maintain", "usr/lib/resview/maintain", 0o755),
                (
                    "packaging/systemd/resview.service",
                    "usr/lib/systemd/system/resview.service",
                    0o644,
                ),
                ("packaging/systemd/before-253.conf", "usr/lib/resview/before-253.conf", 0o644),
                ("packaging/debian/copyright", "usr/share/doc/resview/copyright", 0o644),
                ("README.md", "usr/share/doc/resview/README.md", 0o644),
                ("CHANGELOG.md", "usr/share/doc/resview/CHANGELOG.md", 0o644),
                ("docs/control.md", "usr/share/doc/resview/control.md", 0o644),
                ("docs/packages.md", "usr/share/doc/resview/packages.md", 0o644),
                ("docs/reliability.md", "usr/share/doc/resview/reliability.md", 0o644),
                ("LICENSE", "usr/share/doc/resview/LICENSE", 0o644),
                ("LICENSE-APACHE", "usr/share/doc/resview/LICENSE-APACHE", 0o644),
                ("LICENSE-MIT", "usr/share/doc/resview/LICENSE-MIT", 0o644),
            ],
            Self::Lxcfs => &[
                ("packaging/lxcfs/lxcfs.service", "usr/lib/systemd/system/lxcfs.service", 0o644),
                ("packaging/lxcfs/lxc.reboot.hook", "usr/share/lxcfs/lxc.reboot.hook", 0o755),
                (
                    "packaging/lxcfs/00-lxcfs.conf",
                    "usr/share/lxc/config/common.conf.d/00-lxcfs.conf",
                    0o644,
                ),
                ("packaging/debian/copyright", "usr/share/doc/resview-lxcfs/copyright", 0o644),
            ],
        }
    }
}

/// Where the program goes.
const PROGRAM: &str = "usr/bin/resview";
/// The hook that LXC runs, without the mountpoint in it.
const LXC_HOOK: &str = "crates/runtimes/src/install/lxc.mount.hook";

/// Lays out the files of `package` in `stage`.
///
/// # Errors
/// When a file is missing or cannot be copied, or the program does not print what is made from it.
pub(crate) fn lay_out(
    package: Package,
    format: Format,
    program: &Program,
    stage: &Path,
) -> Result<()> {
    for (from, to, mode) in package.files() {
        copy(&repo::root().join(from), &stage.join(to), *mode)?;
    }
    let options = match format {
        Format::Deb => "etc/default",
        Format::Rpm => "etc/sysconfig",
    };
    let root = repo::root();
    match package {
        Package::Resview => {
            copy(&program.path, &stage.join(PROGRAM), 0o755)?;
            copy(&root.join("packaging/default"), &stage.join(options).join("resview"), 0o644)?;
            if format == Format::Deb {
                let to = stage.join("etc/needrestart/conf.d/resview.conf");
                copy(&root.join("packaging/needrestart.conf"), &to, 0o644)?;
            }
            completions(format, program, stage)?;
        }
        Package::Lxcfs => {
            let to = stage.join(options).join("lxcfs");
            copy(&root.join("packaging/lxcfs/default"), &to, 0o644)?;
            lxcfs(stage)?;
        }
    }
    manual(package, program, stage)?;
    // Whatever the umask was.
    sh::run(&mut sh::script(r#"find "$1" -type d -exec chmod 755 {} +"#, &[stage.as_os_str()]))
}

/// The alternative for the command, and LXC's hook.
fn lxcfs(stage: &Path) -> Result<()> {
    let link = stage.join("usr/lib/resview/lxcfs");
    make_parent(&link)?;
    symlink("../../bin/resview", &link)?;
    let hook = std::fs::read_to_string(repo::root().join(LXC_HOOK)).context(LXC_HOOK)?;
    let hook = hook.replace("@MOUNTPOINT@", "/var/lib/lxcfs");
    write(&stage.join("usr/share/lxcfs/lxc.mount.hook"), hook.as_bytes(), 0o755)
}

fn completions(format: Format, program: &Program, stage: &Path) -> Result<()> {
    let zsh = match format {
        Format::Deb => "usr/share/zsh/vendor-completions/_resview",
        Format::Rpm => "usr/share/zsh/site-functions/_resview",
    };
    for (shell, to) in [
        ("bash", "usr/share/bash-completion/completions/resview"),
        ("fish", "usr/share/fish/vendor_completions.d/resview.fish"),
        ("zsh", zsh),
    ] {
        let script = sh::output(Command::new(&program.path).args(["completions", shell]))?;
        write(&stage.join(to), script.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The man pages: each package has those of its commands.
fn manual(package: Package, program: &Program, stage: &Path) -> Result<()> {
    let pages = tempfile::tempdir().context("cannot make a temporary folder")?;
    sh::run(Command::new(&program.path).arg("__man").arg(pages.path()))?;
    for page in std::fs::read_dir(pages.path())? {
        let page = page?;
        let name = page.file_name().to_string_lossy().into_owned();
        if name.starts_with("lxcfs") != (package == Package::Lxcfs) {
            continue;
        }
        // Without time and name in it, so that the same source makes the same package.
        let packed = Command::new("gzip").args(["-9nc"]).arg(page.path()).output();
        let packed = packed.context("cannot start gzip")?;
        anyhow::ensure!(packed.status.success(), "gzip failed for {name}");
        write(&stage.join(format!("usr/share/man/man1/{name}.gz")), &packed.stdout, 0o644)?;
    }
    Ok(())
}

/// Copies a file.
///
/// # Errors
/// When it cannot be read or written.
pub(crate) fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    make_parent(to)?;
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    make_parent(to)?;
    std::fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn make_parent(of: &Path) -> Result<()> {
    let parent = of.parent().context("a file has a folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}
