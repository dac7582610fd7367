//! Installing into a folder, and taking it back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use runtimes::OptIn;
use runtimes::install::{HOOK, InstallError, Options, Plan, Step, Target, WRAPPER};
use runtimes::install::{install, uninstall};
use serde_json::{Value, json};

const DAEMON_JSON: &str = "/etc/docker/daemon.json";
const HOOKS: &str = "/usr/share/containers/oci/hooks.d";
const CDI: &str = "/etc/cdi/resview.dev-view.json";
const CONTAINERD: &str = "/etc/containerd/config.toml";
const WRAPPER_CONFIG: &str = "/etc/resview/oci-runtime.json";

struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    fn new() -> Self {
        let root = Self { dir: tempfile::tempdir().unwrap() };
        root.write("/usr/sbin/runc", "#!/bin/sh\n");
        let runc = root.path("/usr/sbin/runc");
        fs::set_permissions(runc, fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    fn link(&self, path: &str) -> PathBuf {
        fs::read_link(self.path(path)).unwrap()
    }

    fn options(&self) -> Options {
        Options { root: self.dir.path().to_owned(), ..Options::default() }
    }

    fn install(&self, target: Target, options: &Options) -> Plan {
        let plan = install(target, options).unwrap();
        plan.apply().unwrap();
        plan
    }

    fn uninstall(&self, target: Target, options: &Options) -> Plan {
        let plan = uninstall(target, options).unwrap();
        plan.apply().unwrap();
        plan
    }

    /// Every file with its content, every link with its target.
    fn everything(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_symlink() {
                    let target = fs::read_link(&path).unwrap().display().to_string();
                    all.insert(path, target);
                } else {
                    let text = fs::read_to_string(&path).unwrap();
                    all.insert(path, text);
                }
            }
        }
        all
    }
}

