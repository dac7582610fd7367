//! A container of a check's own: pid and mount namespaces, a cgroup, and the tree's files in place.
//!
//! Its init is a shell that takes commands from a pipe, so that the check can look at the same
//! container before and after it changed something.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::TestCgroup;

use crate::tree::Tree;

/// How long one command in a container may take, in seconds.
const LIMIT: u32 = 60;

/// What the shell prints when a command has ended.
const END: &str = "conformance-end";

/// The mounts of a container, before those of the tree.
const MOUNTS: &str = "mount -t proc proc /proc && mount -t tmpfs tmpfs /dev/shm || exit 1\n";

/// A running container; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Container {
    child: Child,
    /// `None` once it is told to end.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// The pid of its first process, as this machine sees it.
    init: u32,
    /// When it was started, at the latest.
    pub(crate) born: Instant,
    /// Dropped last: it ends what is still in it.
    pub(crate) cgroup: TestCgroup,
}

/// A name that no other cgroup of this process has.
pub(crate) fn fresh(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Container {
    /// A container in a cgroup of its own without limits.
    pub(crate) fn new(tree: &Tree) -> Result<Self> {
        Self::limited(tree, |_| ())
    }

    /// A container whose cgroup gets its limits from `limit`.
    pub(crate) fn limited(tree: &Tree, limit: impl FnOnce(&TestCgroup)) -> Result<Self> {
        let cgroup = TestCgroup::new(&fresh("conformance"));
        limit(&cgroup);
        Self::in_cgroup(tree, cgroup)
    }

    /// A container in that cgroup.
    pub(crate) fn in_cgroup(tree: &Tree, cgroup: TestCgroup) -> Result<Self> {
        let words = ["unshare", "-m", "--propagation", "private", "-p", "-f", "--kill-child", "sh"];
        let mut container = Self::start(&words, cgroup)?;
        container.sh_raw(&format!("{MOUNTS}{}", tree.mount_script()))?;
        Ok(container)
    }

    /// A container inside this one: its own pid and mount namespaces, in another cgroup.
    pub(crate) fn nested(&self, cgroup: TestCgroup) -> Result<Self> {
        let init = self.init.to_string();
        let enter = ["nsenter", "-t", &init, "-m", "-p"];
        let inner = ["unshare", "-m", "-p", "-f", "--kill-child", "sh"];
        Self::start(&[&enter[..], &inner].concat(), cgroup)
    }

    /// A container that shares this one's pid namespace, as those of a pod may do.
    pub(crate) fn sharing_pids(&self, tree: &Tree, cgroup: TestCgroup) -> Result<Self> {
        let init = self.init.to_string();
        let enter = ["nsenter", "-t", &init, "-p"];
        let inner = ["unshare", "-m", "--propagation", "private", "sh"];
        let mut container = Self::start(&[&enter[..], &inner].concat(), cgroup)?;
        container.sh_raw(&format!("{MOUNTS}{}", tree.mount_script()))?;
        Ok(container)
    }

    fn start(words: &[&str], cgroup: TestCgroup) -> Result<Self> {
        let (program, args) = words.split_first().context("no command")?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let born = Instant::now();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("a child without a pipe")?);
        let init = shell_below(child.id())?;
        cgroup.add_pid(init);
        Ok(Self { child, stdin, stdout, init, born, cgroup })
    }

    /// Runs a script in the container; returns what it printed. Anything but status 0 is an error.
    pub(crate) fn sh(&mut self, script: &str) -> Result<String> {
        let script = script.replace('\'', r"'\''");
        self.sh_raw(&format!("timeout -s KILL {LIMIT} sh -c '{script}'\n"))
    }

    /// Runs lines in the container's init itself.
    pub(crate) fn sh_raw(&mut self, lines: &str) -> Result<String> {
        let stdin = self.stdin.as_mut().context("the container has ended")?;
        let script = format!("{{\n{lines}\n}} </dev/null 2>&1\necho; echo {END} $?\n");
        stdin.write_all(script.as_bytes()).context("the container's init has ended")?;
        let mut text = String::new();
        loop {
            let mut line = String::new();
            ensure!(self.stdout.read_line(&mut line)? > 0, "the container has ended: {text}");
            if let Some(status) = line.strip_prefix(END) {
                text.pop();
                ensure!(status.trim() == "0", "status {}: {}", status.trim(), shortened(&text));
                return Ok(text);
            }
            text.push_str(&line);
        }
    }

    /// Runs a Python program in the container; returns what it printed.
    pub(crate) fn python(&mut self, program: &str) -> Result<String> {
        self.sh(&format!("exec /usr/bin/python3 -I -S - <<\"EOF\"\n{program}\nEOF\n"))
    }

    /// What a file holds for the container.
    pub(crate) fn read(&mut self, path: &str) -> Result<String> {
        self.sh(&format!("cat {path}"))
    }

    /// What a process reads that entered the container from the host and kept its own cgroup.
    pub(crate) fn entered(&self, script: &str) -> Result<String> {
        let init = self.init.to_string();
        let output = Command::new("nsenter")
            .args(["-t", &init, "-m", "-p", "sh", "-c", script])
            .stdin(Stdio::null())
            .output()
            .context("cannot start nsenter")?;
        ensure!(output.status.success(), "nsenter: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The pid of its first process, as this machine sees it.
    pub(crate) fn init(&self) -> u32 {
        self.init
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The shell ends at the end of its input, and everything in its pid namespace with it.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// The shell that a chain of `nsenter` and `unshare` below (and with) `pid` ends in.
fn shell_below(pid: u32) -> Result<u32> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        let mut at = pid;
        while let Some(child) = only_child(at) {
            at = child;
        }
        let comm = std::fs::read_to_string(format!("/proc/{at}/comm")).unwrap_or_default();
        if comm.trim() == "sh" {
            return Ok(at);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("no shell was started")
}

fn only_child(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(300).collect()
}
