//! What is written down of a registered container.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::Id;

/// The version of the format that this program writes and reads.
pub const VERSION: u32 = 1;
/// How long a name may be, in bytes: as long as a file's.
const MOST_NAME: usize = 255;

/// A registered container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Of the format.
    pub version: Version,
    /// Under which id.
    pub id: Id,
    /// What people call it; one that several containers have leads to none of them.
    #[serde(default)]
    pub names: Vec<String>,
    /// Who runs it: `docker`, `lxc`; empty: not known.
    #[serde(default)]
    pub engine: String,
    /// What it is.
    pub target: Target,
    /// What is decided about its view.
    #[serde(default)]
    pub policy: Policy,
    /// What attaching has noted for detaching; of no meaning here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<serde_json::Value>,
}

impl Registration {
    /// A registration with neither names nor choices.
    #[must_use]
    pub fn new(id: Id, target: Target) -> Self {
        Self {
            version: Version,
            id,
            names: Vec::new(),
            engine: String::new(),
            target,
            policy: Policy::default(),
            attached: Vec::new(),
        }
    }
}

/// Always [`VERSION`]: what has another cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(found: u32) -> Result<Self, String> {
        let message = || format!("it has version {found}, and this program knows {VERSION}");
        if found == VERSION { Ok(Self) } else { Err(message()) }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        VERSION
    }
}

/// What a container is told by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawTarget", into = "RawTarget")]
pub enum Target {
    /// Its first process: it ends with that one, whoever has its number afterwards.
    Init(Init),
    /// Its cgroup: it ends when that is removed.
    Cgroup {
        /// From the hierarchy's root, as in `/docker/4f2a`: the same in each hierarchy that has it.
        path: String,
        /// What tells the cgroup from a later one at its path; see
        /// [`Found::instance`](super::Found::instance). `None`: whichever is there.
        instance: Option<u64>,
    },
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Init {
    /// Its number in the daemon's pid namespace.
    pub pid: u32,
    /// When it was started: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

#[derive(Serialize, Deserialize)]
struct RawTarget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    init: Option<Init>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
    /// Hexadecimal: not every reader of JSON has numbers of 64 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

impl TryFrom<RawTarget> for Target {
    type Error = String;

    fn try_from(raw: RawTarget) -> Result<Self, String> {
        match raw {
            RawTarget { init: Some(init), cgroup: None, instance: None } => Ok(Self::Init(init)),
            RawTarget { init: None, cgroup: Some(path), instance } => {
                let number = |text: String| u64::from_str_radix(&text, 16).map_err(|_| text);
                let instance = instance.map(number).transpose();
                let instance = instance.map_err(|text| format!("`{text}` is no instance"))?;
                let is_plain = path.starts_with('/') && !path.split('/').any(|part| part == "..");
                let message = || format!("`{path}` is no path of a cgroup");
                if is_plain { Ok(()) } else { Err(message()) }?;
                Ok(Self::Cgroup { path, instance })
            }
            _ => Err("a target is either an init or a cgroup".to_owned()),
        }
    }
}

impl From<Target> for RawTarget {
    fn from(target: Target) -> Self {
        match target {
            Target::Init(init) => Self { init: Some(init), cgroup: None, instance: None },
            Target::Cgroup { path, instance } => Self {
                init: None,
                cgroup: Some(path),
                instance: instance.map(|number| format!("{number:016x}")),
            },
        }
    }
}

/// What is decided about a container's view. What is not decided is as for all containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Whether it gets a view at all.
    pub view: View,
    /// How many CPUs it sees.
    pub cpu_count: Option<CpuCount>,
    /// What becomes of a file: `proc/swaps`, `sys/devices/system/cpu`.
    pub files: BTreeMap<String, FilePolicy>,
}

/// Whether a container gets a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// It does.
    #[default]
    On,
    /// It reads what the host reads.
    Off,
}

/// How the number of CPUs follows from the limits; what each means is said at
/// `view::policy::CpuCount`.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuCount {
    Cpuset,
    Quota,
    QuotaFloor,
    Shares,
}

/// What becomes of a file; what each means is said at `view::catalogue::FilePolicy`.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilePolicy {
    Virtual,
    Host,
    Absent,
}

/// Whether `name` can be the name of a symbolic link to a container: a file name without characters
/// that would confuse a terminal.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_dots = name == "." || name == "..";
    let is_plain = |one: char| one != '/' && !one.is_control();
    !name.is_empty() && name.len() <= MOST_NAME && !is_dots && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> Result<Registration, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_form_is_read_and_written() {
        let text = json!({
            "version": 1, "id": "4f2a", "names": ["web"], "engine": "docker",
            "target": { "init": { "pid": 123, "start_time": 456 } },
            "policy": {
                "view": "off", "cpu_count": "quota-floor", "files": { "proc/swaps": "absent" },
            },
            "attached": [{ "anything": 1 }],
        });
        let registration = parse(text.clone()).unwrap();
        assert_eq!(registration.target, Target::Init(Init { pid: 123, start_time: 456 }));
        assert_eq!(registration.policy.cpu_count, Some(CpuCount::QuotaFloor));
        assert_eq!(serde_json::to_value(&registration).unwrap(), text);
    }

    #[test]
    fn most_may_be_left_out() {
        let registration =
            parse(json!({ "version": 1, "id": "a", "target": { "cgroup": "/a" }, "new": 1 }));
        let target = Target::Cgroup { path: "/a".to_owned(), instance: None };
        assert_eq!(registration.unwrap(), Registration::new(Id::new("a").unwrap(), target));
    }

    #[test]
    fn an_instance_is_kept_exactly() {
        let target = Target::Cgroup { path: "/a".to_owned(), instance: Some(u64::MAX - 1) };
        let text = serde_json::to_string(&target).unwrap();
        assert_eq!(text, r#"{"cgroup":"/a","instance":"fffffffffffffffe"}"#);
        assert_eq!(serde_json::from_str::<Target>(&text).unwrap(), target);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = json!({ "version": 1, "id": "a", "target": { "cgroup": "/a" } });
        for (key, value, said) in [
            ("version", json!(2), "version 2"),
            ("id", json!("../a"), "`../a`"),
            ("target", json!({}), "either an init or a cgroup"),
            ("target", json!({ "cgroup": "a" }), "`a` is no path"),
            ("target", json!({ "cgroup": "/a/../b" }), "`/a/../b` is no path"),
            ("target", json!({ "cgroup": "/a", "instance": "x" }), "`x`"),
            ("policy", json!({ "cpu_count": "most" }), "most"),
        ] {
            let mut text = good.clone();
            text[key] = value;
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        assert!(is_name("web") && is_name("my web") && is_name(".hidden"));
        for bad in ["", ".", "..", "a/b", "a\0", "a\nb", &"x".repeat(256)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = serde_json::from_slice::<Registration>(&bytes);
        }
    }
}
