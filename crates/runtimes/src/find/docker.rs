//! Docker's names and labels: `DATA-ROOT/containers/ID/config.v2.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Claim, Engine, Finder, Skipped, note};
use crate::json_file;

/// Where Docker keeps containers unless daemon.json says otherwise.
const DATA_ROOT: &str = "/var/lib/docker";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct DaemonJson {
    data_root: Option<PathBuf>,
    /// What `data-root` was called before 17.05.
    graph: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigV2 {
    name: String,
    state: State,
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    running: bool,
    pid: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

/// A container as Docker describes it.
pub(super) struct Described {
    pub(super) claim: Claim,
    /// Its labels with a policy of ours: labels do not get into config.json.
    pub(super) policy: BTreeMap<String, String>,
}

/// Docker's folder, as the engine sees it.
pub(crate) fn data_root(root: &Path) -> PathBuf {
    let file = crate::rooted::below(root, "/etc/docker/daemon.json");
    let daemon: DaemonJson = json_file::read(&file).unwrap_or_default();
    daemon.data_root.or(daemon.graph).unwrap_or_else(|| PathBuf::from(DATA_ROOT))
}

/// All containers that run, as Docker says.
pub(super) fn described(finder: &Finder, notes: &mut Vec<Skipped>) -> Vec<Described> {
    let containers = data_root(&finder.root).join("containers");
    let ids = finder.names_in(&containers, notes);
    ids.iter().filter_map(|id| describe(finder, &containers, id, notes)).collect()
}

/// One container; none if Docker does not know it or says that it does not run.
pub(super) fn one(finder: &Finder, id: &str) -> Option<Described> {
    let plain = !id.contains('/') && !id.starts_with('.');
    let containers = data_root(&finder.root).join("containers");
    plain.then(|| describe(finder, &containers, id, &mut Vec::new())).flatten()
}

fn describe(
    finder: &Finder,
    containers: &Path,
    id: &str,
    notes: &mut Vec<Skipped>,
) -> Option<Described> {
    let source = finder.path(containers.join(id).join("config.v2.json"));
    let file: ConfigV2 = match json_file::read(&source) {
        Ok(file) => file,
        Err(error) => {
            note(notes, &source, &error);
            return None;
        }
    };
    let name = file.name.trim_start_matches('/').to_owned();
    let policy = file.config.labels.unwrap_or_default().into_iter();
    Some(Described {
        claim: Claim {
            source,
            engine: Some(Engine::Docker),
            id: id.to_owned(),
            names: if name.is_empty() { Vec::new() } else { vec![name] },
            pid: if file.state.running { file.state.pid } else { 0 },
            ..Claim::default()
        },
        policy: policy.filter(|(key, _)| key.starts_with("resview.dev/")).collect(),
    })
}
