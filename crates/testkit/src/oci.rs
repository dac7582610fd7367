//! Containers by runc or crun, without an image: their root is this machine's own, read-only.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cgroup::clean_up;
use crate::layout::{Layout, layout};

/// A container to be: what `config.json` of the OCI runtime specification says.
#[derive(Clone, Debug)]
pub struct Container {
    runtime: String,
    args: Vec<String>,
    mounts: Vec<(PathBuf, String)>,
    memory: Option<u64>,
    swap: Option<u64>,
    quota: Option<(u64, u64)>,
    cpuset: Option<String>,
    beside: Option<u32>,
    root: PathBuf,
    pid_namespace_of: Option<u32>,
    cgroup_parent: String,
    edits: Vec<fn(&mut Value)>,
}

impl Container {
    /// A container of `runtime` (`runc` or `crun`) that runs `args`, without any limit.
    #[must_use]
    pub fn new(runtime: &str, args: &[&str]) -> Self {
        Self {
            runtime: runtime.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            mounts: Vec::new(),
            memory: None,
            swap: None,
            quota: None,
            cpuset: None,
            beside: None,
            root: "/".into(),
            pid_namespace_of: None,
            cgroup_parent: String::new(),
            edits: Vec::new(),
        }
    }

    /// Takes another folder than this machine's root for the container's, read-only as well.
    #[must_use]
    pub fn root(mut self, dir: &Path) -> Self {
        self.root = dir.to_owned();
        self
    }

    /// Changes `config.json` in a way that there is no word for here.
    #[must_use]
    pub fn edit(mut self, edit: fn(&mut Value)) -> Self {
        self.edits.push(edit);
        self
    }

    /// Shares the pid namespace of a process.
    #[must_use]
    pub fn pid_namespace_of(mut self, pid: u32) -> Self {
        self.pid_namespace_of = Some(pid);
        self
    }

    /// Puts the container's cgroup below one that exists, such as `/pod`.
    #[must_use]
    pub fn cgroup_parent(mut self, path: &str) -> Self {
        path.clone_into(&mut self.cgroup_parent);
        self
    }

    /// Starts the runtime in the mount namespace of process `pid`: where a daemon under test has
    /// its mounts, when the test keeps them out of the machine's own namespace.
    #[must_use]
    pub fn beside(mut self, pid: u32) -> Self {
        self.beside = Some(pid);
        self
    }

    /// Binds `source` over `destination`, which has to exist on this machine or be in /proc or
    /// /sys.
    #[must_use]
    pub fn mount(mut self, source: &Path, destination: &str) -> Self {
        self.mounts.push((source.to_owned(), destination.to_owned()));
        self
    }

    /// Limits memory, in bytes.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Limits swap, in bytes beside the memory.
    #[must_use]
    pub fn swap(mut self, bytes: u64) -> Self {
        self.swap = Some(bytes);
        self
    }

    /// Limits CPU time to `quota` in each `period`, in microseconds.
    #[must_use]
    pub fn quota(mut self, quota: u64, period: u64) -> Self {
        self.quota = Some((quota, period));
        self
    }

    /// Confines to a list of CPUs such as `0-1`.
    #[must_use]
    pub fn cpuset(mut self, cpus: &str) -> Self {
        self.cpuset = Some(cpus.to_owned());
        self
    }

    /// Runs the container to its end.
    ///
    /// # Panics
    /// When the runtime cannot be started. What the runtime says is on the output's `stderr`.
    #[must_use]
    pub fn run(&self) -> Output {
        let bundle = Bundle::new(self);
        bundle.command(&["run", "--bundle"]).output().expect("starting unshare")
    }

    /// Starts the container and returns when its first process runs.
    ///
    /// # Panics
    /// When it does not start within ten seconds.
    #[must_use]
    pub fn start(&self) -> Running {
        let bundle = Bundle::new(self);
        let pid_file = bundle.dir.path().join("pid");
        let mut command = bundle.runtime(&["run", "--pid-file"]);
        command.arg(&pid_file).arg("--bundle").arg(bundle.dir.path()).arg(&bundle.id);
        // Not the test's own: runtimes give what they inherit to the root of a user namespace.
        let said = bundle.dir.path().join("stderr");
        let stderr = std::fs::File::create(&said).expect("a file for messages");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let mut running = Running { bundle, child: child.expect("starting unshare"), pid: 0 };
        let begin = Instant::now();
        while running.pid == 0 {
            assert!(begin.elapsed() < Duration::from_secs(10), "the container does not start");
            if let Ok(Some(status)) = running.child.try_wait() {
                let said = std::fs::read_to_string(&said).unwrap_or_default();
                panic!("the container ended before it ran: {status}: {said}");
            }
            std::thread::sleep(Duration::from_millis(5));
            let pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
            // The file is made first and written then; it counts once the container runs.
            running.pid = if running.runs() { pid.trim().parse().unwrap_or(0) } else { 0 };
        }
        running
    }

