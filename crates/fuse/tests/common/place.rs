//! Where to mount, out of everybody's sight.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use fuse::{Connection, Features, MountOptions, Session, unmount};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

/// Runs `test` where its mounts are nobody else's.
pub(crate) fn isolated(name: &str, test: impl FnOnce() + Send + 'static) {
    if !testkit::need_root(name) || !testkit::need_fuse(name) {
        return;
    }
    // A thread of its own: libtest may run tests on threads that it uses again.
    let outcome = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        test();
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A temporary directory to mount on, which is unmounted and removed again.
pub(crate) struct Mountpoint(tempfile::TempDir);

impl Mountpoint {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn options(&self) -> MountOptions {
        MountOptions {
            mountpoint: self.path().to_owned(),
            subtype: "resview".to_owned(),
            source: "resview-test".to_owned(),
            allow_other: true,
            default_permissions: true,
            read_only: false,
        }
    }

    pub(crate) fn session(&self) -> Session {
        Connection::mount(&self.options()).unwrap().init(&Features::default()).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The line of /proc/self/mounts, as this thread's namespace has it.
    pub(crate) fn line(&self) -> Option<String> {
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let path = self.path().to_str().unwrap();
        mounts.lines().find(|line| line.split(' ').nth(1) == Some(path)).map(str::to_owned)
    }
}

impl Drop for Mountpoint {
    fn drop(&mut self) {
        let _ = unmount(self.path()); // most tests have done so
    }
}
