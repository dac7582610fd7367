//! The packages of both formats: what they have, what they need, what they run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::tally::Tally;
use crate::program::Program;
use crate::stage::Package;
use crate::{deb, repo, rpm, sh};

/// The version that the step after this one installs first: it is built once.
pub(super) const VERSION: &str = "0.1.0";

/// Makes all packages and looks at them.
///
/// # Errors
/// When one cannot be made, or is not as it has to be.
pub(super) fn run() -> Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("dist-").tempdir_in(repo::target()?)?;
    let program = Program::build(VERSION)?;
    let rpms = rpm::build(&program, dir.path())?;
    for (package, rpm) in Package::ALL.into_iter().zip(&rpms) {
        let deb = deb::build(package, &program, dir.path())?;
        deb_is_sound(package, &deb)?;
        rpm_is_sound(package, rpm)?;
        same_files(&files_of_deb(&deb)?, &files_of_rpm(rpm)?)
            .with_context(|| format!("{} and {}", deb.display(), rpm.display()))?;
        unpacked_is_sound(&deb, dir.path())?;
        println!("{}: deb and rpm are sound", package.name());
    }
    installs(&rpms, dir.path())?;
    Ok(Outcome::Ran(Tally::default()))
}

fn dpkg_deb(what: &str, deb: &Path) -> Result<String> {
    sh::output(Command::new("dpkg-deb").arg(what).arg(deb))
}

fn deb_is_sound(package: Package, deb: &Path) -> Result<()> {
    let control = dpkg_deb("-f", deb)?;
    let name = package.name();
    let mut wanted = vec![
        format!("Package: {name}"),
        format!("Version: {VERSION}"),
        "Architecture: ".to_owned(),
    ];
    if package == Package::Lxcfs {
        wanted.push(format!("Depends: resview (= {VERSION})"));
        wanted
            .extend(["Provides: lxcfs", "Conflicts: lxcfs", "Replaces: lxcfs"].map(str::to_owned));
    }
    for line in wanted {
        let there = control.lines().any(|said| said.starts_with(&line));
        ensure!(there, "{}: no line {line:?} in its control file:\n{control}", deb.display());
    }
    let alone = package == Package::Resview;
    ensure!(!alone || !control.contains("Depends:"), "{} needs other packages", deb.display());
    let contents = dpkg_deb("-c", deb)?;
    for line in contents.lines() {
        ensure!(line.contains(" root/root "), "{}: wrong owner: {line}", deb.display());
        let mode = line.get(..10).unwrap_or_default();
        // Nothing that others may change, and nothing that makes whoever runs it root.
        let odd = mode.contains(['s', 't']) || mode.get(5..6) == Some("w");
        ensure!(mode.starts_with('l') || !odd, "{}: wrong mode: {line}", deb.display());
    }
    Ok(())
}

fn rpm_is_sound(package: Package, rpm: &Path) -> Result<()> {
    let about = query(rpm, &["--qf", "%{NAME} %{VERSION}"])?;
    let wanted = format!("{} {VERSION}", package.name());
    ensure!(about == wanted, "{} says that it is {about}", rpm.display());
    for need in query(rpm, &["--requires"])?.lines() {
        let ours = package == Package::Lxcfs
            && (need.starts_with("resview = ") || need.ends_with("/update-alternatives"));
        let fine = need.starts_with("rpmlib(") || need == "/bin/sh" || ours;
        ensure!(fine, "{} needs {need}", rpm.display());
    }
    let scripts = query(rpm, &["--scripts"])?;
    for what in ["install", "upgrade", "remove"] {
        let call = format!("/usr/lib/resview/maintain {what} ");
        ensure!(scripts.contains(&call), "{}: no {call:?} in its scripts", rpm.display());
    }
    for script in ["%{POSTIN}", "%{PREUN}", "%{POSTUN}"] {
        let text = query(rpm, &["--qf", script])?;
        sh::run(Command::new("sh").args(["-n", "-c", &text]))
            .with_context(|| format!("{}: {script}", rpm.display()))?;
    }
    Ok(())
}

fn query(rpm: &Path, what: &[&str]) -> Result<String> {
    sh::output(Command::new("rpm").arg("-qp").args(what).arg(rpm))
}

/// Mode and path of each file.
type Files = BTreeSet<String>;

