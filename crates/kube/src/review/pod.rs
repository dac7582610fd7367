//! A pod as it comes in a review: what of it matters, read tolerantly.
//!
//! Go writes an empty list as `null`, as `[]` or not at all, and the three want different patches, so
//! lists stay `Option`. What is not named here is skipped, however deeply it is nested.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// How many elements of one list are looked at. No pod that etcd could store has as many containers,
/// volumes or mounts; a larger one is somebody's joke, and is left alone.
pub(super) const MOST_ELEMENTS: usize = 1000;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Pod {
    pub(super) metadata: Option<Metadata>,
    pub(super) spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) volumes: Option<List<Volume>>,
    pub(super) containers: Option<List<Container>>,
    pub(super) init_containers: Option<List<Container>>,
    pub(super) ephemeral_containers: Option<List<Container>>,
    #[serde(rename = "hostPID")]
    pub(super) host_pid: Option<bool>,
    pub(super) host_users: Option<bool>,
    pub(super) runtime_class_name: Option<String>,
    pub(super) os: Option<Os>,
    pub(super) node_selector: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Os {
    pub(super) name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume {
    #[serde(default)]
    pub(super) name: String,
    pub(super) host_path: Option<HostPath>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct HostPath {
    #[serde(default)]
    pub(super) path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(default)]
    pub(super) name: String,
    pub(super) volume_mounts: Option<List<VolumeMount>>,
    pub(super) volume_devices: Option<List<VolumeDevice>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeMount {
    #[serde(default)]
    pub(super) mount_path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeDevice {
    #[serde(default)]
    pub(super) device_path: String,
}

impl Pod {
    /// Whether a list has more elements than are looked at.
    pub(super) fn is_absurd(&self) -> bool {
        let Some(spec) = &self.spec else { return false };
        let lists = [&spec.containers, &spec.init_containers, &spec.ephemeral_containers];
        let mut containers = lists.into_iter().flatten();
        spec.volumes.as_ref().is_some_and(|volumes| volumes.has_more)
            || containers.any(|list| list.has_more || list.items.iter().any(Container::is_absurd))
    }

    /// Whether it says that it is for Windows.
    pub(super) fn is_windows(&self) -> bool {
        let Some(spec) = &self.spec else { return false };
        let os = spec.os.as_ref().and_then(|os| os.name.as_deref());
        let selected =
            spec.node_selector.as_ref().and_then(|labels| labels.get("kubernetes.io/os"));
        os == Some("windows") || selected.is_some_and(|os| os == "windows")
    }
}

impl Container {
    fn is_absurd(&self) -> bool {
        self.volume_mounts.as_ref().is_some_and(|mounts| mounts.has_more)
            || self.volume_devices.as_ref().is_some_and(|devices| devices.has_more)
    }

    /// The paths at which it mounts something of its own.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let mounts = items(self.volume_mounts.as_ref()).iter().map(|it| it.mount_path.as_str());
        let devices = items(self.volume_devices.as_ref()).iter().map(|it| it.device_path.as_str());
        mounts.chain(devices)
    }
}

/// A list of which at most [`MOST_ELEMENTS`] are kept.
#[derive(Debug)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    has_more: bool,
}

/// The elements of a list that may be missing.
pub(super) fn items<T>(list: Option<&List<T>>) -> &[T] {
    list.map_or(&[], |list| &list.items)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
    type Value = List<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<List<T>, A::Error> {
        let mut list = List { items: Vec::new(), has_more: false };
        while list.items.len() < MOST_ELEMENTS {
            let Some(element) = elements.next_element()? else { return Ok(list) };
            list.items.push(element);
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {
            list.has_more = true;
        }
        Ok(list)
    }
}
