//! The messages of NRI, as far as they matter here: protobuf 3, services
//! `nri.pkg.api.v1alpha1.Plugin` and `.Runtime`.
//!
//! Field numbers are those of `pkg/api/api.proto` of containerd/nri. A field that is not named here
//! is skipped when it is read; a field that is absent has its zero value.

use std::collections::BTreeMap;

use prost::Message;

/// A pod, as the runtime knows it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandbox {
    /// The runtime's id of the pod: 64 hexadecimal digits in containerd and CRI-O.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The pod's name in Kubernetes.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The pod's uid in Kubernetes.
    #[prost(string, tag = "3")]
    pub uid: String,
    /// The pod's namespace in Kubernetes.
    #[prost(string, tag = "4")]
    pub namespace: String,
    /// The pod's labels. Those of its namespace are not delivered.
    #[prost(btree_map = "string, string", tag = "5")]
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    #[prost(btree_map = "string, string", tag = "6")]
    pub annotations: BTreeMap<String, String>,
    /// The handler of its RuntimeClass, such as `kata`; empty for the runtime's default.
    #[prost(string, tag = "7")]
    pub runtime_handler: String,
    /// What is particular to Linux.
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandbox>,
    /// The pause process; 0 when there is none, or when the runtime does not say.
    #[prost(uint32, tag = "9")]
    pub pid: u32,
}

/// The part of a pod that is particular to Linux.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxPodSandbox {
    /// The cgroup that all containers of the pod are below.
    #[prost(string, tag = "3")]
    pub cgroup_parent: String,
    /// The cgroup of the pause container.
    #[prost(string, tag = "4")]
    pub cgroups_path: String,
    /// The namespaces that the pause container has of its own, or shares by path. One that is not
    /// listed is the host's.
    #[prost(message, repeated, tag = "5")]
    pub namespaces: Vec<LinuxNamespace>,
}

/// A namespace of a pod or container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxNamespace {
    /// As in OCI: `pid`, `mount`, `network`, `ipc`, `uts`, `user`, `cgroup`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Empty: a new one. Else the namespace to join, such as `/proc/12/ns/pid`.
    #[prost(string, tag = "2")]
    pub path: String,
}

/// A container, as the runtime knows it. The pause container is never told about.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Container {
    /// The runtime's id of the container: 64 hexadecimal digits in containerd and CRI-O.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The [`PodSandbox::id`] that it belongs to.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// Its name within the pod.
    #[prost(string, tag = "3")]
    pub name: String,
    /// See [`Container::state`] and [`ContainerState`].
    #[prost(enumeration = "ContainerState", tag = "4")]
    pub state: i32,
    /// Its labels.
    #[prost(btree_map = "string, string", tag = "5")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations: containerd merges those of CRI and of the OCI specification.
    #[prost(btree_map = "string, string", tag = "6")]
    pub annotations: BTreeMap<String, String>,
    /// What is particular to Linux.
    #[prost(message, optional, tag = "11")]
    pub linux: Option<LinuxContainer>,
    /// Its first process, in the host's pid namespace; 0 when there is none yet. CRI-O before 1.36
    /// always says 0.
    #[prost(uint32, tag = "12")]
    pub pid: u32,
}

/// The part of a container that is particular to Linux.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxContainer {
    /// The namespaces that it has of its own, or shares by path. One that is not listed is the
    /// host's: a container without `pid` sees the host's processes.
    #[prost(message, repeated, tag = "1")]
    pub namespaces: Vec<LinuxNamespace>,
    /// `/kubepods/…/ID`, or `SLICE:PREFIX:ID` where systemd makes the cgroups.
    #[prost(string, tag = "5")]
    pub cgroups_path: String,
}

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ContainerState {
    /// Not said; so it is while it is being created.
    Unknown = 0,
    /// Its first process exists and waits to be let go.
    Created = 1,
    /// Frozen. Docker says this of a restarting one too.
    Paused = 2,
    /// The user's program runs.
    Running = 3,
    /// Its first process is gone.
    Stopped = 4,
}

impl Container {
    /// The namespace of this type (`pid`, `user`, …) in the list of those that are not the host's.
    #[must_use]
    pub fn namespace(&self, r#type: &str) -> Option<&LinuxNamespace> {
        self.linux.as_ref()?.namespaces.iter().find(|namespace| namespace.r#type == r#type)
    }
}

/// `Runtime.RegisterPlugin`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RegisterPluginRequest {
    #[prost(string, tag = "1")]
    pub(crate) plugin_name: String,
    #[prost(string, tag = "2")]
    pub(crate) plugin_idx: String,
}

/// `Plugin.Configure`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConfigureRequest {
    #[prost(string, tag = "2")]
    pub(crate) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(crate) runtime_version: String,
    /// Milliseconds.
    #[prost(int64, tag = "5")]
    pub(crate) request_timeout: i64,
}

/// The answer to [`ConfigureRequest`]. Field 1 is not in use.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ConfigureResponse {
    /// A bit for each event: event number less one.
    #[prost(int32, tag = "2")]
    pub(crate) events: i32,
}

/// `Plugin.Synchronize`: everything that exists, or a part of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SynchronizeRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) pods: Vec<PodSandbox>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) containers: Vec<Container>,
    /// Another part follows.
    #[prost(bool, tag = "3")]
    pub(crate) more: bool,
}

/// As much of a [`SynchronizeRequest`] as has to be understood to answer it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SynchronizeMore {
    #[prost(bool, tag = "3")]
    pub(crate) more: bool,
}

/// The answer to [`SynchronizeRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct SynchronizeResponse {
    /// As in the request.
    #[prost(bool, tag = "2")]
    pub(crate) more: bool,
}

/// `Plugin.StateChange`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StateChangeEvent {
    #[prost(int32, tag = "1")]
    pub(crate) event: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) pod: Option<PodSandbox>,
    #[prost(message, optional, tag = "3")]
    pub(crate) container: Option<Container>,
}

/// The requests of one event each, such as `Plugin.StartContainer`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) pod: Option<PodSandbox>,
    #[prost(message, optional, tag = "2")]
    pub(crate) container: Option<Container>,
}
