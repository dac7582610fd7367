//! Which container is meant.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which containers a request is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub enum Selector {
    /// Every container of the machine.
    All,
    /// A name, an id, or the beginning of an id that only one container has.
    Name(String),
    /// A process of the container, as the agent's pid namespace counts.
    Pid(u32),
    /// The path of the container's cgroup below its hierarchy, with a leading slash.
    Cgroup(String),
    /// A container that its runtime is about to start, or has started: what a `createRuntime` hook
    /// or an NRI plugin knows.
    Created(Created),
    /// A container that has ended: what a `poststop` hook knows.
    Stopped(Stopped),
}

/// A container that its engine tells of.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Created {
    /// Its first process, as the host counts.
    pub pid: u32,
    /// Where its root file system lies in that process's mount namespace, absolute; missing: the
    /// runtime has changed the process's root to it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// The runtime's id.
    pub id: String,
    /// The folder of its `config.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<PathBuf>,
    /// Annotations of its specification, among them the policy ([`crate::Policy`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Its names, the usual one first; none: those that the engine's files say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Who made it, as in [`Container::engine`](crate::Container::engine); missing: as the engine's
    /// files and the cgroup say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// A container that is gone. It is found by exactly this id, never by a name or a beginning of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stopped {
    /// The runtime's id.
    pub id: String,
    /// The folder of its `config.json`: two runtimes may use the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<PathBuf>,
}

/// Why a selector means nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectorError {
    /// `{"all": false}`.
    #[error("\"all\" can only be true; name a container instead")]
    NotAll,
    /// An empty name or id.
    #[error("a container's name or id must not be empty")]
    Empty,
    /// Process 0.
    #[error("there is no process 0 (a process outside the agent's pid namespace?)")]
    NoProcess,
    /// A cgroup or a root that is not absolute.
    #[error("a cgroup's path and a root begin with a slash")]
    Relative,
}

/// The selector as it is written, before it is checked.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Wire {
    All(bool),
    Name(String),
    Pid(u32),
    Cgroup(String),
    Created(Created),
    Stopped(Stopped),
}

impl TryFrom<Wire> for Selector {
    type Error = SelectorError;

    fn try_from(wire: Wire) -> Result<Self, SelectorError> {
        let empty = |name: &String| name.is_empty();
        match wire {
            Wire::All(true) => Ok(Self::All),
            Wire::All(false) => Err(SelectorError::NotAll),
            Wire::Name(name) if empty(&name) => Err(SelectorError::Empty),
            Wire::Name(name) => Ok(Self::Name(name)),
            Wire::Pid(0) | Wire::Created(Created { pid: 0, .. }) => Err(SelectorError::NoProcess),
            Wire::Pid(pid) => Ok(Self::Pid(pid)),
            Wire::Cgroup(path) if path.starts_with('/') => Ok(Self::Cgroup(path)),
            Wire::Cgroup(_) => Err(SelectorError::Relative),
            Wire::Created(created) if empty(&created.id) => Err(SelectorError::Empty),
            Wire::Created(Created { root: Some(root), .. }) if !root.is_absolute() => {
                Err(SelectorError::Relative)
            }
            Wire::Created(created) => Ok(Self::Created(created)),
            Wire::Stopped(stopped) if empty(&stopped.id) => Err(SelectorError::Empty),
            Wire::Stopped(stopped) => Ok(Self::Stopped(stopped)),
        }
    }
}

impl From<Selector> for Wire {
    fn from(selector: Selector) -> Self {
        match selector {
            Selector::All => Self::All(true),
            Selector::Name(name) => Self::Name(name),
            Selector::Pid(pid) => Self::Pid(pid),
            Selector::Cgroup(path) => Self::Cgroup(path),
            Selector::Created(created) => Self::Created(created),
            Selector::Stopped(stopped) => Self::Stopped(stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn selectors_that_mean_nothing_are_refused_with_the_reason() {
        let cases: [(Value, SelectorError); 7] = [
            (json!({ "all": false }), SelectorError::NotAll),
            (json!({ "name": "" }), SelectorError::Empty),
            (json!({ "pid": 0 }), SelectorError::NoProcess),
            (json!({ "cgroup": "docker/1" }), SelectorError::Relative),
            (json!({ "created": { "pid": 0, "root": "/r", "id": "a" } }), SelectorError::NoProcess),
            (json!({ "created": { "pid": 1, "root": "r", "id": "a" } }), SelectorError::Relative),
            (json!({ "stopped": { "id": "" } }), SelectorError::Empty),
        ];
        for (value, reason) in cases {
            let error = serde_json::from_value::<Selector>(value.clone()).unwrap_err();
            assert!(error.to_string().contains(&reason.to_string()), "{value}: {error}");
        }
        for value in [json!({ "pid": -1 }), json!({ "name": "a", "pid": 1 }), json!({})] {
            assert!(serde_json::from_value::<Selector>(value).is_err());
        }
    }

    #[test]
    fn a_selector_is_written_as_it_is_read() {
        for value in [
            json!({ "all": true }),
            json!({ "name": "web" }),
            json!({ "pid": 7 }),
            json!({ "cgroup": "/docker/1" }),
            json!({ "created": { "pid": 7, "root": "/r", "id": "a", "annotations": { "k": "v" } } }),
            json!({ "created": { "pid": 7, "id": "a", "names": ["n_p_c"], "engine": "cri-o" } }),
            json!({ "stopped": { "id": "a", "bundle": "/b" } }),
        ] {
            let selector: Selector = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&selector).unwrap(), value);
        }
    }
}
