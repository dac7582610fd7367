//! Where things are: the repository, what cargo builds, what these chores keep.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// `cargo` in the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root());
    cargo
}

/// What `cargo metadata` says about the workspace, dependencies from outside left out.
pub(crate) fn metadata() -> Result<serde_json::Value> {
    let text = sh::output(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    serde_json::from_str(&text).context("the output of `cargo metadata` is no JSON")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str();
    Ok(PathBuf::from(target.context("`cargo metadata` names no target directory")?))
}

/// The folder for kernels, initial file systems and tools: `RESVIEW_CACHE`, else `target/vm`.
///
/// Deleting it costs a download, nothing else.
pub(crate) fn cache() -> Result<PathBuf> {
    let dir = match std::env::var_os("RESVIEW_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => target()?.join("vm"),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    dir.canonicalize().with_context(|| format!("cannot resolve {}", dir.display()))
}

/// An exclusive lock on the cache, held until the file is dropped: several checkouts may share it.
pub(crate) fn lock(cache: &Path) -> Result<std::fs::File> {
    let path = cache.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
