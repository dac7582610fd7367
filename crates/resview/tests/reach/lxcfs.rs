//! Containers of LXCFS are healed when that has died.

use std::process::Command;

use api::FileOutcome;
use rustix::process::Signal;
use testkit::oci::{Container, Running};

use crate::common::{self, eventually, in_private_mounts, mounted};
use crate::reach::{
    Reach, assert_attached, can_reach, count, mem_total, mem_total_of, mounts_of, read_in,
};

const LIMIT: u64 = 48 << 20;
const FILES: [&str; 4] = ["meminfo", "stat", "uptime", "swaps"];
/// What the kernel says of a file of a FUSE file system that nobody serves any more.
const DEAD: Option<i32> = Some(rustix::io::Errno::NOTCONN.raw_os_error());

/// A container with files of the real LXCFS, which serves; and what has to be kept for that.
fn served(runtime: &str) -> (tempfile::TempDir, common::Running, common::Running, Running) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = in_private_mounts("lxcfs".as_ref());
    command.stderr(std::process::Stdio::null());
    command.args(["-f", "-p"]).arg(dir.path().join("pid")).arg(dir.path().join("mnt"));
    std::fs::create_dir(dir.path().join("mnt")).unwrap();
    let lxcfs = common::Running::start(&mut command);
    let mount = dir.path().join("mnt");
    eventually("lxcfs serves", || mounted(lxcfs.pid(), &mount).is_some());
    let mut witness = Command::new("nsenter");
    let target = format!("--target={}", lxcfs.pid());
    witness.args([target.as_str(), "-m", "sh", "-c", "echo ready; exec sleep 3600"]);
    let mut witness = common::Running::start(&mut witness);
    witness.wait_for("ready");
    let container = Container::new(runtime, &["sleep", "3600"]).memory(LIMIT);
    let container = FILES.iter().fold(container.beside(witness.pid()), |container, file| {
        container.mount(&mount.join("proc").join(file), &format!("/proc/{file}"))
    });
    let container = container.start();
    let seen = common::stdout_of(&container.exec(&["cat", "/proc/meminfo"]));
    assert_eq!(mem_total_of(&seen), LIMIT >> 10, "LXCFS's own");
    (dir, lxcfs, witness, container)
}

/// The same with LXCFS dead.
fn orphan(runtime: &str) -> (tempfile::TempDir, common::Running, Running) {
    let (dir, mut lxcfs, witness, container) = served(runtime);
    lxcfs.signal(Signal::KILL);
    lxcfs.wait();
    for file in FILES {
        let error = read_in(container.pid(), &format!("/proc/{file}")).unwrap_err();
        assert_eq!(error.raw_os_error(), DEAD, "{file}: {error}");
    }
    (dir, witness, container)
}

#[test]
fn a_container_whose_lxcfs_was_killed_is_healed() {
    let test = "a_container_whose_lxcfs_was_killed_is_healed";
    if !can_reach(test, &["lxcfs", "runc", "crun"]) {
        return;
    }
    let reach = Reach::start(&[]);
    for (runtime, word) in [("runc", "attach"), ("crun", "remount")] {
        let (_dir, _witness, container) = orphan(runtime);
        let pid = container.pid();
        let output = reach.resview(&[word, "--json", &pid.to_string()]);
        let text = common::stdout_of(&output);
        let answer = api::Answer::parse(text.lines().next().unwrap().as_bytes()).unwrap();
        let api::Answer::Container(answer) = answer else { panic!("{text}") };
        assert_attached(&answer);
        assert_eq!(count(&answer, FileOutcome::Replaced), FILES.len(), "{answer:?}");
        assert_eq!(mem_total(pid), LIMIT >> 10);
        let seen = container.exec(&["sh", "-c", "cat /proc/stat /proc/uptime /proc/swaps"]);
        assert!(seen.status.success(), "{seen:?}");
        assert!(!mounts_of(pid).iter().any(|line| line.contains("fuse.lxcfs")), "nothing is left");
        assert_eq!(reach.detach(pid).outcome, api::Outcome::Detached);
        let host = std::fs::read_to_string("/proc/swaps").unwrap();
        assert_eq!(read_in(pid, "/proc/swaps").unwrap(), host);
    }
}

#[test]
fn detach_leaves_the_files_of_a_living_lxcfs() {
    if !can_reach("detach_leaves_the_files_of_a_living_lxcfs", &["lxcfs", "runc"]) {
        return;
    }
    let reach = Reach::start(&[]);
    let (_dir, _lxcfs, _witness, container) = served("runc");
    let before = mounts_of(container.pid());
    let answer = reach.detach(container.pid());
    assert!(answer.files.is_empty(), "{answer:?}");
    assert_eq!(mounts_of(container.pid()), before);
}
