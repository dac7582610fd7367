//! What the checks look at: files below a root, programs, mounts. Nothing is written.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::cli::DaemonPlace;
use crate::mountinfo::{self, Mount};
use crate::run::{Answers, ask_mount};

/// Where programs are looked for.
const PROGRAMS: [&str; 7] =
    ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin", "snap/bin"];
/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);
/// No more of a file or of what a program prints is read, in bytes.
const MOST: u64 = 1 << 20;

/// A machine; in a test, one that is made up.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    root: PathBuf,
    /// Asks a mounted file system whether it lives, without waiting for one that hangs.
    ask: fn(&Path) -> Answers,
    pub(crate) place: DaemonPlace,
}

impl Machine {
    /// This one.
    pub(crate) fn this(place: DaemonPlace) -> Self {
        Self { root: "/".into(), ask: ask_mount, place }
    }

    /// A file as it is called on the machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        std::fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// A file's text, its first MiB; `None`: it is not there, or cannot be read.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.read(path).ok()
    }

    pub(crate) fn read(&self, path: &str) -> std::io::Result<String> {
        let mut bytes = Vec::new();
        std::fs::File::open(self.path(path))?.take(MOST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The number in a file.
    pub(crate) fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.trim().parse().ok()
    }

    /// The names in a directory, sorted; none if there is no such directory.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Where a link leads.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        Some(std::fs::read_link(self.path(path)).ok()?.to_string_lossy().into_owned())
    }

    /// The mounts of a process, `self` or a pid.
    pub(crate) fn mounts_of(&self, process: &str) -> Vec<Mount> {
        let path = self.path(&format!("proc/{process}/mountinfo"));
        mountinfo::parse(&std::fs::read(path).unwrap_or_default())
    }

    /// The processes there are.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.names("proc").iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Whether the file system at a path answers.
    pub(crate) fn ask(&self, path: &Path) -> Answers {
        (self.ask)(&self.path(&path.to_string_lossy()))
    }

    /// Where a program is.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let candidates = PROGRAMS.iter().map(|dir| self.root.join(dir).join(name));
        candidates.into_iter().find(|path| {
            path.is_file()
                && rustix::fs::access(path.as_path(), rustix::fs::Access::EXEC_OK).is_ok()
        })
    }

    /// What a program prints. `None`: it fails, or takes too long.
    pub(crate) fn output(&self, program: &Path, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let mut stdout = child.stdout.take()?;
        let (send, receive) = channel();
        // A thread of its own: a grandchild may keep the pipe open for ever.
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.by_ref().take(MOST).read_to_end(&mut bytes);
            let _ = send.send(read.map(|_| bytes));
        });
        let end = Instant::now() + PATIENCE;
        let bytes = receive.recv_timeout(PATIENCE).ok().and_then(Result::ok);
        while bytes.is_some() && Instant::now() < end {
            match child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(status)) => {
                    let text = String::from_utf8_lossy(&bytes?).into_owned();
                    return status.success().then_some(text);
                }
                Err(_) => return None,
            }
        }
        // Beyond its time; what cannot be killed is not waited for.
        let _ = child.kill();
        None
    }
}

/// The first number with dots in a text: `1.1.5` of `runc version 1.1.5+ds1`.
pub(crate) fn version_in(text: &str) -> Option<[u32; 3]> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let numbers =
        |word: &str| word.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>();
    let found = words
        .map(|word| word.trim_matches('.'))
        .find_map(|word| numbers(word).filter(|numbers| numbers.len() > 1))?;
    let at = |index: usize| found.get(index).copied().unwrap_or(0);
    Some([at(0), at(1), at(2)])
}

#[cfg(test)]
pub(crate) mod fake {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A machine of files that a test makes.
    pub(crate) struct Fake {
        dir: tempfile::TempDir,
        pub(crate) machine: Machine,
    }

    impl Fake {
        pub(crate) fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let place = DaemonPlace {
                mountpoint: dir.path().join("var/lib/resview"),
                runtime_dir: dir.path().join("run/resview"),
            };
            let machine = Machine { root: dir.path().into(), ask: |_| Answers::Yes, place };
            let fake = Self { dir, machine };
            files.iter().for_each(|(path, text)| fake.file(path, text));
            fake
        }

        pub(crate) fn root(&self) -> &Path {
            self.dir.path()
        }

        pub(crate) fn answering(mut self, ask: fn(&Path) -> Answers) -> Self {
            self.machine.ask = ask;
            self
        }

        pub(crate) fn file(&self, path: &str, text: &str) {
            let path = self.machine.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        pub(crate) fn link(&self, path: &str, target: &str) {
            let path = self.machine.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, path).unwrap();
        }

        /// A program that is this shell script.
        pub(crate) fn script(&self, name: &str, script: &str) {
            let path = format!("usr/bin/{name}");
            self.file(&path, &format!("#!/bin/sh\n{script}\n"));
            let path = self.machine.path(&path);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Fake;
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (text, version) in [
            ("runc version 1.1.5+ds1\ncommit: 1.1.5", Some([1, 1, 5])),
            ("Docker version 28.2.2, build e6534b4", Some([28, 2, 2])),
            ("containerd github.com/containerd/containerd v2.1.4 abc", Some([2, 1, 4])),
            ("6.18.44-cloud", Some([6, 18, 44])),
            ("6.12", Some([6, 12, 0])),
            ("version 5", None),
        ] {
            assert_eq!(version_in(text), version, "{text}");
        }
    }

    #[test]
    fn a_program_that_hangs_is_given_up() {
        let fake = Fake::new(&[]);
        fake.script("good", "echo 1.2.3");
        fake.script("bad", "echo 1.2.3; exit 1");
        fake.script("hung", "exec sleep 60");
        let output = |name: &str| {
            let program = fake.machine.program(name).unwrap();
            fake.machine.output(&program, &["--version"])
        };
        assert_eq!(output("good").as_deref(), Some("1.2.3\n"));
        assert_eq!(output("bad"), None);
        let before = Instant::now();
        assert_eq!(output("hung"), None);
        assert!(before.elapsed() < Duration::from_secs(55), "it was waited for");
        assert_eq!(fake.machine.program("none"), None);
    }
}
