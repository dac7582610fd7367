//! The OCI runtime wrapper: `resview oci-runtime`, or the binary under the name `resview-runtime`.
//!
//! It stands between an engine and runc, crun or youki. For `create` and `run` it adds hooks to the
//! bundle's config.json, then it becomes the real runtime with all arguments unchanged. Every other
//! command it only passes on. Whatever goes wrong with the editing, the container starts.

mod arguments;
mod config;
mod edit;
mod hints;
mod rewrite;

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use config::{CONFIG, Config};
pub(crate) use edit::hook;
pub use hints::USUAL as USUAL_HINTS;

use crate::log::{SYSLOG, warn};

/// The name of the link to the binary under which it is a wrapper.
pub const NAME: &str = "resview-runtime";

/// The variable that names the real runtime; it counts more than the configuration.
pub const RUNTIME_VARIABLE: &str = "RESVIEW_OCI_RUNTIME";

/// Where programs are looked for when PATH is not set.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why no runtime was started.
#[derive(Debug, thiserror::Error)]
pub enum WrapperError {
    /// Neither runc nor crun is installed.
    #[error(
        "neither runc nor crun is in PATH; name the runtime in {CONFIG}, in ${RUNTIME_VARIABLE} or with --runtime"
    )]
    NoRuntime,
    /// The configured runtime is this program again.
    #[error("{} is the wrapper itself; name the runtime that it is to start, such as /usr/sbin/runc", .path.display())]
    Itself {
        /// What was configured.
        path: PathBuf,
    },
    /// The container must not start without the view, and its description cannot be edited.
    #[error("cannot add the view to {}: {reason}", .path.display())]
    Required {
        /// config.json.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The runtime cannot be executed.
    #[error("cannot execute the runtime {}: {source}", .path.display())]
    Exec {
        /// The runtime.
        path: PathBuf,
        /// What execve(2) said.
        source: io::Error,
    },
}

/// Edits the bundle if a container is made, and becomes the real runtime.
///
/// `arguments` are the runtime's, without the program's name; before them may stand
/// `--runtime PATH`. `config` is [`CONFIG`] but for tests.
///
/// # Errors
/// It returns only if the runtime could not be started, in which case the caller should end with
/// 1, as runtimes do.
pub fn exec(arguments: &[OsString], config: &Path) -> Result<Infallible, WrapperError> {
    let (named, arguments) = own_option(arguments);
    let (config, problem) = config::read(config);
    if let Some(problem) = problem {
        warn(Path::new(SYSLOG), &format!("the runtime wrapper uses its defaults: {problem}"));
    }
    let named = named.or_else(|| env::var_os(RUNTIME_VARIABLE).filter(|name| !name.is_empty()));
    let named = named.map(PathBuf::from).or_else(|| config.runtime.clone());
    let runtime = named.or_else(search).ok_or(WrapperError::NoRuntime)?;
    let own = env::current_exe().ok();
    if own.is_some() && runtime.canonicalize().ok() == own {
        return Err(WrapperError::Itself { path: runtime });
    }
    prepare(arguments, &config)?;
    let source = Command::new(&runtime).args(arguments).exec();
    Err(WrapperError::Exec { path: runtime, source })
}

/// Edits the description of the container that these arguments make, if they make one.
fn prepare(arguments: &[OsString], config: &Config) -> Result<(), WrapperError> {
    let Some(creation) = arguments::creation(arguments) else { return Ok(()) };
    let config = &with_hook_that_is_there(config);
    match rewrite::rewrite(&creation.config, |spec| edit::edit(spec, config)) {
        Ok(_) => Ok(()),
        Err(reason) if config.required => {
            Err(WrapperError::Required { path: creation.config, reason })
        }
        Err(reason) => {
            let file = creation.config.display();
            let text = format!("the container starts with the host's values: {file}: {reason}");
            warn(Path::new(SYSLOG), &text);
            Ok(())
        }
    }
}

/// A hook that is missing keeps the container from starting, so this program takes its place.
fn with_hook_that_is_there(config: &Config) -> Config {
    let mut config = config.clone();
    if rustix::fs::access(&config.hook, rustix::fs::Access::EXEC_OK).is_err()
        && let Ok(own) = env::current_exe()
    {
        config.hook = own;
    }
    config
}

/// Takes `--runtime PATH` or `--runtime=PATH` off the front. No runtime has such an option.
fn own_option(arguments: &[OsString]) -> (Option<OsString>, &[OsString]) {
    match arguments {
        [option, path, rest @ ..] if option == "--runtime" => (Some(path.clone()), rest),
        [option, rest @ ..] => {
            match option.to_str().and_then(|text| text.strip_prefix("--runtime=")) {
                Some(path) => (Some(OsString::from(path)), rest),
                None => (None, arguments),
            }
        }
        [] => (None, arguments),
    }
}

/// The first of runc and crun in PATH that is not this program again under that name.
fn search() -> Option<PathBuf> {
    let path = env::var_os("PATH").filter(|path| !path.is_empty());
    let own = env::current_exe().ok();
    find_runtime(&path.unwrap_or_else(|| OsString::from(PATH)), own.as_deref())
}

/// As [`search`], in folders separated by colons.
pub(crate) fn find_runtime(path: &OsStr, own: Option<&Path>) -> Option<PathBuf> {
    ["runc", "crun"].iter().find_map(|name| {
        let candidates = env::split_paths(path).map(|folder| folder.join(name));
        candidates.filter(|file| file.is_absolute()).find(|file| {
            rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
                && file.is_file()
                && own.is_none_or(|own| file.canonicalize().is_ok_and(|file| file != own))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn only_the_first_argument_can_be_ours() {
        for (line, named, rest) in [
            ("--runtime /x create a", Some("/x"), 2),
            ("--runtime=/x create a", Some("/x"), 2),
            ("--root /r create a", None, 4),
            ("create --runtime=/x", None, 2),
            ("--runtime", None, 1),
            ("", None, 0),
        ] {
            let line = words(line);
            let (found, arguments) = own_option(&line);
            assert_eq!((found.as_deref(), arguments.len()), (named.map(OsStr::new), rest));
        }
    }

    #[test]
    fn this_program_under_the_name_of_a_runtime_is_not_executed_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let own = env::current_exe().unwrap().canonicalize().unwrap();
        symlink(&own, dir.path().join("runc")).unwrap();
        assert_eq!(find_runtime(dir.path().as_os_str(), Some(&own)), None);
        symlink("/bin/sh", dir.path().join("crun")).unwrap();
        let expected = Some(dir.path().join("crun"));
        assert_eq!(find_runtime(dir.path().as_os_str(), Some(&own)), expected);
        assert_eq!(find_runtime(OsStr::new("relative:"), Some(&own)), None);
    }
}
