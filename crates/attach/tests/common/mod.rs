//! Containers to attach to, and file systems to attach.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

pub(crate) mod container;
pub(crate) mod served;

use std::fs;
use std::path::Path;
use std::thread;

use attach::{Attach, Binding, Detach, FileReport, Ours, Outcome, Process, attach, detach};
use rustix::mount::{MountPropagationFlags, mount_change};
pub(crate) use testkit::mounts_of;

pub(crate) use self::container::Container;
pub(crate) use self::served::{SOURCE, Served};

/// What every test's files say.
pub(crate) const MEMINFO: &str = "/proc/meminfo";
pub(crate) const UPTIME: &str = "/proc/uptime";
pub(crate) const CPU: &str = "/sys/devices/system/cpu";

/// Runs `test` where its mounts are nobody else's, and sees to it that it changed nothing there
/// that it did not take back, and nothing on the machine.
pub(crate) fn isolated(name: &str, test: impl FnOnce() + Send + 'static) {
    if !testkit::need_root(name) || !testkit::need_fuse(name) {
        return;
    }
    let outcome = thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let before = own_mounts();
        test();
        assert_eq!(own_mounts(), before, "the test's own mount namespace");
        let host = fs::read_to_string("/proc/1/mountinfo").unwrap();
        assert!(!host.contains(SOURCE), "on the machine: {host}");
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The mounts of the calling thread.
pub(crate) fn own_mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

pub(crate) fn ours() -> Ours {
    Ours::types(&["fuse.resview"])
}

/// A request for the usual files of `served`.
pub(crate) fn request(served: &Served, process: Process) -> Attach {
    let mut request = Attach::new(process, ours());
    request.bindings = vec![
        Binding::file(served.path("meminfo"), MEMINFO),
        Binding::file(served.path("uptime"), UPTIME),
        Binding::directory(served.path("cpu"), CPU),
    ];
    request
}

/// Attaches the usual files, and says what came of each.
pub(crate) fn attach_usual(served: &Served, process: Process) -> Vec<Outcome> {
    outcomes(attach(request(served, process)).unwrap().files)
}

pub(crate) fn outcomes(files: Vec<FileReport>) -> Vec<Outcome> {
    files.into_iter().map(|file| file.outcome).collect()
}

/// Detaches the usual files; how many were there.
pub(crate) fn detach_usual(process: Process) -> usize {
    let targets = [MEMINFO, UPTIME, CPU].map(|target| Path::new(target).to_owned());
    detach(Detach::new(process, targets.into(), ours())).unwrap().targets.len()
}
