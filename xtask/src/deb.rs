//! `cargo xtask deb`: a Debian package with one statically linked program.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{repo, sh};

/// Options of `cargo xtask deb`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The version of the package and of the program [default: that of the workspace]
    #[arg(long)]
    version: Option<String>,
    /// Where to put the package [default: target/deb]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What goes where, as it is in the repository: its path there and in the package.
const FILES: &[(&str, &str)] = &[
    ("packaging/systemd/resview.service", "usr/lib/systemd/system/resview.service"),
    ("packaging/systemd/before-253.conf", "usr/lib/resview/before-253.conf"),
    ("packaging/needrestart.conf", "etc/needrestart/conf.d/resview.conf"),
    ("packaging/debian/copyright", "usr/share/doc/resview/copyright"),
    ("README.md", "usr/share/doc/resview/README.md"),
    ("CHANGELOG.md", "usr/share/doc/resview/CHANGELOG.md"),
    ("LICENSE", "usr/share/doc/resview/LICENSE"),
    ("LICENSE-APACHE", "usr/share/doc/resview/LICENSE-APACHE"),
    ("LICENSE-MIT", "usr/share/doc/resview/LICENSE-MIT"),
];

/// Where the program goes.
const PROGRAM: &str = "usr/bin/resview";

/// What dpkg asks about before it replaces an operator's version.
const CONFFILES: &str = "/etc/needrestart/conf.d/resview.conf\n";

/// The scripts that dpkg runs.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// Builds the package and prints its path.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let version = args.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    let out = match &args.out {
        Some(dir) => dir.clone(),
        None => repo::target()?.join("deb"),
    };
    println!("{}", build(version, &out)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the package of `version` in `out`; returns its path.
///
/// # Errors
/// When the program does not compile, is not static, or dpkg-deb fails.
pub(crate) fn build(version: &str, out: &Path) -> Result<PathBuf> {
    if version.is_empty()
        || version.contains(|c: char| !c.is_ascii_alphanumeric() && !".+~-".contains(c))
    {
        bail!("{version:?} is no version of a Debian package");
    }
    let program = static_build("resview", "resview", version)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let stage = tempfile::Builder::new().prefix("stage-").tempdir_in(out)?;
    install(&program, stage.path(), PROGRAM, 0o755)?;
    for (from, to) in FILES {
        install(&repo::root().join(from), stage.path(), to, 0o644)?;
    }
    let architecture = sh::output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    control(stage.path(), version, architecture)?;
    let package = out.join(format!("resview_{version}_{architecture}.deb"));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--build"]).arg(stage.path()).arg(&package);
    sh::run(pack.stdout(std::process::Stdio::null()))?;
    Ok(package)
}

/// Builds a program of the workspace that needs no library at run time; returns its path.
///
/// # Errors
/// When it does not compile, or needs one all the same.
pub(crate) fn static_build(package: &str, name: &str, version: &str) -> Result<PathBuf> {
    let about = sh::output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say what it builds for")?;
    // With --target, the flags are not those of build scripts and macros, which cannot be static.
    sh::run(
        repo::cargo()
            .args(["build", "--release", "--quiet", "-p", package, "--bin", name, "--target", host])
            .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=debuginfo")
            .env("RESVIEW_VERSION", version),
    )?;
    let program = repo::target()?.join(host).join("release").join(name);
    // ldd fails for a static program, and says why.
    let linked = Command::new("ldd").arg(&program).output().context("cannot start ldd")?;
    let says = [linked.stdout, linked.stderr].concat();
    let says = String::from_utf8_lossy(&says);
    if !says.contains("statically linked") && !says.contains("not a dynamic executable") {
        bail!("{} is not static: {says}", program.display());
    }
    Ok(program)
}

fn install(from: &Path, stage: &Path, to: &str, mode: u32) -> Result<()> {
    let to = stage.join(to);
    std::fs::create_dir_all(to.parent().unwrap_or(stage))?;
    std::fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn control(stage: &Path, version: &str, architecture: &str) -> Result<()> {
    let packaging = repo::root().join("packaging/debian");
    for name in SCRIPTS {
        install(&packaging.join(name), stage, &format!("DEBIAN/{name}"), 0o755)?;
    }
    let sums = r#"cd "$1"; find usr etc -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums
        find . -type d -exec chmod 755 {} +; du -sk --exclude=DEBIAN . | cut -f1"#;
    let size = sh::output(&mut sh::script(sums, &[stage.as_os_str()]))?;
    let template = std::fs::read_to_string(packaging.join("control"))?;
    let text = template
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", size.trim());
    std::fs::write(stage.join("DEBIAN/control"), text)?;
    std::fs::write(stage.join("DEBIAN/conffiles"), CONFFILES)?;
    Ok(())
}