fn files_of_deb(deb: &Path) -> Result<Files> {
    // -rwxr-xr-x root/root 123 2026-01-01 00:00 ./usr/bin/resview
    let contents = dpkg_deb("-c", deb)?;
    let files = contents.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let mode = words.next()?;
        let path = words.nth(4)?.strip_prefix('.')?;
        (!mode.starts_with('d')).then(|| format!("{mode} {path}"))
    });
    Ok(files.collect())
}

fn files_of_rpm(rpm: &Path) -> Result<Files> {
    let lines = query(rpm, &["--qf", "[%{FILEMODES:perms} %{FILENAMES}\\n]"])?;
    Ok(lines.lines().filter(|line| !line.starts_with('d')).map(str::to_owned).collect())
}

/// Both have the same files, each where its distributions look for them.
fn same_files(deb: &Files, rpm: &Files) -> Result<()> {
    let elsewhere = |file: &String| {
        file.replace("/etc/default/", "/etc/sysconfig/")
            .replace("/zsh/vendor-completions/", "/zsh/site-functions/")
    };
    let of_debian = |file: &&String| !file.ends_with("/etc/needrestart/conf.d/resview.conf");
    let wanted: Files = deb.iter().filter(of_debian).map(elsewhere).collect();
    let differ: Vec<&String> = wanted.symmetric_difference(rpm).collect();
    ensure!(differ.is_empty(), "only one of the two has {differ:?}");
    Ok(())
}

/// rpm itself installs them, finds every file as it should be, and takes them away again.
fn installs(rpms: &[PathBuf], out: &Path) -> Result<()> {
    let root = tempfile::Builder::new().prefix("root-").tempdir_in(out)?;
    let rpm = |what: &[&str]| {
        let mut command = Command::new("rpm");
        // Its scripts need a shell in that root. Those are run by dpkg in the virtual machine.
        command.arg("--root").arg(root.path()).args(what).stdout(Stdio::null());
        command
    };
    sh::run(rpm(&["--install", "--nodeps", "--noscripts"]).args(rpms))?;
    let names = Package::ALL.map(Package::name);
    sh::run(rpm(&["--verify", "--nodeps", "--noscripts"]).args(names))?;
    sh::run(rpm(&["--erase", "--noscripts"]).args(names))?;
    let left = sh::output(Command::new("find").arg(root.path()).args(["-name", "*resview*"]))?;
    ensure!(left.is_empty(), "removed, but there still: {left}");
    Ok(())
}

/// What shells, man and the boot loader of programs make of the files.
fn unpacked_is_sound(deb: &Path, out: &Path) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("unpacked-").tempdir_in(out)?;
    sh::run(Command::new("dpkg-deb").arg("-R").arg(deb).arg(dir.path()))?;
    sh::run(&mut sh::script(LOOK, &[dir.path().as_os_str()]))
        .with_context(|| format!("in {}", deb.display()))
}

const LOOK: &str = r#"cd "$1"
# Pages have no date: the same source is to make the same page.
for page in usr/share/man/man1/*.gz; do
    ! gunzip -c "$page" | mandoc -T lint -W warning | grep -v 'missing date'
done
for script in DEBIAN/p* usr/lib/resview/maintain usr/share/lxcfs/*; do
    [ ! -e "$script" ] || sh -n "$script"
done
completions=usr/share/bash-completion/completions/resview
if [ -e $completions ]; then
    bash -n $completions
    bash -c "source $completions && complete -p resview" >/dev/null
    ! command -v zsh >/dev/null || zsh -n usr/share/zsh/vendor-completions/_resview
    ! command -v fish >/dev/null || fish -n usr/share/fish/vendor_completions.d/resview.fish
fi
sed 's,^/,,' DEBIAN/conffiles | while read -r file; do [ -f "$file" ]; done
md5sum --quiet -c DEBIAN/md5sums
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn files(lines: &[&str]) -> Files {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_file_that_one_format_lacks_is_named() {
        let deb = files(&[
            "-rwxr-xr-x /usr/bin/resview",
            "-rw-r--r-- /etc/default/resview",
            "-rw-r--r-- /etc/needrestart/conf.d/resview.conf",
        ]);
        let program = "-rwxr-xr-x /usr/bin/resview";
        same_files(&deb, &files(&[program, "-rw-r--r-- /etc/sysconfig/resview"])).unwrap();
        let error = same_files(&deb, &files(&[program])).unwrap_err().to_string();
        assert!(error.contains("/etc/sysconfig/resview"), "{error}");
        let other_mode = ["-rw-r--r-- /usr/bin/resview", "-rw-r--r-- /etc/sysconfig/resview"];
        assert!(same_files(&deb, &files(&other_mode)).is_err());
    }
}
