//! What a runtime was asked to do, as far as the wrapper has to know.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The folder of the container that is to be made, with the file that describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Creation {
    pub(super) config: PathBuf,
}

/// Options before the command that take a value, in runc, crun or youki.
const GLOBAL_VALUES: &[&str] = &[
    "root",
    "log",
    "log-format",
    "log-level",
    "rootless",
    "criu",
    "cgroup-manager",
    "handler",
    "r",
    "l",
];

/// Options of `create` and `run` that take one.
const VALUES: &[&str] =
    &["bundle", "b", "config", "f", "console-socket", "pid-file", "preserve-fds", "pidfd-socket"];

/// The commands of the runtimes. Anything else before one of them is the value of an option that
/// is not in the list above.
const COMMANDS: &[&str] = &[
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "help",
    "info",
    "init",
    "kill",
    "list",
    "mounts",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
    "completion",
    "version",
];

/// One argument that begins with a dash, taken apart.
struct Flag<'a> {
    name: &'a str,
    value: Option<&'a OsStr>,
}

fn flag(argument: &OsStr) -> Option<Flag<'_>> {
    let bytes = argument.as_bytes();
    // runc's parser takes one dash for two.
    let text = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    let (name, value) = match text.iter().position(|&byte| byte == b'=') {
        Some(at) => (text.get(..at)?, text.get(at.checked_add(1)?..).map(OsStr::from_bytes)),
        None => (text, None),
    };
    Some(Flag { name: std::str::from_utf8(name).unwrap_or_default(), value })
}

/// Where the description of the container lies that these arguments make; none if they make none.
pub(super) fn creation(arguments: &[OsString]) -> Option<Creation> {
    let command = command(arguments)?;
    let (name, rest) = arguments.get(command..)?.split_first()?;
    if name != "create" && name != "run" {
        return None;
    }
    let (mut bundle, mut config) = (PathBuf::from("."), PathBuf::from("config.json"));
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            break;
        }
        let Some(Flag { name, value }) = flag(argument) else { continue };
        let (name, value) = match attached(argument).filter(|_| value.is_none()) {
            Some((short, value)) => (short, Some(value)),
            None if VALUES.contains(&name) && value.is_none() => {
                (name, rest.next().map(OsString::as_os_str))
            }
            None => (name, value),
        };
        match (name, value) {
            ("bundle" | "b", Some(value)) => bundle = PathBuf::from(value),
            ("config" | "f", Some(value)) => config = PathBuf::from(value),
            _ => {}
        }
    }
    // crun changes into the bundle before it opens the file.
    Some(Creation { config: bundle.join(config) })
}

/// crun's parser takes `-bDIR` for `-b DIR`.
fn attached(argument: &OsStr) -> Option<(&'static str, &OsStr)> {
    let bytes = argument.as_bytes();
    let value = |rest: &'_ [u8]| !rest.is_empty() && !rest.starts_with(b"undle");
    if let Some(rest) = bytes.strip_prefix(b"-b").filter(|rest| value(rest)) {
        return Some(("b", OsStr::from_bytes(rest)));
    }
    None
}

/// Which argument is the command.
fn command(arguments: &[OsString]) -> Option<usize> {
    let mut at = 0;
    while let Some(argument) = arguments.get(at) {
        match flag(argument) {
            Some(Flag { name, value: None }) if GLOBAL_VALUES.contains(&name) => at += 1,
            Some(_) => {}
            None if COMMANDS.iter().any(|&command| argument == command) => return Some(at),
            None => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(line: &str) -> Option<String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        creation(&arguments).map(|creation| creation.config.display().to_string())
    }

    #[test]
    fn the_shims_of_docker_and_podman_are_understood() {
        for (line, expected) in [
            (
                "--root /var/run/docker/runtime-runc/moby --log /run/x/log.json --log-format json \
                 create --bundle /run/x --pid-file /run/x/init.pid 4f2a",
                "/run/x/config.json",
            ),
            (
                "--root /run/runc --systemd-cgroup create --bundle /b --console-socket /s --no-pivot \
                 --no-new-keyring --preserve-fds 3 4f2a",
                "/b/config.json",
            ),
            ("--log-format=json --log /l create --bundle /b --pid-file /p 4f2a", "/b/config.json"),
            ("--cgroup-manager cgroupfs --debug run -b /b id", "/b/config.json"),
            ("--cgroup-manager=disabled run --bundle=/b id", "/b/config.json"),
            ("-root /r create -bundle /b id", "/b/config.json"),
            ("create -b/b id", "/b/config.json"),
            ("run id", "./config.json"),
            ("run --bundle /b --config other.json id", "/b/other.json"),
            ("create -f /c/x.json --bundle /b id", "/c/x.json"),
            ("create id --bundle /b", "/b/config.json"),
            ("--rootless true --criu /usr/sbin/criu run -d id", "./config.json"),
            ("--root create run --bundle /b id", "/b/config.json"),
            ("--new-option value create --bundle /b id", "/b/config.json"),
            ("create --pid-file --bundle --bundle /b id", "/b/config.json"),
        ] {
            assert_eq!(config(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn everything_else_is_passed_on() {
        for line in [
            "",
            "--version",
            "features",
            "--root /r start id",
            "--root /r kill --all id 9",
            "exec --process /p create",
            "--log run delete --force id",
            "restore --bundle /b id",
            "--root",
            "state run",
            "update --resources - create",
        ] {
            assert_eq!(config(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_arguments_make_it_panic(
            arguments in proptest::collection::vec("(-{0,2}[a-z=/]{0,8}|create|run|--bundle|-b)", 0..8)
        ) {
            let arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
            let _ = creation(&arguments);
        }
    }
}
