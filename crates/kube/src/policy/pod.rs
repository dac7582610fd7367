//! A pod, as far as it matters to a policy.

use std::collections::BTreeMap;

/// The labels or annotations of something that has none.
static NONE: BTreeMap<String, String> = BTreeMap::new();

/// A pod, as far as it matters to a policy. What is not known is left as [`Pod::default`] has it.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// The name of its namespace.
    pub namespace: &'a str,
    /// The label [`api::Policy::VIEW`] of the namespace, if it has one and that is known.
    pub namespace_label: Option<&'a str>,
    /// The pod's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The pod's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// By NRI the handler's name, in the API the runtime class's; empty: the usual one.
    pub runtime_handler: &'a str,
    /// Whether it has the node's process ids.
    pub host_pid: bool,
    /// Whether it is for Windows.
    pub is_windows: bool,
}

impl Default for Pod<'_> {
    fn default() -> Self {
        Self {
            namespace: "",
            namespace_label: None,
            labels: &NONE,
            annotations: &NONE,
            runtime_handler: "",
            host_pid: false,
            is_windows: false,
        }
    }
}