fn notes(plan: &Plan) -> String {
    let say = |step: &Step| if let Step::Say(text) = step { Some(text.clone()) } else { None };
    plan.steps().iter().filter_map(say).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_plan_changes_nothing_until_it_is_applied_and_says_all_that_it_will_do() {
    for target in Target::ALL {
        let root = Root::new();
        let before = root.everything();
        let plan = install(target, &root.options()).unwrap();
        assert_eq!(root.everything(), before, "{target:?}");
        let said = plan.to_string();
        plan.apply().unwrap();
        let after = root.everything();
        assert!(after.len() > before.len());
        for (path, content) in &after {
            if before.contains_key(path) {
                continue;
            }
            assert!(said.contains(&path.display().to_string()), "{} in {said}", path.display());
            // daemon.json is said key by key.
            if !path.ends_with("daemon.json") {
                for line in content.lines() {
                    assert!(said.contains(line), "{line} in {said}");
                }
            }
        }
    }
}

#[test]
fn what_is_installed_is_not_installed_again() {
    let root = Root::new();
    for target in Target::ALL {
        root.install(target, &root.options());
        let again = install(target, &root.options()).unwrap();
        assert!(again.is_done(), "{target:?}: {again}");
    }
}

#[test]
fn purging_leaves_nothing_of_ours() {
    let root = Root::new();
    root.write(DAEMON_JSON, "{\n    \"debug\": true\n}\n");
    let before = root.everything();
    for target in Target::ALL {
        root.install(target, &root.options());
    }
    for target in Target::ALL {
        root.uninstall(target, &Options { purge: true, ..root.options() });
    }
    assert_eq!(root.everything(), before);
    let nothing = Root::new();
    for target in Target::ALL {
        let plan = uninstall(target, &nothing.options()).unwrap();
        assert!(plan.is_done(), "{plan}");
    }
}

#[test]
fn hooks_d_has_one_file_per_stage_and_the_condition_that_was_asked_for() {
    let root = Root::new();
    root.install(Target::Oci, &Options { view: Some(OptIn::OptIn), ..root.options() });
    let create = root.json(&format!("{HOOKS}/50-resview.json"));
    assert_eq!(
        create,
        json!({
            "version": "1.0.0",
            "hook": { "path": HOOK, "args": ["resview", "oci-hook", "createRuntime"], "timeout": 10 },
            "when": { "annotations": { "^resview\\.dev/view$": "^on$" } },
            "stages": ["createRuntime"],
        })
    );
    assert_eq!(
        root.json(&format!("{HOOKS}/50-resview-poststop.json"))["stages"],
        json!(["poststop"])
    );
    assert_eq!(root.link(HOOK), Path::new("/usr/bin/resview"));
    root.install(Target::Oci, &Options { required: true, ..root.options() });
    let create = root.json(&format!("{HOOKS}/50-resview.json"));
    assert_eq!(create["when"], json!({ "always": true }));
    assert_eq!(create["hook"]["args"][3], "--required");
}

#[test]
fn a_hook_that_does_nothing_stays_when_the_last_of_its_users_goes() {
    let root = Root::new();
    root.install(Target::Oci, &root.options());
    root.install(Target::Cdi, &root.options());
    root.uninstall(Target::Oci, &root.options());
    assert_eq!(root.link(HOOK), Path::new("/usr/bin/resview"), "CDI still uses it");
    root.uninstall(Target::Cdi, &root.options());
    let left = Command::new(root.path(HOOK)).args(["oci-hook", "createRuntime"]).status().unwrap();
    assert!(left.success());
    // Installed again it is the real one again.
    root.install(Target::Oci, &root.options());
    assert_eq!(root.link(HOOK), Path::new("/usr/bin/resview"));
}

#[test]
fn the_cdi_device_stays_without_effect_so_that_containers_with_it_start_again() {
    let root = Root::new();
    root.install(Target::Cdi, &root.options());
    let file = root.json(CDI);
    assert_eq!((&file["cdiVersion"], &file["kind"]), (&json!("0.3.0"), &json!("resview.dev/view")));
    let hooks = &file["devices"][0]["containerEdits"]["hooks"];
    assert_eq!(
        (&hooks[0]["hookName"], &hooks[1]["hookName"]),
        (&json!("createRuntime"), &json!("poststop"))
    );
    let plan = root.uninstall(Target::Cdi, &root.options());
    assert!(notes(&plan).contains("start again"));
    let file = root.json(CDI);
    assert_eq!(file["devices"][0]["name"], "on");
    assert_eq!(
        file["devices"][0]["containerEdits"],
        json!({ "env": ["RESVIEW_VIEW=uninstalled"] })
    );
}

#[test]
fn daemon_json_keeps_everything_else_as_it_was() {
    let root = Root::new();
    let text = "{\n    \"log-driver\": \"local\",\n    \"runtimes\": {\n        \"nvidia\": {\n            \"path\": \"/usr/bin/nvidia\",\n            \"runtimeArgs\": []\n        }\n    },\n    \"bip\": \"10.0.0.1/24\"\n}\n";
    root.write(DAEMON_JSON, text);
    fs::set_permissions(root.path(DAEMON_JSON), fs::Permissions::from_mode(0o600)).unwrap();
    root.install(Target::Docker, &root.options());
    let ours = ",\n        \"resview\": {\n            \"path\": \"/usr/bin/resview-runtime\"\n        }\n    },\n    \"bip\"";
    assert_eq!(root.text(DAEMON_JSON), text.replace("\n    },\n    \"bip\"", ours));
    let mode = fs::metadata(root.path(DAEMON_JSON)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(root.link(WRAPPER), Path::new("/usr/bin/resview"));
    assert_eq!(root.json(WRAPPER_CONFIG)["hook"], HOOK);
    root.uninstall(Target::Docker, &root.options());
    assert_eq!(root.text(DAEMON_JSON), text);
    assert_eq!(root.link(WRAPPER), Path::new("/usr/sbin/runc"), "running containers need it");
}

#[test]
fn another_default_runtime_is_wrapped_and_comes_back() {
    let root = Root::new();
    let text = "{\n  \"default-runtime\": \"crun\",\n  \"runtimes\": {\n    \"crun\": {\n      \"path\": \"/usr/bin/crun\"\n    }\n  }\n}\n";
    root.write(DAEMON_JSON, text);
    let options = Options { default_runtime: true, hints: Some(true), ..root.options() };
    root.install(Target::Docker, &options);
    assert_eq!(root.json(DAEMON_JSON)["default-runtime"], "resview");
    let config = root.json(WRAPPER_CONFIG);
    assert_eq!(
        (&config["runtime"], &config["docker_default_before"]),
        (&json!("/usr/bin/crun"), &json!("crun"))
    );
    assert_eq!(config["hints"][0], "GOMAXPROCS");
    // Once more, with less said: what was configured stays.
    root.install(Target::Docker, &Options { default_runtime: true, ..root.options() });
    assert_eq!(root.json(WRAPPER_CONFIG), config);
    root.uninstall(Target::Docker, &root.options());
    assert_eq!(root.text(DAEMON_JSON), text);
    assert_eq!(root.link(WRAPPER), Path::new("/usr/bin/crun"));
}

#[test]
fn a_default_runtime_that_cannot_be_wrapped_is_an_error() {
    for runtimes in [
        r#"{"x":{"path":"/x","runtimeArgs":["-a"]}}"#,
        r#"{"x":{"runtimeType":"t"}}"#,
        r#"{"x":{"path":"/usr/bin/resview-runtime"}}"#,
        "{}",
    ] {
        let root = Root::new();
        root.write(DAEMON_JSON, &format!(r#"{{"default-runtime":"x","runtimes":{runtimes}}}"#));
        let options = Options { default_runtime: true, ..root.options() };
        let error = install(Target::Docker, &options).unwrap_err();
        assert!(matches!(&error, InstallError::Runtime { name, .. } if name == "x"), "{error}");
        // Without being the default it is no matter.
        assert!(install(Target::Docker, &root.options()).is_ok());
    }
}

#[test]
fn a_broken_daemon_json_is_not_touched() {
    for text in ["{\"debug\": tru", "[]", "{\"runtimes\": []}"] {
        let root = Root::new();
        root.write(DAEMON_JSON, text);
        for result in
            [install(Target::Docker, &root.options()), uninstall(Target::Docker, &root.options())]
        {
            let error = result.unwrap_err();
            assert!(error.to_string().contains("daemon.json"), "{error}");
        }
        assert_eq!(root.text(DAEMON_JSON), text);
    }
    let root = Root::new();
    root.write(DAEMON_JSON, "\n");
    root.install(Target::Docker, &root.options());
    assert_eq!(root.json(DAEMON_JSON)["runtimes"]["resview"]["path"], WRAPPER);
}

#[test]
fn the_runtime_name_stays_as_long_as_a_container_of_docker_has_it() {
    let root = Root::new();
    root.install(Target::Docker, &Options { default_runtime: true, ..root.options() });
    let host = "/var/lib/docker/containers/bc8ee63b5fd43ffe/hostconfig.json";
    root.write(host, r#"{"Binds":null,"Runtime":"resview"}"#);
    root.write("/var/lib/docker/containers/d4fe/hostconfig.json", r#"{"Runtime":"runc"}"#);
    let plan = root.uninstall(Target::Docker, &root.options());
    assert!(notes(&plan).contains("bc8ee63b5fd4") && !notes(&plan).contains("d4fe"), "{plan}");
    assert_eq!(
        root.json(DAEMON_JSON),
        json!({
            "runtimes": { "resview": { "path": "/usr/sbin/runc" } },
            "default-runtime": "runc"
        })
    );
    fs::remove_file(root.path(host)).unwrap();
    root.uninstall(Target::Docker, &root.options());
    assert_eq!(root.json(DAEMON_JSON), json!({ "default-runtime": "runc" }));
}

#[test]
fn containerd_gets_a_drop_in_where_that_is_merged_and_else_the_lines_to_paste() {
    let root = Root::new();
    root.write(CONTAINERD, "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n");
    let plan = root.install(Target::Containerd, &root.options());
    assert!(notes(&plan).contains("io.containerd.grpc.v1.cri") && notes(&plan).contains(WRAPPER));
    assert!(!root.path("/etc/containerd/conf.d/resview.toml").exists());
    let root = Root::new();
    let text = "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n# SystemdCgroup = false\n  SystemdCgroup = true\n";
    root.write(CONTAINERD, text);
    root.install(Target::Containerd, &root.options());
    let drop_in = root.text("/etc/containerd/conf.d/resview.toml");
    assert!(drop_in.starts_with("version = 3\n") && drop_in.contains("SystemdCgroup = true"));
    assert!(drop_in.contains("BinaryName = \"/usr/bin/resview-runtime\""));
    assert_eq!(root.text(CONTAINERD), text);
    // Docker does not take the wrapper away from containerd, nor the other way round.
    root.install(Target::Docker, &root.options());
    root.uninstall(Target::Docker, &root.options());
    assert_eq!(root.link(WRAPPER), Path::new("/usr/bin/resview"));
    root.uninstall(Target::Containerd, &root.options());
    assert_eq!(root.link(WRAPPER), Path::new("/usr/sbin/runc"));
}

#[test]
fn lxc_and_an_incus_of_its_own_include_the_hook() {
    let root = Root::new();
    fs::create_dir_all(root.path("/opt/incus/share/lxc/config/common.conf.d")).unwrap();
    root.install(Target::Lxc, &Options { mountpoint: "/srv/it's".into(), ..root.options() });
    for folder in ["/usr/share", "/opt/incus/share"] {
        let conf = root.text(&format!("{folder}/lxc/config/common.conf.d/50-resview.conf"));
        assert!(conf.contains("lxc.hook.mount = /usr/lib/resview/lxc.mount.hook"), "{conf}");
    }
    let hook = root.path("/usr/lib/resview/lxc.mount.hook");
    assert!(root.text("/usr/lib/resview/lxc.mount.hook").contains(r"resview='/srv/it'\''s'"));
    // A shell that knows POSIX only reads it, and the container starts without a view.
    for shell in ["sh", "dash"] {
        assert!(Command::new(shell).arg("-n").arg(&hook).status().unwrap().success());
    }
    let run = Command::new(&hook).env("LXC_ROOTFS_MOUNT", root.dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success() && said.contains("no view is mounted on /srv/it's"), "{said}");
    root.uninstall(Target::Lxc, &root.options());
    assert!(!root.path("/usr/share/lxc/config/common.conf.d/50-resview.conf").exists());
    let left = Command::new(&hook).output().unwrap();
    assert!(left.status.success() && left.stderr.is_empty());
}

/// LXCFS has the same layout, and stands for whoever mounts the view.
#[test]
fn the_mount_hook_lays_the_view_over_the_containers_own_proc_and_sys_once() {
    let name = "the_mount_hook_lays_the_view_over_the_containers_own_proc_and_sys_once";
    let here = testkit::need_root(name) && testkit::need_fuse(name);
    if !here || !testkit::need_command(name, "lxcfs") {
        return;
    }
    let root = Root::new();
    let (view, container, other) = (root.path("/view"), root.path("/c"), root.path("/plain"));
    root.install(Target::Lxc, &Options { mountpoint: view.clone(), ..root.options() });
    for folder in
        [&view, &container.join("proc"), &container.join("sys"), &container.join("var/lib")]
    {
        fs::create_dir_all(folder).unwrap();
    }
    // One whose /proc is no procfs, and which leads the way to nested containers out of itself.
    root.write("/plain/proc/meminfo", "its own");
    root.write("/elsewhere/x", "");
    fs::create_dir_all(other.join(view.parent().unwrap().strip_prefix("/").unwrap())).unwrap();
    symlink(root.path("/elsewhere"), other.join(view.strip_prefix("/").unwrap())).unwrap();
    let script = r#"
        lxcfs -f -p "$1.pid" "$1" >"$1.log" 2>&1 &
        tries=0
        until [ -e "$1/proc/meminfo" ] || [ $tries -gt 600 ]; do sleep 0.1; tries=$((tries + 1)); done
        mount -t proc proc "$2/proc" && mount -t sysfs sysfs "$2/sys"
        for container in "$2" "$2" "$3"; do LXC_ROOTFS_MOUNT=$container "$4"; done
        cat /proc/self/mountinfo
        kill $!
        wait"#;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "test"])
        .args([&view, &container, &other, &root.path("/usr/lib/resview/lxc.mount.hook")])
        .output()
        .unwrap();
    let mounts = String::from_utf8_lossy(&output.stdout).into_owned();
    let on = |path: PathBuf| {
        let point = format!(" {} ", path.display());
        mounts.lines().filter(|line| line.contains(&point) && line.contains("fuse.lxcfs")).count()
    };
    for file in ["proc/meminfo", "proc/stat", "proc/uptime", "sys/devices/system/cpu"] {
        assert_eq!(on(container.join(file)), 1, "{file} in {mounts}{output:?}");
    }
    assert_eq!(on(other.join("proc/meminfo")), 0, "{mounts}");
    assert_eq!(on(root.path("/elsewhere")), 0, "{mounts}");
}

#[test]
fn a_step_that_fails_says_which() {
    let root = Root::new();
    root.write("/etc/cdi", "a file where a folder should be");
    let error = install(Target::Cdi, &root.options()).unwrap().apply().unwrap_err();
    assert!(error.to_string().contains(CDI), "{error}");
}

#[test]
fn a_daemon_json_that_is_a_link_stays_one() {
    let root = Root::new();
    root.write("/srv/daemon.json", "{}");
    fs::create_dir_all(root.path("/etc/docker")).unwrap();
    symlink(root.path("/srv/daemon.json"), root.path(DAEMON_JSON)).unwrap();
    root.install(Target::Docker, &root.options());
    assert!(fs::symlink_metadata(root.path(DAEMON_JSON)).unwrap().is_symlink());
    assert_eq!(root.json("/srv/daemon.json")["runtimes"]["resview"]["path"], WRAPPER);
}

#[test]
fn targets_have_names_and_engines_too() {
    for target in Target::ALL {
        assert_eq!(target.name().parse(), Ok(target));
    }
    assert_eq!("incus".parse(), Ok(Target::Lxc));
    assert_eq!("podman".parse(), Ok(Target::Oci));
    assert!("kubernetes".parse::<Target>().unwrap_err().to_string().contains("docker"));
}
