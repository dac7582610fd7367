//! Id-mapped mounts, as engines make them for containers with a user namespace of their own.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Clones the mount at one path, maps its ids by a user namespace, and puts it at another path:
/// open_tree(2), mount_setattr(2) and move_mount(2), whose numbers are the same on all architectures
/// that Rust and Debian have in common. Ends with the errno of what failed.
const BIND: &str = r#"
import ctypes, os, sys
source, target, namespace = sys.argv[1:]
AT_FDCWD, AT_EMPTY_PATH, OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = -100, 0x1000, 1, 4
MOUNT_ATTR_IDMAP = 0x100000
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    arguments = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        sys.exit(ctypes.get_errno())
    return result
mount = call(428, AT_FDCWD, os.fsencode(source), OPEN_TREE_CLONE)
namespace = os.open(namespace, os.O_RDONLY)
attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_IDMAP, 0, 0, namespace)
call(442, mount, b"", AT_EMPTY_PATH, attributes, ctypes.sizeof(attributes))
call(429, mount, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)
"#;

/// Whether this kernel lets FUSE have them: since Linux 6.12.
///
/// # Panics
/// When its release does not begin with two numbers.
#[must_use]
pub fn fuse_has_idmap() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_str().expect("a release in ASCII");
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().expect(release));
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

/// A user namespace with a process that keeps it. Dropping it ends the process.
#[derive(Debug)]
pub struct UserNamespace(Child);

impl UserNamespace {
    /// One whose ids from 0 on are those from `first` on outside, 65536 of them.
    ///
    /// # Panics
    /// When it cannot be made, which takes root.
    #[must_use]
    pub fn new(first: u32) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "sleep", "1000000"]).stdin(Stdio::null());
        let namespace = Self(command.spawn().expect("starting unshare"));
        let own = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user"));
        let (pid, begin) = (namespace.0.id().to_string(), Instant::now());
        while own(&pid).ok() == own("self").ok() {
            assert!(begin.elapsed() < Duration::from_secs(60), "unshare does nothing");
            std::thread::sleep(Duration::from_millis(2));
        }
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{pid}/{map}"), format!("0 {first} 65536"))
                .unwrap_or_else(|error| panic!("{map}: {error}"));
        }
        namespace
    }

    /// The process in it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Binds `source` at `target` in the mount namespace of the calling thread, with ids mapped as this
    /// namespace has them. Both have to be there.
    ///
    /// # Errors
    /// How the bind ended: with the errno of what failed, `EINVAL` where the file system at `source`
    /// does not allow it.
    ///
    /// # Panics
    /// When there is no Python.
    pub fn bind(&self, source: &Path, target: &Path) -> Result<(), i32> {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-I", "-c", BIND]).args([source, target]);
        let ended = python.arg(format!("/proc/{}/ns/user", self.pid())).status();
        code(ended.expect("starting python3"))
    }

    /// What `script` comes to, run by the namespace's root in the mount namespace of the calling thread.
    ///
    /// # Panics
    /// When there is no nsenter.
    #[must_use]
    pub fn sh(&self, script: &str) -> Output {
        let pid = self.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--user", "sh", "-c", script]).stdin(Stdio::null());
        command.output().expect("starting nsenter")
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn code(ended: ExitStatus) -> Result<(), i32> {
    match ended.code() {
        Some(0) => Ok(()),
        Some(errno) => Err(errno),
        None => panic!("killed by signal {:?}", ended.signal()),
    }
}
