//! Paths below a prefix: the host's root, a package's folder or a test's.

use std::path::{Component, Path, PathBuf};

/// `path`, which is absolute for its engine, below `root`. `..` does not lead out.
pub(crate) fn below(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    let mut below = PathBuf::new();
    for component in path.as_ref().components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::ParentDir => {
                below.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    root.join(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_prefix() {
        let root = Path::new("/pkg");
        assert_eq!(below(root, "/etc/docker"), Path::new("/pkg/etc/docker"));
        assert_eq!(below(root, "/../../etc/./x/../docker"), Path::new("/pkg/etc/docker"));
        assert_eq!(below(Path::new("/"), "run/runc"), Path::new("/run/runc"));
    }
}
