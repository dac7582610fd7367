//! Steps, printed and applied.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::InstallError;
use crate::rooted::below;

/// One change to the file system, or something for the operator to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// A file of ours.
    Write {
        /// Without the root.
        path: PathBuf,
        /// All of it.
        content: String,
        /// Its permissions, such as 0o644.
        mode: u32,
    },
    /// A file of somebody else's in which only some keys change; its mode stays.
    Merge {
        /// Without the root.
        path: PathBuf,
        /// All of it, as it will be.
        content: String,
        /// What is different, in words.
        changes: Vec<String>,
    },
    /// A symbolic link, in the place of whatever file is there.
    Link {
        /// Without the root.
        path: PathBuf,
        /// Where it leads, as the engine sees it.
        target: PathBuf,
    },
    /// A file or a link that goes.
    Remove {
        /// Without the root.
        path: PathBuf,
    },
    /// Something to know or to do by hand.
    Say(String),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    root: PathBuf,
    steps: Vec<Step>,
}

impl Plan {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), steps: Vec::new() }
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Say(_)))
    }

    /// Adds a file of ours, unless it is there with this content and mode.
    pub(super) fn write(&mut self, path: &str, content: String, mode: u32) {
        let there = below(&self.root, path);
        let same = fs::symlink_metadata(&there)
            .is_ok_and(|meta| meta.is_file() && meta.mode() & 0o7777 == mode)
            && fs::read_to_string(&there).is_ok_and(|text| text == content);
        if !same {
            self.steps.push(Step::Write { path: path.into(), content, mode });
        }
    }

    /// Adds a link, unless it is there.
    pub(super) fn link(&mut self, path: &str, target: &Path) {
        if fs::read_link(below(&self.root, path)).is_ok_and(|there| there == target) {
            return;
        }
        self.steps.push(Step::Link { path: path.into(), target: target.to_owned() });
    }

    /// Adds the end of a file, unless there is none.
    pub(super) fn remove(&mut self, path: &str) {
        if fs::symlink_metadata(below(&self.root, path)).is_ok() {
            self.steps.push(Step::Remove { path: path.into() });
        }
    }

    pub(super) fn merge(&mut self, path: &str, content: String, changes: Vec<String>) {
        if !changes.is_empty() {
            self.steps.push(Step::Merge { path: path.into(), content, changes });
        }
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.steps.push(Step::Say(text.into()));
    }

    /// Whether anything but words is in it.
    pub(super) fn changes_something(&self) -> bool {
        !self.is_done()
    }

    /// Does it. Each file is written beside and renamed into place.
    ///
    /// # Errors
    /// The first step that fails; those before it are done.
    pub fn apply(&self) -> Result<(), InstallError> {
        for step in &self.steps {
            self.do_one(step).map_err(|source| {
                let step = self.describe(step);
                let step = step.lines().next().unwrap_or_default().to_owned();
                InstallError::Step { step, source }
            })?;
        }
        Ok(())
    }

    fn do_one(&self, step: &Step) -> io::Result<()> {
        match step {
            Step::Write { path, content, mode } => {
                replace(&below(&self.root, path), |beside| new_file(beside, content, *mode))
            }
            Step::Merge { path, content, .. } => {
                let path = below(&self.root, path);
                // Configuration management likes to make it a link.
                let path = path.canonicalize().unwrap_or(path);
                let mode = fs::metadata(&path).map_or(0o644, |meta| meta.mode() & 0o7777);
                replace(&path, |beside| new_file(beside, content, mode))
            }
            Step::Link { path, target } => {
                replace(&below(&self.root, path), |beside| symlink(target, beside))
            }
            Step::Remove { path } => match fs::remove_file(below(&self.root, path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            },
            Step::Say(_) => Ok(()),
        }
    }

    fn describe(&self, step: &Step) -> String {
        let full = |path: &Path| below(&self.root, path).display().to_string();
        let indented =
            |text: &str| text.lines().map(|line| format!("\n  {line}")).collect::<String>();
        match step {
            Step::Write { path, content, mode } => {
                format!("write {} (mode {mode:04o}):{}", full(path), indented(content))
            }
            Step::Merge { path, changes, .. } => {
                let changes = changes.join("\n");
                format!("change {}, keeping everything else:{}", full(path), indented(&changes))
            }
            Step::Link { path, target } => format!("link {} to {}", full(path), target.display()),
            Step::Remove { path } => format!("remove {}", full(path)),
            Step::Say(text) => format!("note: {text}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return writeln!(formatter, "nothing to do");
        }
        self.steps.iter().try_for_each(|step| writeln!(formatter, "{}", self.describe(step)))
    }
}

/// Makes something beside `path` and puts it there in one step.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // hooks.d, conf.d and /etc/cdi are read by their files' endings; this one is none of theirs.
    let beside = folder.join(format!(".{name}.resview-{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    make(&beside).and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

fn new_file(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    // Whatever the umask is.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}
