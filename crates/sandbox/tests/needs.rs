//! Why each capability is kept, and why Landlock is not used: what the worker could not do otherwise.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use common::*;
use landlock::{
    AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use sandbox::{Sandbox, enter};
use testkit::{need_command, need_root, skip};

/// The process that is looked at, as the environment of a child says.
const TARGET: &str = "RESVIEW_SANDBOX_TARGET";
/// The capability that a child gives up first.
const WITHOUT: &str = "RESVIEW_SANDBOX_WITHOUT";
/// Neither root nor anybody.
const OTHER_USER: u32 = 61_234;

fn main() -> ExitCode {
    run(
        &[
            ("sys_ptrace_is_for_namespaces", sys_ptrace_is_for_namespaces),
            ("dac_read_search_is_for_files_of_others", dac_read_search_is_for_files_of_others),
            ("dac_override_is_for_triggers_of_others", dac_override_is_for_triggers_of_others),
            ("sys_resource_is_for_any_window", sys_resource_is_for_any_window),
            ("landlock_would_hide_all_namespaces", landlock_would_hide_all_namespaces),
        ],
        &[("look", look), ("trigger", trigger), ("landlock", landlocked)],
    )
}

/// A process of another user in a user namespace of its own, as those of a rootless container are.
struct Foreign(Child);

impl Foreign {
    fn start(test: &str) -> Option<Self> {
        let ready = ["setpriv", "unshare"].into_iter().all(|name| need_command(test, name));
        if !need_root(test) || !ready {
            return None;
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &OTHER_USER.to_string(), "--clear-groups"]);
        command.args(["unshare", "--user", "sh", "-c", "echo ready; read line"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Some(Self(child))
    }

    /// What a child that gives up `without` can see of it.
    fn seen(&self, name: &str, without: &str) -> String {
        let mut command = child(name);
        command.env(TARGET, self.0.id().to_string()).env(WITHOUT, without);
        output_of(command)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It waits for a line, or the end of them.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn sys_ptrace_is_for_namespaces() {
    let Some(foreign) = Foreign::start("sys_ptrace_is_for_namespaces") else { return };
    assert_eq!(foreign.seen("look", ""), "namespace ok\npersonality ok\nown file ok\n");
    let seen = foreign.seen("look", "CAP_SYS_PTRACE");
    assert_eq!(seen, "namespace EACCES\npersonality EPERM\nown file ok\n");
}

fn dac_read_search_is_for_files_of_others() {
    let Some(foreign) = Foreign::start("dac_read_search_is_for_files_of_others") else { return };
    let seen = foreign.seen("look", "CAP_DAC_READ_SEARCH");
    assert_eq!(seen, "namespace ok\npersonality EACCES\nown file EACCES\n");
}

fn look() {
    let proc = File::open("/proc").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let top = file_of_other_user(dir.path(), 0o400);
    enter_without(Sandbox::default());
    let target = std::env::var(TARGET).unwrap();
    let link = readlinkat(&proc, format!("{target}/ns/user"), Vec::new());
    println!("namespace {}", name(link.map(drop)));
    let read = |dir: &File, path: &str| {
        let file = openat(dir, path, OFlags::RDONLY, Mode::empty())?;
        rustix::io::read(&file, &mut [0; 16]).map(drop)
    };
    println!("personality {}", name(read(&proc, &format!("{target}/personality"))));
    println!("own file {}", name(read(&top, "file")));
    // There is no way back to the directory.
    drop(dir.keep());
}

fn dac_override_is_for_triggers_of_others() {
    let Some(foreign) = Foreign::start("dac_override_is_for_triggers_of_others") else { return };
    let seen = |without| foreign.seen("trigger", without).lines().next().unwrap().to_owned();
    assert_eq!(seen(""), "own file ok");
    assert_eq!(seen("CAP_DAC_OVERRIDE"), "own file EACCES");
}

fn sys_resource_is_for_any_window() {
    let test = "sys_resource_is_for_any_window";
    let Some(foreign) = Foreign::start(test) else { return };
    if !Path::new("/proc/pressure/cpu").exists() {
        return skip(test, "needs a kernel that counts pressure (psi=1)");
    }
    let seen = |without| foreign.seen("trigger", without).lines().nth(1).unwrap().to_owned();
    let has_it = capabilities(None).unwrap().permitted.contains(CapabilitySet::SYS_RESOURCE);
    assert_eq!(seen("") == "window ok", has_it, "{}", seen(""));
    assert_ne!(seen("CAP_SYS_RESOURCE"), "window ok");
}

fn trigger() {
    let proc = File::open("/proc").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let top = file_of_other_user(dir.path(), 0o644);
    enter_without(Sandbox { triggers: true, ..Sandbox::default() });
    let open = |dir: &File, path: &str| openat(dir, path, OFlags::RDWR, Mode::empty());
    println!("own file {}", name(open(&top, "file").map(drop)));
    let written = open(&proc, "pressure/cpu")
        .and_then(|file| rustix::io::write(&file, b"some 100000 1000000\0"));
    println!("window {}", name(written.map(drop)));
    drop(dir.keep());
}

fn landlock_would_hide_all_namespaces() {
    let test = "landlock_would_hide_all_namespaces";
    let Some(foreign) = Foreign::start(test) else { return };
    match foreign.seen("landlock", "").as_str() {
        "ok\nno Landlock\n" => skip(test, "needs a kernel with Landlock switched on (lsm=)"),
        seen => assert_eq!(seen, "ok\nEACCES\n", "Landlock can be used, if this is for good"),
    }
}

fn landlocked() {
    let proc = File::open("/proc").unwrap();
    let path = format!("{}/ns/user", std::env::var(TARGET).unwrap());
    let look = || name(readlinkat(&proc, &path, Vec::new()).map(drop));
    println!("{}", look());
    // The least that it can refuse, with all capabilities left.
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset.handle_access(AccessFs::MakeBlock).unwrap().create().unwrap();
    let status = ruleset.no_new_privs(true).restrict_self().unwrap();
    match status.ruleset {
        RulesetStatus::NotEnforced => println!("no Landlock"),
        _ => println!("{}", look()),
    }
}

/// A directory with a file that belongs to somebody else, open.
fn file_of_other_user(dir: &Path, mode: u32) -> File {
    let file = dir.join("file");
    std::fs::write(&file, "text").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    chown(&file, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    File::open(dir).unwrap()
}

/// Enters the sandbox without the capability that the environment names.
fn enter_without(sandbox: Sandbox) {
    let without = std::env::var(WITHOUT).unwrap();
    let sets = capabilities(None).unwrap();
    let dropped = match without.as_str() {
        "" => CapabilitySet::empty(),
        "CAP_SYS_PTRACE" => CapabilitySet::SYS_PTRACE,
        "CAP_DAC_READ_SEARCH" => CapabilitySet::DAC_READ_SEARCH,
        "CAP_DAC_OVERRIDE" => CapabilitySet::DAC_OVERRIDE,
        "CAP_SYS_RESOURCE" => CapabilitySet::SYS_RESOURCE,
        other => panic!("{other} is not looked at"),
    };
    let left = CapabilitySets {
        permitted: sets.permitted - dropped,
        effective: sets.effective - dropped,
        ..sets
    };
    set_capabilities(None, left).unwrap();
    let report = enter(&sandbox).unwrap();
    assert!(!report.capabilities.contains(&without.as_str()), "{report}");
}

fn name(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(Errno::ACCESS) => "EACCES".to_owned(),
        Err(Errno::PERM) => "EPERM".to_owned(),
        Err(other) => other.to_string(),
    }
}
