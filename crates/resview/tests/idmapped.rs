//! The daemon's files bound with ids mapped, as containers with a user namespace of their own get them
//! from Kubernetes (`hostUsers: false`) and from Podman (`:idmap`). Where the kernel has no such mounts
//! of FUSE file systems, the container does not start.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "unbreakable/clients.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod clients;
mod common;
#[path = "unbreakable/support.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};
use testkit::oci::Container;
use testkit::{TestCgroup, UserNamespace, fuse_has_idmap, need_command};

use crate::clients::{Client, can_have_clients, per_cgroup};
use crate::common::client::TRIGGER;
use crate::common::{RESVIEW, eventually};
use crate::support::{Daemon, can_serve};

/// What mount_setattr(2) says where it cannot be: `EINVAL`.
const REFUSED: i32 = 22;
/// The host's id of a container's root.
const FIRST: u32 = 100_000;
const LIMIT: u64 = 64 << 20;

/// Runs `test` on a thread of its own in the daemon's mount namespace, as children of it do.
fn beside(daemon: &Daemon, test: impl FnOnce() + Send) {
    let namespace = File::open(format!("/proc/{}/ns/mnt", daemon.witness())).unwrap();
    let enter = move || {
        unshare(CloneFlags::CLONE_FS).unwrap(); // else threads may not change namespaces
        setns(namespace, CloneFlags::CLONE_NEWNS).unwrap();
        test();
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(enter).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Files and directories to bind upon, where everybody may pass.
struct Places(tempfile::TempDir);

impl Places {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("meminfo"), "").unwrap();
        for name in ["cpu", "pressure", "containers"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn of(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }
}

/// The directory of the daemon's container tree.
fn containers(daemon: &Daemon) -> PathBuf {
    let entries = fs::read_dir(daemon.path("run")).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|dir| dir.join("containers")).find(|dir| dir.exists()).unwrap()
}

#[track_caller]
fn assert_belongs_to_root(namespace: &UserNamespace, path: &Path) {
    let output = namespace.sh(&format!("stat -c %u:%g '{}'", path.display()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0:0\n", "{output:?}");
}

fn upgrade(daemon: &Daemon) {
    let old = daemon.worker();
    let output = daemon.command(&["upgrade", RESVIEW]);
    assert!(output.status.success(), "{output:?}");
    assert_ne!(daemon.worker(), old);
}

#[test]
fn what_is_bound_belongs_to_the_containers_root_and_works_through_upgrades() {
    let test = "what_is_bound_belongs_to_the_containers_root_and_works_through_upgrades";
    if !can_have_clients(test) {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    eventually("the container tree is there", || {
        let status = daemon.status();
        status.is_some_and(|status| status.to_string().contains("containers"))
    });
    beside(&daemon, || {
        let (places, namespace) = (Places::new(), UserNamespace::new(FIRST));
        let sources = [
            ("meminfo", daemon.mountpoint.join("proc/meminfo")),
            ("cpu", daemon.mountpoint.join("sys/devices/system/cpu")),
            ("pressure", daemon.mountpoint.join("proc/pressure")),
            ("containers", containers(&daemon)),
        ];
        for (name, source) in &sources {
            let bound = namespace.bind(source, &places.at(name));
            let expected = if fuse_has_idmap() { Ok(()) } else { Err(REFUSED) };
            assert_eq!(bound, expected, "{}", source.display());
        }
        if !fuse_has_idmap() {
            return;
        }
        for name in ["meminfo", "cpu", "cpu/online", "pressure", "pressure/memory", "containers"] {
            assert_belongs_to_root(&namespace, &places.at(name));
        }
        let cgroup = TestCgroup::new("idmapped");
        cgroup.set_memory(LIMIT);
        let pid = namespace.pid().to_string();
        let nsenter = ["nsenter", "--target", &pid, "--user"];
        let mut client = Client::start(&daemon, &nsenter, &cgroup);
        let (meminfo, memory) = (places.of("meminfo"), places.of("pressure/memory"));
        let trigger = per_cgroup().then(|| client.open("rw", &memory));
        for round in 0..2 {
            let text = client.ask(&format!("cat {meminfo}"));
            assert!(text.starts_with("MemTotal:          65536 kB;"), "{text}");
            let list = client.ask(&format!("list {}", places.of("cpu")));
            assert!(list.split(' ').any(|name| name == "online"), "{list}");
            for how in ["w", "rw", "c"] {
                assert_eq!(client.ask(&format!("open {how} {meminfo}")), "EACCES", "{how}");
            }
            // What the kernel lets the root of a user namespace do with its own.
            match &trigger {
                None => assert_eq!(client.ask(&format!("open rw {memory}")), "EOPNOTSUPP"),
                Some(fd) => {
                    let expected = if round == 0 { "ok" } else { "EBUSY" };
                    assert_eq!(client.write(fd, TRIGGER), expected);
                    let other = client.open("rw", &memory);
                    assert_eq!(client.write(&other, "some 100000 1000000"), "EINVAL");
                    assert_eq!(client.write(&other, TRIGGER), "ok");
                }
            }
            upgrade(&daemon);
        }
        // What is bound only after an upgrade, too.
        let again = Places::new();
        for (name, source) in &sources {
            assert_eq!(namespace.bind(source, &again.at(name)), Ok(()), "{}", source.display());
        }
        assert_belongs_to_root(&namespace, &again.at("meminfo"));
    });
}

/// A user namespace, and mounts from outside with ids mapped by it.
fn idmapped(config: &mut Value) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.extend([json!({ "type": "user" }), json!({ "type": "network" })]);
    let mapping = json!([{ "containerID": 0, "hostID": FIRST, "size": 65536 }]);
    config["linux"]["uidMappings"] = mapping.clone();
    config["linux"]["gidMappings"] = mapping;
    let mounts = config["mounts"].as_array_mut().unwrap();
    // Its root may mount no hierarchy of v1.
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    for mount in mounts.iter_mut().filter(|mount| mount["type"] == "bind") {
        mount["options"].as_array_mut().unwrap().push(json!("idmap"));
    }
}

#[test]
fn a_container_with_a_user_namespace_starts_with_volumes_of_ours() {
    let test = "a_container_with_a_user_namespace_starts_with_volumes_of_ours";
    if !can_serve(test) || !need_command(test, "crun") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    for runtime in ["crun", "runc"].into_iter().filter(|runtime| maps_ids(runtime)) {
        starts_with_volumes(runtime, &daemon);
    }
}

/// Whether a runtime does it for volumes: crun as old as Debian 12's, runc from 1.2 on, which says so.
fn maps_ids(runtime: &str) -> bool {
    let features = Command::new(runtime).arg("features").output();
    let features = features.map(|output| serde_json::from_slice::<Value>(&output.stdout));
    runtime == "crun"
        || matches!(features, Ok(Ok(features))
            if features["linux"]["mountExtensions"]["idmap"]["enabled"] == true)
}

fn starts_with_volumes(runtime: &str, daemon: &Daemon) {
    let view = |file: &str| daemon.mountpoint.join(file);
    let script = "stat -c %u:%g /proc/meminfo /sys/devices/system/cpu; head -n 1 /proc/meminfo; \
                  ls /sys/devices/system/cpu | grep -cx online; grep -c ' fuse.resview ' /proc/mounts";
    let output = Container::new(runtime, &["sh", "-c", script])
        .beside(daemon.witness())
        .memory(LIMIT)
        .mount(&view("proc/meminfo"), "/proc/meminfo")
        .mount(&view("sys/devices/system/cpu"), "/sys/devices/system/cpu")
        .edit(idmapped)
        .run();
    let (said, why) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if fuse_has_idmap() {
        let expected = "0:0\n0:0\nMemTotal:          65536 kB\n1\n2\n";
        assert_eq!(said, expected, "{runtime}: {why}");
    } else {
        assert!(!output.status.success() && why.contains("mount_setattr"), "{output:?}");
    }
}