    /// Creates the container and leaves it before its first instruction.
    ///
    /// # Panics
    /// When the runtime does not create it.
    #[must_use]
    pub fn create(&self) -> Created {
        let bundle = Bundle::new(self);
        let path = |name: &str| bundle.dir.path().join(name);
        let file = |name: &str| std::fs::File::create(path(name)).expect("a file for output");
        let mut command = bundle.runtime(&["create", "--pid-file"]);
        command.arg(path("pid")).arg("--bundle").arg(bundle.dir.path()).arg(&bundle.id);
        // The container's first process has them too, so that they are files.
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let status = command.status().expect("starting unshare");
        let said = std::fs::read_to_string(path("stderr")).unwrap_or_default();
        assert!(status.success(), "the container is not created: {status}: {said}");
        let pid = std::fs::read_to_string(path("pid")).expect("the pid file");
        let pid = pid.trim().parse().expect("a process number");
        let cgroup = format!("{}/{}", self.cgroup_parent, bundle.id);
        Created { bundle, cgroup, pid }
    }

    fn config(&self, rootfs: &Path, cgroup: &str) -> Value {
        let namespaces = ["pid", "mount", "ipc", "uts"].into_iter();
        // As the engines have it: a cgroup namespace on v2, none on v1.
        let namespaces = namespaces.chain((layout() == Layout::V2).then_some("cgroup"));
        let mut namespaces: Vec<Value> = namespaces.map(|kind| json!({ "type": kind })).collect();
        if let (Some(pid), Some(first)) = (self.pid_namespace_of, namespaces.first_mut()) {
            first["path"] = json!(format!("/proc/{pid}/ns/pid"));
        }
        let mut config = json!({
            "ociVersion": "1.0.2",
            "hostname": "test",
            "process": {
                "args": self.args,
                "cwd": "/",
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "TERM=linux", "LC_ALL=C"],
                "user": { "uid": 0, "gid": 0 },
            },
            "root": { "path": rootfs, "readonly": true },
            "mounts": self.all_mounts(),
            "linux": {
                "cgroupsPath": cgroup,
                "namespaces": namespaces,
                "resources": self.resources(),
            },
        });
        self.edits.iter().for_each(|edit| edit(&mut config));
        config
    }

    fn all_mounts(&self) -> Vec<Value> {
        let own = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
        let mut mounts = vec![
            own("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            own("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            own("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
            own("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
            own("/dev/shm", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
            own("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
            own("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]),
        ];
        mounts.extend(self.mounts.iter().map(|(source, destination)| {
            json!({
                "destination": destination,
                "type": "bind",
                "source": source,
                "options": ["rbind", "ro", "nosuid", "nodev", "noexec"],
            })
        }));
        mounts
    }

    fn resources(&self) -> Value {
        let mut resources = json!({});
        if let Some(bytes) = self.memory {
            resources["memory"]["limit"] = json!(bytes);
        }
        if let (Some(memory), Some(swap)) = (self.memory, self.swap) {
            // The specification counts as v1 does: memory and swap together.
            resources["memory"]["swap"] = json!(memory.saturating_add(swap));
        }
        if let Some((quota, period)) = self.quota {
            resources["cpu"] = json!({ "quota": quota, "period": period });
        }
        if let Some(cpus) = &self.cpuset {
            resources["cpu"]["cpus"] = json!(cpus);
        }
        resources
    }
}

/// A container that runs. Dropping it kills and removes it.
#[derive(Debug)]
pub struct Running {
    bundle: Bundle,
    child: Child,
    pid: u32,
}

impl Running {
    /// The first process of the container, as this process's pid namespace counts.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The container's cgroup, such as `/resview-test-1-2`.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("/{}", self.bundle.id)
    }

    /// Runs one more command in the container.
    ///
    /// # Panics
    /// When the runtime cannot be started.
    #[must_use]
    pub fn exec(&self, args: &[&str]) -> Output {
        let mut command = self.bundle.runtime(&["exec", &self.bundle.id]);
        command.args(args).output().expect("starting unshare")
    }

    fn runs(&self) -> bool {
        let state = self.bundle.runtime(&["state", &self.bundle.id]).output();
        let state = state.map(|output| serde_json::from_slice::<Value>(&output.stdout));
        state.is_ok_and(|state| state.is_ok_and(|state| state["status"] == "running"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.bundle.runtime(&["delete", "--force", &self.bundle.id]).output();
        let _ = self.child.wait();
    }
}

/// A container that is made and perhaps started. Dropping it kills and removes it.
#[derive(Debug)]
pub struct Created {
    bundle: Bundle,
    cgroup: String,
    pid: u32,
}

impl Created {
    /// The first process of the container, as this process's pid namespace counts.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The container's cgroup, such as `/pod/resview-test-1-2`.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Lets the container's program begin.
    ///
    /// # Panics
    /// When the runtime cannot do it.
    pub fn start(&self) {
        let output = self.bundle.runtime(&["start", &self.bundle.id]).output();
        let output = output.expect("starting unshare");
        assert!(output.status.success(), "the container is not started: {output:?}");
    }

    /// What the container's first process has printed up to a line `end`.
    ///
    /// # Panics
    /// When it prints no such line within a minute.
    #[must_use]
    pub fn printed(&self) -> String {
        let begin = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.bundle.dir.path().join("stdout"));
            let text = text.expect("the container's output");
            if let Some(text) = text.strip_suffix("end\n") {
                return text.to_owned();
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "it does not end: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs one more command in the container.
    ///
    /// # Panics
    /// When the runtime cannot be started.
    #[must_use]
    pub fn exec(&self, args: &[&str]) -> Output {
        let mut command = self.bundle.runtime(&["exec", &self.bundle.id]);
        command.args(args).output().expect("starting unshare")
    }

    /// Kills and removes it, as an engine does with a container that is no longer wanted.
    pub fn remove(&self) {
        let _ = self.bundle.runtime(&["delete", "--force", &self.bundle.id]).output();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The folder that a runtime starts from, with the runtime's state.
#[derive(Debug)]
struct Bundle {
    dir: tempfile::TempDir,
    runtime: String,
    beside: Option<u32>,
    root: PathBuf,
    id: String,
}

impl Bundle {
    fn new(container: &Container) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("resview-test-{}-c{count}", std::process::id());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let rootfs = dir.path().join("rootfs");
        std::fs::create_dir(&rootfs).expect("the folder of the root");
        let cgroup = format!("{}/{id}", container.cgroup_parent);
        let config = container.config(&rootfs, &cgroup);
        std::fs::write(dir.path().join("config.json"), config.to_string()).expect("config.json");
        let (runtime, root) = (container.runtime.clone(), container.root.clone());
        Self { dir, runtime, beside: container.beside, root, id }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.runtime(args);
        command.arg(self.dir.path()).arg(&self.id).stdin(Stdio::null());
        command
    }

    /// The runtime, in a mount namespace of its own in which the container's root lies read-only on
    /// the bundle's. crun refuses to work beside a cgroup2 mount on v1, so it does not see that.
    fn runtime(&self, args: &[&str]) -> Command {
        let hide = if self.runtime == "crun" && layout() == Layout::Hybrid { "yes" } else { "" };
        let script = r#"set -e
            chmod 755 "$1" # for the root of a user namespace
            mount --bind "$4" "$1/rootfs"
            mount -o remount,bind,ro "$1/rootfs"
            [ -z "$2" ] || awk '$3 == "cgroup2" { print $2 }' /proc/mounts | xargs -r umount
            runtime=$3 dir=$1
            shift 4
            exec "$runtime" --root "$dir/state" "$@""#;
        let mut command = match self.beside {
            None => Command::new("unshare"),
            Some(pid) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--mount=/proc/{pid}/ns/mnt")).arg("unshare");
                command
            }
        };
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "testkit"])
            .arg(self.dir.path())
            .args([hide, &self.runtime])
            .arg(&self.root)
            .args(args);
        command
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        clean_up(&self.id);
    }
}
