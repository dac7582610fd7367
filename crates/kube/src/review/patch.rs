//! From a pod to the JSON patch (RFC 6902) that gives it the view.
//!
//! Only additions, and only at the end of lists: what is the user's is neither changed nor moved, and
//! a pod that has everything already gets an empty patch. That makes a second call, after another
//! webhook has added a sidecar, harmless and useful.

use serde_json::{Value, json};

use super::files::{Files, Mountable, Source, mount};
use super::paths::Resolved;
use super::pod::{Container, List, Pod, items};

/// The annotation with which a pod is marked; it lists the volumes that were added.
pub const MARK: &str = "resview.dev/injected";

/// A patch; empty if there is nothing to do.
pub(super) type Operations = Vec<Value>;

/// The patch for a new pod: volumes, mounts of all containers and init containers (sidecars are
/// such), and the mark.
pub(super) fn for_new_pod(pod: &Pod, files: &Files, source: &Source) -> Operations {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let files: Vec<_> =
        files.iter().filter(|file| volume(pod, file, source) != Found::Others).collect();
    let mut used = Vec::new();
    let mut mounts = Vec::new();
    for (field, list) in
        [("initContainers", &spec.init_containers), ("containers", &spec.containers)]
    {
        for (index, container) in items(list.as_ref()).iter().enumerate() {
            let free = free_files(container, &files);
            mounts.extend(add_mounts(field, index, container, &free));
            used.extend(free);
        }
    }
    if mounts.is_empty() {
        return mounts;
    }
    let used: Vec<_> = files.into_iter().filter(|file| used.contains(file)).collect();
    let missing = used.iter().filter(|file| volume(pod, file, source) == Found::Nothing);
    let volumes = missing.map(|file| source.volume(file)).collect();
    let mut operations = append("/spec/volumes", spec.volumes.as_ref(), volumes);
    operations.append(&mut mounts);
    operations.extend(mark(pod, &used));
    operations
}

/// The patch for ephemeral containers: mounts of the volumes that the pod has from its beginning, as
/// its volumes can no longer change; and only in containers that are new, as the others cannot.
pub(super) fn for_ephemeral_containers(
    pod: &Pod,
    old: &Pod,
    files: &Files,
    source: &Source,
) -> Operations {
    let files: Vec<_> =
        files.iter().filter(|file| volume(pod, file, source) == Found::Ours).collect();
    let old = ephemeral_containers(old);
    let all = ephemeral_containers(pod).iter().enumerate();
    all.filter(|(_, container)| old.iter().all(|old| old.name != container.name))
        .flat_map(|(index, container)| {
            let free = free_files(container, &files);
            add_mounts("ephemeralContainers", index, container, &free)
        })
        .collect()
}

fn ephemeral_containers(pod: &Pod) -> &[Container] {
    items(pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_ref()))
}

/// What a pod has under the name of one of our volumes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    Nothing,
    Ours,
    /// The user's own volume; then our file stays out.
    Others,
}

fn volume(pod: &Pod, file: &Mountable, source: &Source) -> Found {
    let volumes = items(pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()));
    match volumes.iter().find(|volume| volume.name == file.volume) {
        None => Found::Nothing,
        Some(volume) => match &volume.host_path {
            Some(host_path) if host_path.path == source.path(file) => Found::Ours,
            _ => Found::Others,
        },
    }
}

/// The files that are in no way of anything that the container mounts itself.
fn free_files(container: &Container, files: &[&'static Mountable]) -> Vec<&'static Mountable> {
    let theirs: Vec<_> = container.paths().map(Resolved::new).collect();
    let is_free = |file: &&&Mountable| {
        let ours = Resolved::new(file.path);
        theirs.iter().all(|path| !path.meets(&ours))
    };
    files.iter().filter(is_free).copied().collect()
}

fn add_mounts(
    field: &str,
    index: usize,
    container: &Container,
    files: &[&Mountable],
) -> Operations {
    let path = format!("/spec/{field}/{index}/volumeMounts");
    let mounts = files.iter().map(|file| mount(file)).collect();
    append(&path, container.volume_mounts.as_ref(), mounts)
}

/// Adds to the end of a list; where it is missing or null, adds it with all its elements.
fn append<T>(path: &str, list: Option<&List<T>>, values: Vec<Value>) -> Operations {
    if values.is_empty() {
        return Vec::new();
    }
    if list.is_none() {
        return vec![json!({ "op": "add", "path": path, "value": values })];
    }
    let end = format!("{path}/-");
    values.into_iter().map(|value| json!({ "op": "add", "path": end, "value": value })).collect()
}

/// The mark, unless the pod has one: the annotation alone, so that the user's others stay.
fn mark(pod: &Pod, files: &[&Mountable]) -> Option<Value> {
    let volumes = files.iter().map(|file| file.volume).collect::<Vec<_>>().join(",");
    let metadata = pod.metadata.as_ref();
    let (path, value) = match metadata.map(|metadata| &metadata.annotations) {
        None => ("/metadata".to_owned(), json!({ "annotations": { MARK: volumes } })),
        Some(None) => ("/metadata/annotations".to_owned(), json!({ MARK: volumes })),
        Some(Some(annotations)) if annotations.contains_key(MARK) => return None,
        Some(Some(_)) => (format!("/metadata/annotations/{}", escaped(MARK)), Value::from(volumes)),
    };
    Some(json!({ "op": "add", "path": path, "value": value }))
}

/// A member's name as a part of a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
