//! Where a container is, and whether it has a view at all.

use std::path::{Path, PathBuf};

use container::Container;

use crate::mountinfo::{self, Mount};
use crate::mountpoint::is_view;

/// Where the container's cgroups are.
pub(super) fn directories(container: &Container) -> Vec<PathBuf> {
    let hierarchies = container.group().layout().hierarchies();
    let joined = hierarchies.iter().zip(container.paths().iter()).map(|(hierarchy, path)| {
        hierarchy.mount_point().join(path.strip_prefix("/").unwrap_or(path))
    });
    joined.collect()
}

/// Says so if no view lies over the file in the container.
pub(super) fn unmounted(container: &Container, path: &str) -> Option<String> {
    let path = if path.starts_with("sys/") { format!("/{path}") } else { format!("/proc/{path}") };
    let text = std::fs::read(format!("/proc/{}/mountinfo", container.anchor().pid)).ok()?;
    let over = |mount: &Mount| is_view(mount) && Path::new(&path).starts_with(&mount.mount_point);
    if mountinfo::parse(&text).iter().any(over) {
        return None;
    }
    Some(format!(
        "no view is mounted over {path} there: until it is, the container reads the host's"
    ))
}
