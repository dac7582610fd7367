//! A host without systemd: a mount namespace, where /proc/1 is a process that has it and does nothing;
//! and pods on it. Process ids are the machine's, as the daemon wants them.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use control::Client;
use rustix::process::{Pid as Process, Signal, kill_process};
use serde_json::{Value, json};
use testkit::{Layout, cgroup_mounts, hierarchies, layout};

use crate::common::{RESVIEW, eventually, seen_by};

/// The policy that pods find in their ConfigMap.
pub(crate) const POLICY: &str = r#"{"version":1,"default":"on"}"#;

/// What the readers' memory is limited to, in KiB.
const LIMIT_KIB: u64 = 64 << 10;

/// The folders of a host, on file systems of their own. Of the folders in /etc programs here need one:
/// copying all takes half a minute where everything is emulated.
const BOOT: &str = "set -e
mount -t tmpfs tmpfs /mnt
find /etc -maxdepth 1 -mindepth 1 ! -type d -exec cp -a -t /mnt {} +
cp -a /etc/alternatives /mnt
mount --move /mnt /etc
for dir in /run /opt /var/lib; do mount -t tmpfs tmpfs $dir; done
mount --bind /proc/$$ /proc/1
exec sleep infinity";

/// The hostPath volumes of the DaemonSet.
const FOLDERS: [&str; 3] = ["/opt/resview", "/etc/resview", "/run/resview"];

/// What a privileged pod has here.
const CAPABILITIES: [&str; 15] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYSLOG",
];

pub(crate) fn can_run(test: &str) -> bool {
    testkit::need_root(test)
        && testkit::need_fuse(test)
        && ["runc", "unshare", "nsenter"].iter().all(|name| testkit::need_command(test, name))
}

pub(crate) fn serves(status: &Value) -> bool {
    status["supervisor"]["worker"]["serving"] == true && status["worker"]["pid"].is_u64()
}

/// The daemon's processes.
pub(crate) fn pids(status: &Value) -> [&Value; 2] {
    [&status["supervisor"]["pid"], &status["worker"]["pid"]]
}

/// A host. Dropping it ends all that runs on it.
pub(crate) struct Host {
    /// Its process 1.
    init: Child,
    dir: tempfile::TempDir,
    cgroup: String,
}

impl Host {
    pub(crate) fn start(name: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", BOOT]);
        let init = command.stdin(Stdio::null()).spawn().unwrap();
        let comm = format!("/proc/{}/comm", init.id());
        eventually("the host is up", || {
            std::fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n")
        });
        let dir = tempfile::tempdir().unwrap();
        let cgroup = format!("resview-test-{}-{name}", std::process::id());
        let host = Self { init, dir, cgroup };
        std::fs::create_dir(host.dir.path().join("config")).unwrap();
        host.write_policy(POLICY);
        host
    }

