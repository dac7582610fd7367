//! systemd-nspawn's containers as systemd-machined keeps them, and LXC's by their folders.

use std::path::{Path, PathBuf};

use super::{Claim, Engine, Finder, Skipped, note};
use crate::json_file;

/// systemd-machined: one file per machine with lines `KEY=value`.
const MACHINES: &str = "/run/systemd/machines";

/// What systemd-machined says about containers. Virtual machines are machines, too.
pub(super) fn claims(finder: &Finder, notes: &mut Vec<Skipped>) -> Vec<Claim> {
    let mut claims = Vec::new();
    for name in finder.names_in(MACHINES, notes) {
        // Links lead from units to machines.
        if name.starts_with("unit:") {
            continue;
        }
        let source = finder.path(Path::new(MACHINES).join(&name));
        let text = match json_file::read_bytes(&source) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                note(notes, &source, &error);
                continue;
            }
        };
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let (_, value) = lines.find(|(name, _)| *name == key)?;
            Some(value.trim_matches('"'))
        };
        if value("CLASS") != Some("container") {
            continue;
        }
        let Some(pid) = value("LEADER").and_then(|pid| pid.parse().ok()) else {
            let reason = "it names no process as LEADER".to_owned();
            notes.push(Skipped { path: source, reason });
            continue;
        };
        claims.push(Claim {
            engine: Some(Engine::Nspawn),
            rootfs: value("ROOT").map(PathBuf::from),
            id: name,
            pid,
            source,
            ..Claim::default()
        });
    }
    claims
}

/// Where each engine keeps its instances.
const INSTANCES: [(&str, Engine); 4] = [
    ("/var/lib/incus/containers", Engine::Incus),
    ("/var/lib/lxd/containers", Engine::Lxd),
    ("/var/snap/lxd/common/lxd/containers", Engine::Lxd),
    ("/var/lib/lxc", Engine::Lxc),
];

/// Whose a container is that LXC started under `name`, its names, and its root if that is plain.
///
/// Incus and LXD call an instance of a project other than `default` `PROJECT_INSTANCE`; an
/// instance's own name has no underscore.
pub(super) fn lxc(finder: &Finder, name: &str) -> (Engine, Vec<String>, Option<PathBuf>) {
    let plain = !name.contains('/') && name != "..";
    let exists = |folder: &&(&str, Engine)| finder.path(folder.0).join(name).exists();
    let found = INSTANCES.iter().find(exists).filter(|_| plain);
    let &(folder, engine) = found.unwrap_or(&("/var/lib/lxc", Engine::Lxc));
    if engine == Engine::Lxc {
        let rootfs = Path::new(folder).join(name).join("rootfs");
        let rootfs = finder.path(&rootfs).is_dir().then_some(rootfs);
        return (engine, vec![name.to_owned()], rootfs);
    }
    let names = match name.rsplit_once('_') {
        Some((project, instance)) => vec![instance.to_owned(), format!("{project}/{instance}")],
        None => vec![name.to_owned()],
    };
    (engine, names, None)
}
