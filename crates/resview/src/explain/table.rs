//! The main quantities: the table that `resview run` prints too, for a container that runs.

use std::path::PathBuf;

use cgroup::{Controller, Explained, Version};
use serde_json::{Value, json};

use super::look::Look;
use super::sources::own_directory;
use crate::run::report::{Seen, rows, table};

/// The table as text, and its rows.
pub(super) fn of(look: &Look) -> anyhow::Result<(String, Value)> {
    let seen = |container: bool| {
        Seen::by(|path| {
            let path = path.strip_prefix("/proc/").or_else(|| path.strip_prefix('/'))?;
            look.read(path, container).ok()
        })
    };
    let limits = look.group().map_or_else(|| Ok(Explained::default()), |group| group.explain())?;
    let file = |controller: &str, v1: &str, v2: &str| file(look, controller, v1, v2);
    let rows = rows(&seen(false), &seen(true), &limits, &file, Some(look.cpu_count()));
    let mut text = table(&rows);
    look.notes(None).iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    Ok((text, json!({ "quantities": rows, "notes": look.notes(None) })))
}

/// A file of the container's own cgroup.
fn file(look: &Look, controller: &str, v1: &str, v2: &str) -> Option<PathBuf> {
    let group = look.group()?;
    let controller = Controller::ALL.into_iter().find(|one| one.v1_name() == controller)?;
    let name = if group.version(controller)? == Version::V1 { v1 } else { v2 };
    Some(own_directory(group, controller)?.join(name)).filter(|path| path.exists())
}