    /// What the host has at a path.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        seen_by(self.init.id(), Path::new(path))
    }

    /// A command on the host.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.id().to_string(), "-m", "--"]).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// The program under test.
    pub(crate) fn program(&self) -> PathBuf {
        RESVIEW.into()
    }

    /// Another build of it: the loader does not mind what comes after the end.
    pub(crate) fn other_program(&self) -> PathBuf {
        let path = self.dir.path().join("other");
        std::fs::copy(RESVIEW, &path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"another build");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn has_installed(&self, program: &Path) {
        let present = std::fs::read(self.path("/opt/resview/resview")).unwrap();
        assert!(present == std::fs::read(program).unwrap(), "another program is installed");
        eventually("no other is kept", || !self.path("/opt/resview/resview.previous").exists());
    }

    pub(crate) fn install(&self, path: &str, text: &str) {
        let (new, path) = (self.path(&format!("{path}.test")), self.path(path));
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// What the kubelet does when a ConfigMap changes.
    pub(crate) fn write_policy(&self, text: &str) {
        let file = self.dir.path().join("config/policy.json");
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    }

    /// What the daemon says of itself, if there is one.
    pub(crate) fn daemon(&self) -> Option<Value> {
        let control = self.path("/run/resview/var-lib-resview");
        Client::connect(&control).ok()?.status(Duration::from_secs(5)).ok()
    }

    /// Whether a daemon serves of which nothing is the one before.
    pub(crate) fn is_another_than(&self, before: &Value) -> bool {
        self.daemon().is_some_and(|now| {
            let [supervisor, worker] = pids(before);
            serves(&now) && pids(&now)[0] != supervisor && pids(&now)[1] != worker
        })
    }

    /// The daemon's processes have nothing in common with the pod.
    pub(crate) fn lives_outside_of(&self, pod: &Pod<'_>, daemon: &Value) {
        for part in ["supervisor", "worker"] {
            let pid = &daemon[part]["pid"];
            let cgroups = self.path(&format!("/proc/{pid}/cgroup"));
            let cgroups = std::fs::read_to_string(cgroups).unwrap();
            // On pure v1, cgroup2 is mounted nowhere, and nobody is moved there.
            let is_mounted = |line: &&str| layout() != Layout::V1 || !line.starts_with("0::");
            for line in cgroups.lines().filter(is_mounted) {
                assert!(line.ends_with(&format!(":/{}", self.cgroup)), "{part}: {cgroups}");
                assert!(!line.contains(&pod.id), "{part}: {cgroups}");
            }
        }
        let pid = &daemon["supervisor"]["pid"];
        for kind in ["mnt", "cgroup", "ipc", "uts", "net", "pid"] {
            let of = |pid: &str| std::fs::read_link(self.path(&format!("/proc/{pid}/ns/{kind}")));
            assert_eq!(of(&pid.to_string()).unwrap(), of("1").unwrap(), "{kind}");
        }
    }

    /// SIGKILL for all of the daemon at once.
    pub(crate) fn kill_daemon(&self, daemon: &Value) {
        let pids = ["supervisor", "worker"].map(|part| daemon[part]["pid"].to_string());
        let output = self.command(&["kill", "-9", &pids[0], &pids[1]]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// A pod of this program, with these options besides the usual ones.
    pub(crate) fn pod(&self, program: &Path, options: &[&str]) -> Pod<'_> {
        Pod::with(self, program, options, |_| {})
    }

    /// A container that reads until it is told to stop.
    pub(crate) fn reader(&self) -> Reader {
        let dir = self.dir.path().join("reader");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("phase"), "0").unwrap();
        let reader = Path::new(RESVIEW).with_file_name("examples").join("reader");
        let mut command = self.command(&[RESVIEW, "run", "-m", "64m", "--"]);
        command.arg(reader).arg("--phase").arg(dir.join("phase")).arg("--report").arg(&dir);
        command.args(["--mem-total-kib", &LIMIT_KIB.to_string()]);
        command.args(["/proc/meminfo", "/proc/stat", "/proc/uptime", "/proc/loadavg"]);
        command.args(["/proc/cpuinfo", "/proc/swaps", "/proc/diskstats", "/proc/vmstat"]);
        let child = command.spawn().unwrap();
        let reader = Reader { child, dir, phase: std::cell::Cell::new(0) };
        reader.begins("0");
        reader
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let names = [self.cgroup.clone(), format!("{}-uninstall", self.cgroup)];
        for name in &names {
            kill_all_in(name);
        }
        let _ = self.init.kill();
        let _ = self.init.wait();
        let dirs = || {
            let mounts = cgroup_mounts().into_iter();
            mounts.flat_map(|mount| names.each_ref().map(|name| mount.join(name)))
        };
        // A moment, until those that were killed have left.
        for _ in 0..500 {
            if dirs().all(|dir| !dir.exists() || std::fs::remove_dir(dir).is_ok()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// SIGKILL for everything in a cgroup, as the kubelet does it in the end; how many there were.
fn kill_all_in(cgroup: &str) -> usize {
    let mut killed = 0;
    for hierarchy in hierarchies() {
        let procs = hierarchy.mount.join(cgroup).join("cgroup.procs");
        let pids = std::fs::read_to_string(procs).unwrap_or_default();
        for pid in pids.lines().filter_map(|pid| Process::from_raw(pid.parse().ok()?)) {
            killed += 1;
            // It may have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    killed
}

/// A container in which threads read.
pub(crate) struct Reader {
    child: Child,
    dir: PathBuf,
    phase: std::cell::Cell<u64>,
}

impl Reader {
    fn begins(&self, phase: &str) {
        let begun = self.dir.join(format!("{phase}.begun"));
        eventually("the container reads", || begun.exists());
    }

    /// All it has read since the last time was right, and it goes on.
    pub(crate) fn reads_on(&self, rounds: u64) {
        for _ in 0..rounds {
            let before = self.phase.get();
            self.phase.set(before + 1);
            let next = (before + 1).to_string();
            std::fs::write(self.dir.join("new"), &next).unwrap();
            std::fs::rename(self.dir.join("new"), self.dir.join("phase")).unwrap();
            self.begins(&next);
            self.was_good(before);
        }
    }

    fn was_good(&self, phase: u64) {
        let report = self.dir.join(format!("{phase}.json"));
        eventually("it reports", || report.exists());
        let text = std::fs::read(report).unwrap();
        let report: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(report["good"], true, "{report:#}");
        assert_ne!(report["reads"], 0);
    }

    pub(crate) fn end(mut self) {
        std::fs::write(self.dir.join("phase"), "end").unwrap();
        self.child.wait().unwrap();
        self.was_good(self.phase.get());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pod: a container of runc. Dropping it kills it.
pub(crate) struct Pod<'a> {
    host: &'a Host,
    pub(crate) id: String,
    dir: tempfile::TempDir,
    runc: std::cell::RefCell<Child>,
}

impl<'a> Pod<'a> {
    pub(crate) fn with(
        host: &'a Host,
        program: &Path,
        options: &[&str],
        edit: impl FnOnce(&mut Value),
    ) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("resview-test-{}-pod{count}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        image(&root, program);
        let mut config = config(host, &root, &id, options);
        edit(&mut config);
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        // As the kubelet does for DirectoryOrCreate.
        for path in FOLDERS {
            std::fs::create_dir_all(host.path(path)).unwrap();
        }
        let log =
            || File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
        let mut command = host.command(&["runc", "--root"]);
        command.arg(dir.path().join("state")).arg("run").arg("--bundle").arg(dir.path()).arg(&id);
        let runc = command.stdout(log()).stderr(log()).spawn().unwrap();
        Self { host, id, dir, runc: runc.into() }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits until it has said so.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) {
        self.brings_about(words, || self.log().contains(words));
    }

    /// Waits until something is so, by its doing.
    #[track_caller]
    pub(crate) fn brings_about(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..9000 {
            let has_ended = self.runc.borrow_mut().try_wait().unwrap().is_some();
            if is_so() {
                return;
            }
            assert!(!has_ended, "never: {what}; the pod has ended: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("never: {what}; the pod says: {}", self.log());
    }

    /// Waits for its end; whether all went well.
    pub(crate) fn end(&self) -> bool {
        self.runc.borrow_mut().wait().unwrap().success()
    }

    /// SIGKILL for all of it.
    pub(crate) fn kill(&self) {
        assert!(kill_all_in(&self.id) > 0, "the pod has a process: {}", self.log());
        let _ = self.runc.borrow_mut().wait();
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        let mut command = self.host.command(&["runc", "--root"]);
        command.arg(self.dir.path().join("state")).args(["delete", "--force", &self.id]);
        let _ = command.output();
        let _ = self.runc.borrow_mut().wait();
    }
}

/// What `FROM scratch` has; this build is not static, so the machine's libraries are there as well.
fn image(root: &Path, program: &Path) {
    for dir in [
        "proc",
        "sys",
        "dev",
        "tmp",
        "usr",
        "config",
        "host/opt/resview",
        "host/etc/resview",
        "host/run/resview",
    ] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for dir in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{dir}"), root.join(dir)).unwrap();
    }
    std::fs::copy(program, root.join("resview")).unwrap();
}

fn config(host: &Host, root: &Path, id: &str, options: &[&str]) -> Value {
    let mut args = vec!["/resview", "node", "--host", "/host", "--systemd", "no"];
    args.extend(["--cgroup", &host.cgroup, "--interval", "100ms"]);
    args.extend(options);
    let bind = |source: &Path, to: &str, options: &[&str]| json!({ "destination": to, "type": "bind", "source": source, "options": options });
    let folder =
        |path: &str| bind(Path::new(path), &format!("/host{path}"), &["rbind", "rw", "rslave"]);
    let namespaces = ["mount", "ipc", "uts", "network"].into_iter();
    let namespaces = namespaces.chain((layout() == Layout::V2).then_some("cgroup"));
    let namespaces: Vec<Value> = namespaces.map(|kind| json!({ "type": kind })).collect();
    let capabilities = json!(CAPABILITIES);
    json!({
        "ociVersion": "1.0.2",
        "hostname": "node",
        "process": {
            "args": args,
            "cwd": "/",
            "env": ["PATH=/usr/bin"],
            "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "root": { "path": root, "readonly": true },
        "mounts": [
            // The host's, with the host's process 1.
            bind(Path::new("/proc"), "/proc", &["rbind"]),
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
            bind(Path::new("/usr"), "/usr", &["rbind", "ro"]),
            bind(&host.dir.path().join("config"), "/config", &["rbind", "ro"]),
            folder(FOLDERS[0]),
            folder(FOLDERS[1]),
            folder(FOLDERS[2]),
        ],
        "linux": { "cgroupsPath": format!("/{id}"), "namespaces": namespaces },
    })
}
