//! containerd's tasks, Docker's among them, and what a config.json tells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Claim, Engine, Finder, Skipped, note};
use crate::json_file::{self, FileError};

/// One folder per namespace, in it one per task: `init.pid` and `config.json`.
const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";

/// What matters of a config.json of the OCI runtime specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    /// Null in what containerd writes when there are none.
    annotations: Option<BTreeMap<String, String>>,
    root: Option<Root>,
    linux: Option<Linux>,
}

#[derive(Clone, Debug, Deserialize)]
struct Root {
    path: PathBuf,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    cgroups_path: Option<String>,
}

impl Config {
    pub(super) fn read(finder: &Finder, bundle: &Path) -> Result<Self, FileError> {
        json_file::read(&finder.path(bundle.join("config.json")))
    }

    pub(super) fn annotations(self) -> BTreeMap<String, String> {
        self.annotations.unwrap_or_default()
    }

    /// Which engine made it, if that leaves a mark.
    pub(super) fn manager(&self) -> Option<Engine> {
        match self.annotation("io.container.manager")? {
            "libpod" => Some(Engine::Podman),
            "cri-o" => Some(Engine::CriO),
            _ => None,
        }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// Kubernetes' names for a container: containerd's annotations, then CRI-O's.
const KUBERNETES: [[&str; 3]; 2] = [
    [
        "io.kubernetes.cri.container-name",
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.sandbox-namespace",
    ],
    ["io.kubernetes.container.name", "io.kubernetes.pod.name", "io.kubernetes.pod.namespace"],
];

/// The names of a Kubernetes container: `CONTAINER`, `POD/CONTAINER`, `NAMESPACE/POD/CONTAINER` and,
/// for where a name must have no slash, `NAMESPACE_POD_CONTAINER`. None has an underscore in it.
#[must_use]
pub fn names_in_kubernetes(namespace: &str, pod: &str, container: &str) -> Vec<String> {
    vec![
        container.to_owned(),
        format!("{pod}/{container}"),
        format!("{namespace}/{pod}/{container}"),
        format!("{namespace}_{pod}_{container}"),
    ]
}

/// [`names_in_kubernetes`], if annotations say.
pub(super) fn kubernetes_names(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let Some([container, pod, namespace]) = KUBERNETES
        .map(|keys| keys.map(|key| annotations.get(key).filter(|name| !name.is_empty())))
        .into_iter()
        .find(|names| names.iter().all(Option::is_some))
        .and_then(|[container, pod, namespace]| Some([container?, pod?, namespace?]))
    else {
        return Vec::new();
    };
    names_in_kubernetes(namespace, pod, container)
}

/// What all tasks say.
pub(super) fn claims(finder: &Finder, notes: &mut Vec<Skipped>) -> Vec<Claim> {
    let mut claims = Vec::new();
    for namespace in finder.names_in(TASKS, notes) {
        let engine = if namespace == "moby" { Engine::Docker } else { Engine::Containerd };
        let folder = Path::new(TASKS).join(namespace);
        for id in finder.names_in(&folder, notes) {
            let bundle = folder.join(&id);
            match claim(finder, &bundle) {
                Ok(claim) => claims.push(Claim { id, engine: Some(engine), ..claim }),
                Err(error) => note(notes, &finder.path(&bundle), &error),
            }
        }
    }
    claims
}

fn claim(finder: &Finder, bundle: &Path) -> Result<Claim, FileError> {
    let source = finder.path(bundle.join("init.pid"));
    let text = json_file::read_bytes(&source)?;
    let pid = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    let reason = "it holds no process number".to_owned();
    let pid = pid.ok_or_else(|| FileError::Content { path: source.clone(), reason })?;
    let config = Config::read(finder, bundle)?;
    Ok(Claim {
        source,
        pid,
        cgroup: config.linux.and_then(|linux| linux.cgroups_path),
        // Relative to the bundle, and for containerd its `rootfs`.
        rootfs: config.root.map(|root| bundle.join(root.path)),
        bundle: Some(bundle.to_owned()),
        ..Claim::default()
    })
}
