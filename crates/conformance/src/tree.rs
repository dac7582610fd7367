//! The tree under test.

use std::path::{Path, PathBuf};

use crate::not_applicable;

/// Directories of `/sys` that a tree may have, bound as a whole.
const SYS_DIRECTORIES: [&str; 2] = ["sys/devices/system/cpu", "sys/devices/system/node"];

/// Those that have no files of their own.
const SYS_BLOCK: [&str; 2] = ["sys/block", "sys/class/block"];

/// A tree of files that containers get in place of the kernel's.
#[derive(Clone, Debug)]
pub struct Tree {
    title: String,
    dir: Option<PathBuf>,
    resview: Option<PathBuf>,
    /// Relative to the root, such as `proc/meminfo` and `sys/devices/system/cpu`.
    binds: Vec<String>,
}

impl Tree {
    /// A mounted tree with `proc/` and perhaps `sys/` in it, as LXCFS lays it out.
    ///
    /// # Errors
    /// When its `proc` cannot be listed.
    pub fn mounted(title: &str, dir: &Path) -> std::io::Result<Self> {
        let mut binds = Vec::new();
        files(dir, "proc", &mut binds)?;
        for sys in SYS_DIRECTORIES {
            // What LXC's hook does: without uevent the directory is incomplete, and only `online`
            // is taken from it.
            // LXCFS finds everything below /sys/devices, but lists only what it means to serve.
            if !lists(dir, sys) {
                continue;
            }
            if lists(dir, &format!("{sys}/uevent")) {
                binds.push(sys.to_owned());
            } else if lists(dir, &format!("{sys}/online")) {
                binds.push(format!("{sys}/online"));
            }
        }
        binds.extend(SYS_BLOCK.into_iter().filter(|block| lists(dir, block)).map(str::to_owned));
        binds.sort();
        Ok(Self { title: title.to_owned(), dir: Some(dir.to_owned()), resview: None, binds })
    }

    /// Says that this program serves the tree, which can then be asked about its options too.
    #[must_use]
    pub fn served_by(self, resview: &Path) -> Self {
        Self { resview: Some(resview.to_owned()), ..self }
    }

    /// Our program, if it serves this tree.
    pub(crate) fn resview(&self) -> Option<&Path> {
        self.resview.as_deref()
    }

    /// The kernel's own files, as every container without a view sees them.
    #[must_use]
    pub fn kernel(title: &str) -> Self {
        Self { title: title.to_owned(), dir: None, resview: None, binds: Vec::new() }
    }

    /// Whether these are the kernel's own files.
    pub(crate) fn is_kernel(&self) -> bool {
        self.dir.is_none()
    }

    /// What the column of this tree is called.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What a container gets of it, as paths without leading slash: files of `/proc`, and files and
    /// whole directories of `/sys`.
    #[must_use]
    pub fn binds(&self) -> &[String] {
        &self.binds
    }

    /// Whether a container sees a file of this tree at `path`, which has no leading slash.
    pub(crate) fn has(&self, path: &str) -> bool {
        let covers = |bind: &String| {
            path.strip_prefix(bind).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match &self.dir {
            Some(dir) => self.binds.iter().any(covers) && lists(dir, path),
            None => Path::new("/").join(path).exists(),
        }
    }

    /// Ends the check where the tree lacks one of these files.
    pub(crate) fn needs(&self, paths: &[&str]) -> anyhow::Result<()> {
        match paths.iter().find(|path| !self.has(path)) {
            Some(path) => not_applicable(format!("no {path}")),
            None => Ok(()),
        }
    }

    /// The files of `/proc`, without leading slash; of the kernel's, those that ours has too.
    pub(crate) fn proc_files(&self) -> Vec<String> {
        if self.dir.is_some() {
            return self.binds.iter().filter(|bind| bind.starts_with("proc/")).cloned().collect();
        }
        let names = view::catalogue::PROC_FILES.iter().map(|file| format!("proc/{}", file.name));
        names.filter(|name| self.has(name)).collect()
    }

    /// Commands that lay the tree over a container's `/proc` and `/sys`.
    pub(crate) fn mount_script(&self) -> String {
        let Some(dir) = &self.dir else { return String::new() };
        let dir = dir.display();
        let lines = self.binds.iter().map(|bind| {
            format!("if [ -e /{bind} ]; then mount --bind {dir}/{bind} /{bind} || exit 1; fi\n")
        });
        lines.collect()
    }
}

/// Whether `root/path` is listed in its directory.
///
/// LXCFS 6 refuses to look at a file where it cannot read the personality of the caller's init, such
/// as that of the whole machine, but lists them all.
pub(crate) fn lists(root: &Path, path: &str) -> bool {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let listed = std::fs::read_dir(root.join(parent)).into_iter().flatten().flatten();
    listed.into_iter().any(|entry| entry.file_name() == name)
}

/// The files below `root/dir`, each with `dir` in front.
fn files(root: &Path, dir: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files(root, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
