//! Where a number comes from.

use serde::{Deserialize, Serialize};

/// One number of one file: what the container sees, what the host has, and why.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// The file, such as `proc/meminfo`.
    pub file: String,
    /// The field, such as `MemTotal`.
    pub field: String,
    /// What the container sees, as it stands in the file.
    pub value: String,
    /// What the host's own file says; missing: the host has no such line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The container's cgroup and its ancestors, from the container up, with the limit of each.
    #[serde(default)]
    pub levels: Vec<Level>,
    /// The file whose value decided; missing: the host's did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// How the value was made, such as `min(limits) - usage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
}

/// What one level of the cgroup tree says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Level {
    /// The cgroup below its hierarchy.
    pub cgroup: String,
    /// The file that was read, such as `/sys/fs/cgroup/docker/1/memory.max`.
    pub source: String,
    /// What it says; missing: there is no such file at this level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
