//! A container whose first process is a shell that does what it is told.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use attach::Process;

/// Options of unshare(1) for a container as engines make it, without and with a user namespace.
pub(crate) const PLAIN: &[&str] = &["-mpf", "--propagation", "private", "--mount-proc"];
pub(crate) const USER: &[&str] = &["-Urmpf", "--propagation", "private", "--mount-proc"];

/// Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Container {
    unshare: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) pid: u32,
}

impl Container {
    /// One with a mask, as most have, made by unshare(1) with `options`.
    pub(crate) fn new(options: &[&str]) -> Self {
        let mut container = Self::unmasked(options);
        container.run("mount --bind /dev/null /proc/filesystems");
        container.run("mount -t tmpfs -o ro mask /sys/firmware");
        container
    }

    /// One that sees all of its procfs and sysfs.
    pub(crate) fn unmasked(options: &[&str]) -> Self {
        let mut unshare = Command::new("unshare")
            .args(options)
            .args(["--kill-child", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = unshare.stdin.take().unwrap();
        let stdout = BufReader::new(unshare.stdout.take().unwrap());
        let mut container = Self { unshare, stdin, stdout, pid: 0 };
        container.run("true"); // it runs now, so it is a child
        let parent = container.unshare.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        container.pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        container
    }

    pub(crate) fn process(&self) -> Process {
        Process::running(self.pid).unwrap()
    }

    /// What `script` prints, run by the container's shell. It must succeed.
    pub(crate) fn run(&mut self, script: &str) -> String {
        let (ok, text) = self.attempt(script);
        assert!(ok, "{script}: {text}");
        text
    }

    /// Whether `script` succeeds, and what it prints on both streams.
    pub(crate) fn attempt(&mut self, script: &str) -> (bool, String) {
        writeln!(self.stdin, "{{ {script}\n}} 2>&1; echo \"~$?~\"").unwrap();
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it ended: {text}");
            if let Some(status) = line.trim_end().strip_suffix('~').and_then(|line| {
                let (before, status) = line.rsplit_once('~')?;
                text.push_str(before);
                Some(status.to_owned())
            }) {
                return (status == "0", text);
            }
            text.push_str(&line);
        }
    }

    /// Starts `script` without waiting for it.
    pub(crate) fn begin(&mut self, script: &str) {
        self.run(&format!("( {script} ) </dev/null >/dev/null 2>&1 &"));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
