//! Which pods get the view: the policy of a cluster, and what it decides about a pod.
//!
//! The same file is read by the NRI plugin on each node and by the webhook, so both decide alike.
//! See [`Policy`] for the file and [`Policy::decide`] for the order of what counts.

mod decide;
mod pattern;
mod pod;
mod words;

use std::collections::BTreeMap;

use api::View;
use serde::{Deserialize, Serialize};

pub use decide::Decision;
pub use pattern::Pattern;
pub use pod::Pod;

/// Namespaces that get no view unless somebody says so: the cluster's own parts.
const SYSTEM: &[&str] = &["kube-system"];
/// Runtime handlers of containers with a kernel of their own, or with none.
const OTHER_KERNELS: &[&str] = &["kata*", "runsc*", "gvisor*", "wasm*"];

/// The policy of a cluster: `policy.json`. A field that is missing has the value that holds without
/// a file, [`Policy::default`].
///
/// ```
/// let text = r#"{ "version": 1, "default": "off", "namespaces": { "on": ["team-*"] } }"#;
/// let policy = kube::policy::Policy::parse(text.as_bytes())?;
/// let pod = kube::policy::Pod { namespace: "team-red", ..Default::default() };
/// assert_eq!(policy.decide(&pod).view, api::View::On);
/// # Ok::<(), kube::policy::FileError>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    /// Of the format.
    pub version: Version,
    /// For pods about which nothing else says anything.
    #[serde(default = "on")]
    pub default: View,
    /// Namespaces by their names.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Runtime handlers whose containers are never touched.
    #[serde(default = "other_kernels")]
    pub runtime_handlers_off: Vec<Pattern>,
    /// Whether pods with the host's process ids may get the view. They are the node's own agents,
    /// which read the host on purpose.
    #[serde(default = "off")]
    pub host_pid: View,
}

/// Namespaces that are decided about by name; `off` counts before `on`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Namespaces {
    /// Whose pods get the view.
    #[serde(default)]
    pub on: Vec<Pattern>,
    /// Whose pods do not.
    #[serde(default)]
    pub off: Vec<Pattern>,
}

/// What namespaces say of themselves: the file by which the labels get to the plugin, to which NRI
/// does not tell them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceViews {
    /// Of the format.
    pub version: Version,
    /// The label [`api::Policy::VIEW`] of each namespace that has it, as it stands there.
    #[serde(default)]
    pub views: BTreeMap<String, String>,
}

/// Always 1: what has another cannot be read.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

/// Why a text is no policy, or no list of namespaces.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FileError(#[from] serde_json::Error);

impl Policy {
    /// The policy in a file.
    ///
    /// # Errors
    /// [`FileError`]: it is not JSON, a field is misspelt, or the version is another one.
    pub fn parse(text: &[u8]) -> Result<Self, FileError> {
        Ok(serde_json::from_slice(text)?)
    }
}

impl NamespaceViews {
    /// What is in a file.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub fn parse(text: &[u8]) -> Result<Self, FileError> {
        Ok(serde_json::from_slice(text)?)
    }
}

impl Default for Policy {
    /// Without a file: every pod, but those of `kube-system` and those with other kernels.
    fn default() -> Self {
        Self {
            version: Version,
            default: on(),
            namespaces: Namespaces::default(),
            runtime_handlers_off: other_kernels(),
            host_pid: off(),
        }
    }
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { on: Vec::new(), off: Pattern::all(SYSTEM) }
    }
}

fn on() -> View {
    View::On
}

fn off() -> View {
    View::Off
}

fn other_kernels() -> Vec<Pattern> {
    Pattern::all(OTHER_KERNELS)
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(found: u32) -> Result<Self, String> {
        let message = || format!("it has version {found}, and this program knows 1");
        if found == 1 { Ok(Self) } else { Err(message()) }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_short_file_is_what_holds_without_one() {
        assert_eq!(Policy::parse(br#"{"version":1}"#).unwrap(), Policy::default());
        let policy = Policy::parse(br#"{"version":1,"namespaces":{"on":["a"]}}"#).unwrap();
        assert_eq!(policy.namespaces.off, [], "who writes the lists writes both");
    }

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let written = json!({
            "version": 1,
            "default": "off",
            "namespaces": { "on": ["team-*"], "off": ["kube-system", "*-infra"] },
            "runtimeHandlersOff": ["kata*"],
            "hostPid": "on",
        });
        let policy = Policy::parse(written.to_string().as_bytes()).unwrap();
        assert_eq!((policy.default, policy.host_pid), (View::Off, View::On));
        assert_eq!(serde_json::to_value(&policy).unwrap(), written);
        let views = json!({ "version": 1, "views": { "team-red": "on", "x": "maybe" } });
        let read = NamespaceViews::parse(views.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), views);
    }

    #[test]
    fn what_is_misspelt_is_refused_in_words() {
        for (text, words) in [
            (r#"{"version":2}"#, "version 2"),
            (r#"{"default":"off"}"#, "version"),
            (r#"{"version":1,"defualt":"off"}"#, "defualt"),
            (r#"{"version":1,"default":"maybe"}"#, "maybe"),
            (r#"{"version":1,"namespaces":["a"]}"#, "expected"),
            (r#"{"version":1,"namespaces":{"of":[]}}"#, "of"),
            ("", "EOF"),
        ] {
            let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(NamespaceViews::parse(br#"{"version":1,"view":{}}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Policy::parse(&text);
            let _ = NamespaceViews::parse(&text);
        }
    }
}
