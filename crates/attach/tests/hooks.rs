//! Attaching while a real runtime is between its mounts and pivot_root(2), as in a `createRuntime`
//! hook.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attach::{Attach, Binding, Outcome, Process, Root, attach};
use common::{CPU, MEMINFO, Served, isolated, ours, outcomes};
use serde_json::{Value, json};

/// What the container does first. Its engine masks /proc/interrupts.
const SCRIPT: &str = "cat /proc/meminfo /proc/vmstat; ls /sys/devices/system/cpu; \
                      cat /proc/interrupts; echo end";

fn config(dir: &Path, id: &str, user: bool) -> Value {
    let path = dir.display();
    let hook = format!(
        "cat >{path}/new; mv {path}/new {path}/state; until [ -e {path}/go ]; do sleep 0.01; done"
    );
    let environment = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    let mut kinds = vec!["pid", "mount", "ipc", "uts", "network"];
    kinds.extend(user.then_some("user"));
    let namespaces: Vec<Value> = kinds.into_iter().map(|kind| json!({ "type": kind })).collect();
    let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let own = |at: &str, kind: &str| json!({ "destination": at, "type": kind, "source": kind });
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": ["sh", "-c", SCRIPT],
            "cwd": "/",
            "env": [environment],
            "user": { "uid": 0, "gid": 0 },
        },
        "root": { "path": dir.join("rootfs"), "readonly": true },
        "mounts": [own("/proc", "proc"), own("/sys", "sysfs"), own("/dev", "tmpfs")],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": namespaces,
            "maskedPaths": ["/proc/interrupts"],
        },
        "hooks": { "createRuntime": [
            { "path": "/bin/sh", "args": ["sh", "-c", hook], "env": [environment] },
        ] },
    });
    if user {
        config["linux"]["uidMappings"] = mapping.clone();
        config["linux"]["gidMappings"] = mapping;
    }
    config
}

/// This machine's root is the container's, as in `testkit`; crun does without cgroup2 on v1.
fn start(runtime: &str, dir: &Path, id: &str) -> Child {
    let script = r#"set -e
        chmod 755 "$1" && mkdir "$1/rootfs" && mount --bind / "$1/rootfs"
        mount -o remount,bind,ro "$1/rootfs"
        [ -z "$2" ] || awk '$3 == "cgroup2" { print $2 }' /proc/mounts | xargs -r umount
        exec "$3" --root "$1/runtime" run --bundle "$1" "$4""#;
    let hybrid = testkit::layout() == testkit::Layout::Hybrid;
    let hide = if runtime == "crun" && hybrid { "yes" } else { "" };
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(dir)
        .args([hide, runtime, id])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn in_the_hook_of(test: &'static str, runtime: &'static str, user: bool) {
    if !testkit::need_command(test, runtime) {
        return;
    }
    isolated(test, move || {
        let served = Served::new("of the view\n");
        let dir = tempfile::tempdir().unwrap();
        let id = format!("resview-test-{}-{test}", std::process::id());
        let config = config(dir.path(), &id, user);
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let mut child = start(runtime, dir.path(), &id);
        let deadline = Instant::now() + Duration::from_secs(60);
        let state = loop {
            if let Ok(text) = std::fs::read(dir.path().join("state")) {
                break serde_json::from_slice::<Value>(&text).unwrap();
            }
            assert!(Instant::now() < deadline, "the hook is not called");
            assert!(child.try_wait().unwrap().is_none(), "the runtime ended before the hook");
            std::thread::sleep(Duration::from_millis(5));
        };
        let pid = u32::try_from(state["pid"].as_u64().unwrap()).unwrap();
        let mut request = Attach::new(Process::running(pid).unwrap(), ours());
        request.root = Root::BeforePivot(dir.path().join("rootfs"));
        request.bindings = vec![
            Binding::file(served.path("meminfo"), MEMINFO),
            Binding::file(served.path("meminfo"), "/proc/vmstat"),
            Binding::file(served.path("meminfo"), "/proc/interrupts"),
            Binding::directory(served.path("cpu"), CPU),
        ];
        let attached = attach(request);
        std::fs::write(dir.path().join("go"), "").unwrap();
        let output = child.wait_with_output().unwrap();
        let files = outcomes(attached.unwrap().files);
        assert!(files.iter().all(|one| *one == Outcome::Attached), "{files:?}");
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        // The engine's mask came later, and is on top.
        assert_eq!(seen, "of the view\nof the view\nonline\nend\n");
    });
}

#[test]
fn runc() {
    in_the_hook_of("runc", "runc", false);
}

#[test]
fn runc_with_a_user_namespace() {
    in_the_hook_of("runc_with_a_user_namespace", "runc", true);
}

#[test]
fn crun() {
    in_the_hook_of("crun", "crun", false);
}

#[test]
fn crun_with_a_user_namespace() {
    in_the_hook_of("crun_with_a_user_namespace", "crun", true);
}
