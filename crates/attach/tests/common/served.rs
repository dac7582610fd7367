//! A FUSE file system with a few files, which can be killed and can hang.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fuse::{
    Attr, AttrReply, Connection, Context, DirSink, Entry, Errno, Features, Fh, FileType,
    Filesystem, MountOptions, NodeId, OFlags, OpenFlags, OpenReply, ReadBuf, Result, Serve,
    ServeHandle, Session, unmount,
};

/// The source of all mounts of tests, to find any that went astray.
pub(crate) const SOURCE: &str = "attach-test";
const TTL: Duration = Duration::from_secs(3600);

/// Name, parent, whether it is a directory; the number of the first is 2.
const NODES: [(&str, u64, bool); 5] = [
    ("meminfo", 1, false),
    ("uptime", 1, false),
    ("cpu", 1, true),
    ("online", 4, false),
    ("proc", 1, true),
];

/// It is mounted on a directory of its own until it is dropped.
#[derive(Debug)]
pub(crate) struct Served {
    dir: tempfile::TempDir,
    serving: Option<(Session, ServeHandle)>,
}

impl Served {
    /// One whose files say `text`.
    pub(crate) fn new(text: &str) -> Self {
        Self::of_type("resview", text)
    }

    /// One of type `fuse.<subtype>`.
    pub(crate) fn of_type(subtype: &str, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = MountOptions {
            mountpoint: dir.path().to_owned(),
            subtype: subtype.to_owned(),
            source: SOURCE.to_owned(),
            allow_other: true,
            default_permissions: true,
            read_only: false,
        };
        let session = Connection::mount(&options).unwrap().init(&Features::default()).unwrap();
        let tree = Arc::new(Tree(text.to_owned()));
        let serve = Serve::with_threads(NonZeroUsize::new(2).unwrap());
        let serving = session.serve(tree, serve).unwrap();
        Self { dir, serving: Some((session, serving)) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Ends the connection: from now on it answers ENOTCONN.
    pub(crate) fn kill(&mut self) {
        if let Some((session, serving)) = self.serving.take() {
            let _ = serving.stop();
            drop(session);
        }
    }

    /// Stops answering, without an end. Returns what has to be dropped to end it.
    pub(crate) fn hang(&mut self) -> Session {
        let (session, serving) = self.serving.take().unwrap();
        let _ = serving.stop();
        session
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
        let _ = unmount(self.dir.path());
    }
}

#[derive(Debug)]
struct Tree(String);

impl Tree {
    fn attr(&self, node: u64) -> Result<Attr> {
        let is_dir = node == 1 || this(node)?.2;
        let kind = if is_dir { FileType::Directory } else { FileType::Regular };
        let size = if is_dir { 0 } else { self.0.len() as u64 };
        let (mode, nlink) = if is_dir { (0o555, 2) } else { (0o444, 1) };
        let mtime = Duration::from_secs(1);
        Ok(Attr { ino: node, size, kind, mode, nlink, uid: 0, gid: 0, mtime })
    }
}

fn this(node: u64) -> Result<(&'static str, u64, bool)> {
    let index = usize::try_from(node).unwrap().checked_sub(2).ok_or(Errno::NOENT)?;
    NODES.get(index).copied().ok_or(Errno::NOENT)
}

impl Filesystem for Tree {
    fn lookup(&self, _: &Context<'_>, parent: NodeId, name: &OsStr) -> Result<Entry> {
        let found = NODES.iter().zip(2..).find(|(it, _)| it.1 == parent.0 && name == it.0);
        let (_, node) = found.ok_or(Errno::NOENT)?;
        let attr = self.attr(node)?;
        Ok(Entry { node: NodeId(node), attr, entry_ttl: TTL, attr_ttl: TTL })
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> Result<AttrReply> {
        Ok(AttrReply { attr: self.attr(node.0)?, ttl: TTL })
    }

    fn open(&self, _: &Context<'_>, node: NodeId, flags: OFlags) -> Result<OpenReply> {
        if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            return Err(Errno::ACCESS);
        }
        Ok(OpenReply { fh: Fh(node.0), flags: OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH })
    }

    fn read(
        &self,
        _: &Context<'_>,
        _: NodeId,
        _: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> Result<()> {
        out.put_from(self.0.as_bytes(), offset);
        Ok(())
    }

    fn readdir(
        &self,
        _: &Context<'_>,
        node: NodeId,
        _: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> Result<()> {
        let inside = NODES.iter().zip(2..).filter(|(it, _)| it.1 == node.0);
        for ((it, number), next) in inside.zip(1..).skip(usize::try_from(offset).unwrap()) {
            let kind = if it.2 { FileType::Directory } else { FileType::Regular };
            if !out.add(number, next, kind, OsStr::new(it.0)) {
                break;
            }
        }
        Ok(())
    }
}
