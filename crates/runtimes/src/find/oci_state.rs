//! State files of runc, crun and youki.
//!
//! runc: `ROOT/ID/state.json` (libcontainer's `State`); crun: `ROOT/ID/status`; youki:
//! `ROOT/ID/state.json` with the fields of the OCI state and `youki_config.json` beside it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Claim, Engine, Finder, Skipped, note};
use crate::json_file::{self, FileError};

/// Where the runtimes keep states when root runs them by hand, Podman or CRI-O.
const ROOTS: [(&str, Engine); 3] =
    [("/run/runc", Engine::Runc), ("/run/crun", Engine::Crun), ("/run/youki", Engine::Youki)];

#[derive(Deserialize)]
struct RuncState {
    init_process_pid: u32,
    init_process_start: u64,
    #[serde(default)]
    config: RuncConfig,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuncConfig {
    rootfs: Option<PathBuf>,
    labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CrunStatus {
    pid: u32,
    process_start_time: u64,
    cgroup_path: Option<String>,
    rootfs: Option<PathBuf>,
    bundle: Option<PathBuf>,
}

#[derive(Deserialize)]
struct YoukiState {
    pid: Option<u32>,
    bundle: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
struct YoukiConfig {
    cgroup_path: Option<String>,
}

/// What all state files say.
pub(super) fn claims(finder: &Finder, notes: &mut Vec<Skipped>) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (root, engine) in ROOTS {
        in_root(finder, Path::new(root), engine, notes, &mut claims);
    }
    for runtime in finder.names_in("/run/docker", notes) {
        // Whatever the runtime is called, its state is in a folder of this name; plug-ins and
        // sockets are elsewhere.
        if runtime.starts_with("runtime-") {
            let root = Path::new("/run/docker").join(runtime);
            in_namespaces(finder, &root, |_| Engine::Docker, notes, &mut claims);
        }
    }
    let engine = |namespace: &str| match namespace {
        "moby" => Engine::Docker,
        _ => Engine::Containerd,
    };
    in_namespaces(finder, Path::new("/run/containerd/runc"), engine, notes, &mut claims);
    claims
}

/// What the state files of a container say that Podman or CRI-O has made, or somebody by hand.
pub(super) fn of(finder: &Finder, id: &str) -> impl Iterator<Item = Claim> {
    let states = ROOTS.iter().filter_map(move |(root, engine)| {
        claim(&finder.path(Path::new(root).join(id)), *engine).ok()
    });
    states.map(move |claim| Claim { id: id.to_owned(), ..claim })
}

fn in_namespaces(
    finder: &Finder,
    root: &Path,
    engine: impl Fn(&str) -> Engine,
    notes: &mut Vec<Skipped>,
    claims: &mut Vec<Claim>,
) {
    for namespace in finder.names_in(root, notes) {
        let engine = engine(&namespace);
        in_root(finder, &root.join(namespace), engine, notes, claims);
    }
}

fn in_root(
    finder: &Finder,
    root: &Path,
    engine: Engine,
    notes: &mut Vec<Skipped>,
    claims: &mut Vec<Claim>,
) {
    for id in finder.names_in(root, notes) {
        let dir = finder.path(root.join(&id));
        match claim(&dir, engine) {
            Ok(claim) => claims.push(Claim { id, ..claim }),
            // No state, as in a container that is just being made.
            Err(error) => note(notes, &dir, &error),
        }
    }
}

fn claim(dir: &Path, engine: Engine) -> Result<Claim, FileError> {
    let state = dir.join("state.json");
    if engine == Engine::Youki {
        return youki(dir, &state);
    }
    match json_file::read(&state) {
        Ok(found) => Ok(runc(found, state, engine)),
        Err(error) if error.is_missing() => {
            let status = dir.join("status");
            let found = json_file::read(&status)?;
            Ok(crun(found, status, engine))
        }
        Err(error) => Err(error),
    }
}

fn runc(state: RuncState, source: PathBuf, engine: Engine) -> Claim {
    let bundle = state.config.labels.iter().find_map(|label| label.strip_prefix("bundle="));
    Claim {
        source,
        engine: Some(engine),
        pid: state.init_process_pid,
        start_time: Some(state.init_process_start),
        bundle: bundle.map(PathBuf::from),
        rootfs: state.config.rootfs,
        ..Claim::default()
    }
}

fn crun(status: CrunStatus, source: PathBuf, engine: Engine) -> Claim {
    Claim {
        source,
        engine: Some(engine),
        pid: status.pid,
        start_time: Some(status.process_start_time),
        cgroup: status.cgroup_path,
        rootfs: status.rootfs,
        bundle: status.bundle,
        ..Claim::default()
    }
}

fn youki(dir: &Path, state: &Path) -> Result<Claim, FileError> {
    let found: YoukiState = json_file::read(state)?;
    let config: YoukiConfig = json_file::read(&dir.join("youki_config.json")).unwrap_or_default();
    Ok(Claim {
        source: state.to_owned(),
        engine: Some(Engine::Youki),
        // None: created and not started, or stopped. Nobody has process 0.
        pid: found.pid.unwrap_or(0),
        cgroup: config.cgroup_path,
        bundle: found.bundle,
        ..Claim::default()
    })
}
