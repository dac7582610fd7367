//! A container whose runtime is started through the wrapper.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use testkit::{Layout, layout};

/// A folder with the wrapper's link and configuration, a bundle and the runtime's state.
pub(crate) struct Bundle {
    dir: tempfile::TempDir,
    runtime: &'static str,
    id: String,
}

impl Bundle {
    pub(crate) fn new(runtime: &'static str, name: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Mapped root of a user namespace has to get through to its root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let own = std::env::current_exe().unwrap();
        symlink(&own, dir.path().join("resview-runtime")).unwrap();
        fs::create_dir_all(dir.path().join("bundle/rootfs")).unwrap();
        let id = format!("resview-test-{}-{name}-{runtime}", std::process::id());
        let bundle = Self { dir, runtime, id };
        // Nearly all that runtimes grant, so that a busy machine makes no difference.
        let hook = bundle.hook_within(8);
        bundle.configure(&json!({ "runtime": bundle.program(), "hook": hook, "hints": true }));
        bundle.describe(&bundle.specification(args));
        bundle
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The folder that stands for `/` of the engines.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Writes the program that is started as hook; it has as many seconds.
    pub(crate) fn hook_within(&self, seconds: u64) -> PathBuf {
        let hook = self.dir.path().join("hook");
        let script = format!(
            "#!/bin/sh\nexport {}='{}' {}={seconds}\nexec '{}' \"$@\"\n",
            crate::SOCKET,
            self.socket().display(),
            crate::DEADLINE,
            std::env::current_exe().unwrap().display()
        );
        fs::write(&hook, script).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        hook
    }

    /// Writes the wrapper's configuration.
    pub(crate) fn configure(&self, config: &Value) {
        fs::write(self.dir.path().join("oci-runtime.json"), config.to_string()).unwrap();
    }

    pub(crate) fn configuration(&self) -> Value {
        let text = fs::read(self.dir.path().join("oci-runtime.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Writes config.json.
    pub(crate) fn describe(&self, specification: &Value) {
        fs::write(self.dir.path().join("bundle/config.json"), specification.to_string()).unwrap();
    }

    /// config.json as it is now.
    pub(crate) fn described(&self) -> Value {
        let text = fs::read(self.dir.path().join("bundle/config.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn program(&self) -> String {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join(self.runtime));
        programs.find(|program| program.is_file()).unwrap().display().to_string()
    }

    pub(crate) fn specification(&self, args: &[&str]) -> Value {
        let namespaces = ["pid", "mount", "ipc", "uts"].map(|kind| json!({ "type": kind }));
        let own = |destination: &str, kind: &str| json!({ "destination": destination, "type": kind, "source": kind });
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": args, "cwd": "/", "user": { "uid": 0, "gid": 0 },
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "root": { "path": "rootfs", "readonly": true },
            "mounts": [own("/proc", "proc"), own("/dev", "tmpfs")],
            "annotations": { "dev.example/x": "y" },
            "dev.example/unknown": [1, { "two": 18_446_744_073_709_551_615_u64 }],
            "linux": {
                "cgroupsPath": format!("/{}", self.id),
                "namespaces": namespaces,
                "resources": { "cpu": { "quota": 150_000, "period": 100_000 } },
            },
        })
    }

    /// Calls the wrapper with these arguments after `--root`. The machine's own root is the
    /// container's, read-only. crun refuses to work beside a cgroup2 mount on v1.
    pub(crate) fn call(&self, args: &[&str]) -> Command {
        let hide = if self.runtime == "crun" && layout() == Layout::Hybrid { "yes" } else { "" };
        let script = r#"set -e
            mount --bind / "$1/bundle/rootfs"
            mount -o remount,bind,ro "$1/bundle/rootfs"
            [ -z "$2" ] || awk '$3 == "cgroup2" { print $2 }' /proc/mounts | xargs -r umount
            dir=$1 runtime=$3
            shift 3
            exec "$dir/resview-runtime" --root "$dir/run/$runtime" "$@""#;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "test"])
            .arg(self.dir.path())
            .args([hide, self.runtime])
            .args(args);
        command
    }

    /// Runs the container to its end.
    pub(crate) fn run(&self) -> Output {
        let bundle = self.dir.path().join("bundle").display().to_string();
        self.call(&["run", "--bundle", &bundle, &self.id]).output().unwrap()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]).output();
        for hierarchy in testkit::hierarchies() {
            // crun with user namespaces, and runc on the v2 part of a hybrid host, leave some.
            let _ = fs::remove_dir(hierarchy.mount.join(&self.id));
        }
    }
}
