//! Asks a tree as the kernel does, without a mount, in the name of a process of a container.

use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuse::{Dispatcher, Errno, Fh, Filesystem, InFlight, NodeId};
use testkit::TestCgroup;

/// A process that does nothing, alone in its cgroup.
pub(super) struct Process {
    id: u32,
    child: Child,
    pub(super) cgroup: TestCgroup,
}

impl Process {
    pub(super) fn new(name: &str) -> Self {
        let cgroup = TestCgroup::new(name);
        let mut sleep = Command::new("sleep");
        let child = sleep.arg("1000").stdout(Stdio::null()).spawn().unwrap();
        cgroup.add_pid(child.id());
        Self { id: child.id(), child, cgroup }
    }

    /// The init of a pid namespace of its own.
    pub(super) fn with_init(name: &str) -> Self {
        let cgroup = TestCgroup::new(name);
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "sh", "-c", "echo $$; exec sleep 1000"]);
        let mut child = unshare.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "1\n");
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let id = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        cgroup.add_pid(id);
        Self { id, child, cgroup }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Ends the container.
    pub(super) fn end(mut self) {
        self.kill();
        drop(self);
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that asks.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) fs: Arc<dyn Filesystem>,
    pub(super) pid: u32,
}

/// Numbers of requests, even ones as the kernel's.
static UNIQUE: AtomicU64 = AtomicU64::new(2);

pub(super) fn new_unique() -> u64 {
    UNIQUE.fetch_add(2, Ordering::Relaxed)
}

type Answer = Result<Vec<u8>, Errno>;

impl Client {
    fn ask(&self, unique: u64, opcode: u32, node: NodeId, body: &[u8]) -> Answer {
        let mut request = Vec::new();
        let length = u32::try_from(40 + body.len()).unwrap();
        request.extend([length, opcode].map(u32::to_ne_bytes).concat());
        request.extend([unique, node.0].map(u64::to_ne_bytes).concat());
        request.extend([0, 0, self.pid, 0].map(u32::to_ne_bytes).concat());
        request.extend(body);
        let in_flight = InFlight::new(NonZeroUsize::MIN);
        let mut dispatcher = Dispatcher::new(&*self.fs, &in_flight, 0).unwrap();
        let reply = dispatcher.handle(&request).unwrap();
        match i32::from_ne_bytes(reply[4..8].try_into().unwrap()) {
            0 => Ok(reply[16..].to_vec()),
            error => Err(Errno::from_raw_os_error(-error)),
        }
    }

    /// The node at a path from the root.
    pub(super) fn lookup(&self, path: &str) -> Result<NodeId, Errno> {
        path.split('/').try_fold(NodeId::ROOT, |node, name| self.child(node, name))
    }

    pub(super) fn child(&self, node: NodeId, name: &str) -> Result<NodeId, Errno> {
        let entry = self.ask(new_unique(), 1, node, format!("{name}\0").as_bytes())?;
        Ok(NodeId(word(&entry, 0)))
    }

    pub(super) fn getattr(&self, node: NodeId) -> Result<(), Errno> {
        self.ask(new_unique(), 3, node, &[0; 16]).map(drop)
    }

    pub(super) fn open_as(&self, unique: u64, node: NodeId, flags: u32) -> Result<Fh, Errno> {
        let body = [flags, 0].map(u32::to_ne_bytes).concat();
        Ok(Fh(word(&self.ask(unique, 14, node, &body)?, 0)))
    }

    pub(super) fn open(&self, path: &str) -> (NodeId, Fh) {
        let node = self.lookup(path).unwrap();
        (node, self.open_as(new_unique(), node, 0).unwrap())
    }

    pub(super) fn opendir_as(&self, unique: u64, node: NodeId) -> Result<Fh, Errno> {
        Ok(Fh(word(&self.ask(unique, 27, node, &[0; 8])?, 0)))
    }

    pub(super) fn read_as(&self, unique: u64, file: (NodeId, Fh), offset: u64) -> Answer {
        self.ask(unique, 15, file.0, &read_body(file.1, offset, 1 << 20))
    }

    pub(super) fn read(&self, file: (NodeId, Fh), offset: u64) -> Answer {
        self.read_as(new_unique(), file, offset)
    }

    /// The names from `offset` on that fit into so many bytes, and the offset after them.
    pub(super) fn readdir(
        &self,
        (node, fh): (NodeId, Fh),
        offset: u64,
        size: u32,
    ) -> Result<(Vec<String>, u64), Errno> {
        let reply = self.ask(new_unique(), 28, node, &read_body(fh, offset, size))?;
        let (mut names, mut next, mut rest) = (Vec::new(), offset, &reply[..]);
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[16..20].try_into().unwrap()) as usize;
            names.push(String::from_utf8(rest[24..24 + length].to_vec()).unwrap());
            next = word(rest, 8);
            rest = &rest[(24 + length).next_multiple_of(8)..];
        }
        Ok((names, next))
    }

    pub(super) fn write_as(&self, unique: u64, file: (NodeId, Fh), text: &str) -> Answer {
        let mut body = [file.1.0, 0].map(u64::to_ne_bytes).concat();
        body.extend([u32::try_from(text.len()).unwrap(), 0].map(u32::to_ne_bytes).concat());
        body.extend([0; 16]);
        body.extend(text.as_bytes());
        self.ask(unique, 16, file.0, &body)
    }

    /// What the file is ready for; `waiter` is the kernel's name for whoever waits.
    pub(super) fn poll(&self, (node, fh): (NodeId, Fh), waiter: u64) -> Result<u32, Errno> {
        let mut body = [fh.0, waiter].map(u64::to_ne_bytes).concat();
        // FUSE_POLL_SCHEDULE_NOTIFY; POLLIN and POLLPRI.
        body.extend([1_u32, 3].map(u32::to_ne_bytes).concat());
        let reply = self.ask(new_unique(), 40, node, &body)?;
        Ok(u32::from_ne_bytes(reply[..4].try_into().unwrap()))
    }

    pub(super) fn release(&self, (node, fh): (NodeId, Fh)) {
        let body = [fh.0, 0, 0].map(u64::to_ne_bytes).concat();
        self.ask(new_unique(), 18, node, &body).unwrap();
    }
}

fn read_body(fh: Fh, offset: u64, size: u32) -> Vec<u8> {
    let mut body = [fh.0, offset].map(u64::to_ne_bytes).concat();
    body.extend(size.to_ne_bytes());
    body.extend([0; 20]);
    body
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
