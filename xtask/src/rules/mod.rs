//! The house rules that no compiler holds.

mod arrows;
mod sources;

pub(crate) use sources::PURE;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::repo;

/// Every broken rule, in words.
///
/// # Errors
/// When the sources cannot be read.
pub(crate) fn broken() -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "fuzz"] {
        rust_files(&repo::root().join(folder), &mut files)?;
    }
    let mut broken = arrows::broken(&repo::metadata()?);
    broken.extend(sources::lengths(&files));
    broken.extend(files.iter().flat_map(sources::broken));
    for (name, limit) in [("README.md", 150), ("ARCHITECTURE.md", 200)] {
        let lines =
            std::fs::read_to_string(repo::root().join(name)).map(|text| text.lines().count());
        match lines {
            Ok(lines) if lines > limit => {
                broken.push(format!("{name} has {lines} lines; the limit is {limit}"));
            }
            _ => {}
        }
    }
    Ok(broken)
}

/// A source file of the project.
#[derive(Debug)]
struct Source {
    /// Its path in the repository, such as `crates/view/src/lib.rs`.
    path: PathBuf,
    text: String,
}

fn rust_files(dir: &Path, files: &mut Vec<Source>) -> Result<()> {
    if !dir.is_dir() || dir.ends_with("target") {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let path = path.strip_prefix(repo::root()).unwrap_or(&path).to_owned();
            files.push(Source { path, text });
        }
    }
    Ok(())
}
