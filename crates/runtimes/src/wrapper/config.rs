//! The wrapper's own configuration.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use super::hints::USUAL;
use crate::json_file;
use crate::policy::OptIn;

/// Where it is.
pub const CONFIG: &str = "/etc/resview/oci-runtime.json";

/// `/etc/resview/oci-runtime.json`. Every field may be missing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The real runtime; missing: the first of runc and crun in PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<PathBuf>,
    /// `all` containers, or `opt-in`.
    pub view: OptIn,
    /// The program that runtimes start as hook.
    pub hook: PathBuf,
    /// Whether a container without the view must not start.
    pub required: bool,
    /// Variables that say how many CPUs a container has. `true` stands for [`USUAL`].
    #[serde(deserialize_with = "hints")]
    pub hints: Vec<String>,
    /// Docker's default runtime before the wrapper became that, for `resview uninstall docker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_default_before: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime: None,
            view: OptIn::All,
            hook: PathBuf::from(crate::install::HOOK),
            required: false,
            hints: Vec::new(),
            docker_default_before: None,
        }
    }
}

fn hints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Hints {
        Usual(bool),
        Names(Vec<String>),
    }
    Ok(match Hints::deserialize(deserializer)? {
        Hints::Usual(true) => USUAL.iter().map(|&name| name.to_owned()).collect(),
        Hints::Usual(false) => Vec::new(),
        Hints::Names(names) => names,
    })
}

/// The configuration, and what is wrong with the file. A container has to start even then.
pub(super) fn read(path: &Path) -> (Config, Option<String>) {
    match json_file::read(path) {
        Ok(config) => (config, None),
        Err(error) if error.is_missing() => (Config::default(), None),
        Err(error) => (Config::default(), Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_may_be_missing_and_a_broken_file_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oci-runtime.json");
        assert_eq!(read(&path), (Config::default(), None));
        std::fs::write(&path, r#"{"runtime":"/usr/bin/crun","view":"opt-in","hints":true}"#)
            .unwrap();
        let (config, problem) = read(&path);
        assert_eq!((config.runtime, config.view), (Some("/usr/bin/crun".into()), OptIn::OptIn));
        assert_eq!((config.hints, problem), (USUAL.iter().map(|&s| s.into()).collect(), None));
        std::fs::write(&path, r#"{"hints":["GOMAXPROCS"],"runtime_path":"x"}"#).unwrap();
        let (config, problem) = read(&path);
        assert_eq!(config, Config::default());
        assert!(problem.unwrap().contains("runtime_path"));
    }
}
