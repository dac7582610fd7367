//! FUSE by itself: the same transport, with content that is there already and is everybody's. No
//! server of a shared tree can be faster.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fuse::{
    Attr, AttrReply, Connection, Context, Entry, Errno, Features, Fh, FileType, Filesystem,
    MountOptions, NodeId, OFlags, OpenFlags, OpenReply, ReadBuf, Serve, ServeHandle, Session,
};
use tempfile::TempDir;

const FOR_EVER: Duration = Duration::from_secs(3600);

/// The mounted tree; dropping it unmounts.
#[derive(Debug)]
pub(crate) struct Alone {
    /// What is bound where: (from, to), as [`Laid::Bound`](crate::protocol::Laid) wants it.
    pub(crate) binds: Vec<(PathBuf, String)>,
    mountpoint: TempDir,
    serving: Option<ServeHandle>,
    _session: Session,
}

impl Alone {
    /// Serves what the kernel's own files hold now, as far as there are such.
    pub(crate) fn serve(files: &[String]) -> Result<Self> {
        let mountpoint = tempfile::tempdir()?;
        let (mut contents, mut binds) = (BTreeMap::new(), Vec::new());
        for (number, file) in (FIRST..).zip(files) {
            if let Ok(content) = std::fs::read(format!("/{file}")) {
                binds.push((mountpoint.path().join(number.to_string()), file.clone()));
                contents.insert(number, content);
            }
        }
        let session = Connection::mount(&MountOptions {
            mountpoint: mountpoint.path().to_owned(),
            subtype: "resview".to_owned(),
            source: "resview-bench".to_owned(),
            allow_other: true,
            default_permissions: true,
            read_only: false,
        })?;
        let session = session.init(&Features::default())?;
        // As many as the daemon has.
        let threads =
            std::thread::available_parallelism()?.min(NonZeroUsize::MIN.saturating_add(7));
        let serving = session.serve(Arc::new(Constant(contents)), Serve::with_threads(threads));
        let serving = Some(serving.context("cannot serve a tree of constants")?);
        Ok(Self { binds, mountpoint, serving, _session: session })
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.mountpoint.path(), nix::mount::MntFlags::MNT_DETACH);
        if let Some(serving) = self.serving.take() {
            let _ = serving.stop();
        }
    }
}

/// The node of the first file; the root is 1.
const FIRST: u64 = 2;

/// Files that are called by their node.
struct Constant(BTreeMap<u64, Vec<u8>>);

impl Constant {
    fn attr(&self, node: NodeId) -> fuse::Result<Attr> {
        let (kind, mode, size) = match self.0.get(&node.0) {
            Some(content) => (FileType::Regular, 0o444, content.len()),
            None if node == NodeId::ROOT => (FileType::Directory, 0o555, 0),
            None => return Err(Errno::NOENT),
        };
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let mtime = Duration::ZERO;
        Ok(Attr { ino: node.0, size, kind, mode, nlink: 1, uid: 0, gid: 0, mtime })
    }
}

impl Filesystem for Constant {
    fn lookup(&self, _: &Context<'_>, _: NodeId, name: &OsStr) -> fuse::Result<Entry> {
        let node = name.to_str().and_then(|name| name.parse().ok()).ok_or(Errno::NOENT)?;
        let attr = self.attr(NodeId(node))?;
        Ok(Entry { node: NodeId(node), attr, entry_ttl: FOR_EVER, attr_ttl: FOR_EVER })
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> fuse::Result<AttrReply> {
        Ok(AttrReply { attr: self.attr(node)?, ttl: FOR_EVER })
    }

    fn open(&self, _: &Context<'_>, node: NodeId, _: OFlags) -> fuse::Result<OpenReply> {
        Ok(OpenReply { fh: Fh(node.0), flags: OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH })
    }

    fn read(
        &self,
        _: &Context<'_>,
        node: NodeId,
        _: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> fuse::Result<()> {
        out.put_from(self.0.get(&node.0).ok_or(Errno::NOENT)?, offset);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_as_long_as_its_content() {
        let tree = Constant(BTreeMap::from([(FIRST, b"content".to_vec())]));
        assert_eq!(tree.attr(NodeId(FIRST)).unwrap().size, 7);
        assert_eq!(tree.attr(NodeId::ROOT).unwrap().kind, FileType::Directory);
        assert_eq!(tree.attr(NodeId(FIRST + 1)), Err(Errno::NOENT));
    }
}
