//! A root for each tree, so that the same path leads to the same file of each.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::protocol::Laid;

/// `f_type` of statfs(2): procfs and sysfs (linux/magic.h).
const KERNEL: [i64; 2] = [0x9fa0, 0x6265_6572];

/// Makes `root` with the `proc` and `sys` that a container with that tree has.
pub(super) fn lay(root: &Path, tree: &Laid) -> Result<()> {
    for name in ["proc", "sys"] {
        let to = root.join(name);
        std::fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        let mounted = match tree {
            Laid::Attached => {
                let (from, with_all) =
                    (Path::new("/").join(name), MsFlags::MS_BIND | MsFlags::MS_REC);
                mount(Some(&from), &to, None::<&str>, with_all, None::<&str>)
            }
            Laid::Bound(_) => {
                let kind = if name == "proc" { "proc" } else { "sysfs" };
                mount(Some(kind), &to, Some(kind), MsFlags::empty(), None::<&str>)
            }
        };
        mounted.with_context(|| format!("cannot mount {}", to.display()))?;
    }
    let Laid::Bound(binds) = tree else { return Ok(()) };
    for (from, to) in binds {
        let to = root.join(to);
        // A tree may have files that this kernel has not.
        if to.exists() {
            mount(Some(from), &to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .with_context(|| format!("cannot bind {}", from.display()))?;
        }
    }
    Ok(())
}

/// Those of `files` that can be read below `root`.
///
/// What a tree does not have is the kernel's file there, as in a container, and none of the tree's.
pub(super) fn which(root: &Path, files: &[String], kernel: bool) -> Vec<String> {
    let is_there = |file: &&String| {
        File::open(root.join(file)).is_ok_and(|mut file| {
            let of_kernel = rustix::fs::fstatfs(&file).is_ok_and(|fs| KERNEL.contains(&fs.f_type));
            of_kernel == kernel && std::io::copy(&mut file, &mut std::io::sink()).is_ok()
        })
    };
    files.iter().filter(is_there).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_not_taken_for_a_trees() {
        let files: Vec<String> =
            ["proc/self/stat", "proc/no-such", "etc/passwd"].map(str::to_owned).into();
        assert_eq!(which(Path::new("/"), &files, true), ["proc/self/stat"]);
        assert_eq!(which(Path::new("/"), &files, false), ["etc/passwd"]);
    }
}
