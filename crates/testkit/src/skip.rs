//! What tests say besides passing and failing: that they cannot run here, by name and reason (under
//! `CI=true` they fail instead), and what they measured.

use std::io::Write;
use std::path::Path;

/// Reports that `test` does not run here, and why.
///
/// Prints `SKIPPED <test>: <reason>` to standard error and appends the same line to the file that
/// `RESVIEW_SKIPS` names, from which `cargo xtask test` makes its summary (libtest captures the
/// output of tests that pass).
///
/// # Panics
/// With `CI=true`: there, whatever cannot run has to be made to run.
pub fn skip(test: &str, reason: &str) {
    say(&format!("SKIPPED {test}: {reason}\n"));
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test} cannot run here ({reason}), and CI=true makes a skipped test a failed one"
    );
}

/// Reports what `test` measured, for the summary of `cargo xtask test`.
///
/// # Panics
/// When the file that `RESVIEW_SKIPS` names cannot be written.
pub fn figures(test: &str, figures: &str) {
    say(&format!("FIGURES {test}: {figures}\n"));
}

fn say(line: &str) {
    eprint!("{line}");
    if let Some(list) = std::env::var_os("RESVIEW_SKIPS") {
        // One write of one short line: tests of several processes append to the same file.
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&list)
            .and_then(|mut list| list.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("cannot append to RESVIEW_SKIPS {list:?}: {error}"));
    }
}

/// Whether the caller is root; says that `test` is skipped where it is not.
#[must_use]
pub fn need_root(test: &str) -> bool {
    need(rustix::process::geteuid().is_root(), test, "needs root")
}

/// Whether `/dev/fuse` can be opened; says that `test` is skipped where it cannot.
#[must_use]
pub fn need_fuse(test: &str) -> bool {
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    match device {
        Ok(_) => true,
        Err(error) => need(false, test, &format!("needs /dev/fuse: {error}")),
    }
}

/// Whether `command` is in `PATH`; says that `test` is skipped where it is not.
#[must_use]
pub fn need_command(test: &str, command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| is_executable(&dir.join(command)));
    need(found, test, &format!("needs the command {command}"))
}

fn need(met: bool, test: &str, reason: &str) -> bool {
    if !met {
        skip(test, reason);
    }
    met
}

fn is_executable(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_path() {
        assert!(need_command("commands_are_found_in_path", "sh"));
        assert!(!is_executable(Path::new("/etc/passwd")));
        assert!(!is_executable(Path::new("/etc")));
    }
}
