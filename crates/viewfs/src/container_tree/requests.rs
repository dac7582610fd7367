//! What the kernel asks of the tree.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use container::registry::{Found, Registry};
use fuse::{
    AttrReply, Context, DirSink, Entry, Errno, Fh, FileType, Filesystem, NodeId, OFlags, OpenReply,
    Peek, ReadBuf,
};

use super::nodes::Node;
use super::{ContainerTree, NEVER, TTL, now, place_of};
use crate::clocks::monotonic;
use crate::decisions::TICK;
use crate::listing::list;

impl Filesystem for ContainerTree {
    fn class(&self, peek: &Peek) -> u64 {
        match self.known.get(peek.node) {
            Some(Node::Of(member, _)) => member.class(),
            _ => 0,
        }
    }

    fn lookup(&self, ctx: &Context<'_>, parent: NodeId, name: &OsStr) -> fuse::Result<Entry> {
        let name = name.to_str().ok_or(Errno::NOENT)?;
        let (member, inner) = match self.node(parent)? {
            Node::Root => return self.lookup_top(name),
            Node::Name(_) => return Err(Errno::NOTDIR),
            Node::Of(member, inner) => (member, inner),
        };
        let found = self.found(&member)?;
        let entry = self.child(&inner, name, &found.container)?;
        let (attr, attr_ttl) = self.attr_of(ctx, &member, &entry, &found)?;
        let entry_ttl = entry.ttl;
        let node = self.known.remember(Node::Of(member, entry.inner));
        Ok(Entry { node, attr, entry_ttl, attr_ttl })
    }

    fn forget(&self, node: NodeId, lookups: u64) {
        self.known.forget(node, lookups);
    }

    fn getattr(&self, ctx: &Context<'_>, node: NodeId, _: Option<Fh>) -> fuse::Result<AttrReply> {
        let (attr, ttl) = match self.node(node)? {
            Node::Root => {
                let registered = self.contents.registry().map(Registry::now);
                (self.root_attr(&registered.unwrap_or_default()), NEVER)
            }
            Node::Name(name) => {
                let registered = self.registry()?.within(TICK);
                let id = registered.named(&name).ok_or(Errno::NOENT)?;
                self.present(&registered, id.as_str())?;
                (self.link_attr(&name), TTL)
            }
            Node::Of(member, inner) => {
                let found = self.found(&member)?;
                let entry = self.entry(inner, &found.container)?;
                self.attr_of(ctx, &member, &entry, &found)?
            }
        };
        Ok(AttrReply { attr, ttl })
    }

    fn readlink(&self, _: &Context<'_>, node: NodeId) -> fuse::Result<OsString> {
        match self.node(node)? {
            Node::Root => Err(Errno::INVAL),
            Node::Name(name) => {
                let registered = self.registry()?.within(TICK);
                Ok(registered.named(&name).ok_or(Errno::NOENT)?.as_str().into())
            }
            Node::Of(member, inner) => self.link(&inner, &self.found(&member)?.container),
        }
    }

    /// For good: there is nothing that belongs to an open file.
    fn open(&self, _: &Context<'_>, _: NodeId, _: OFlags) -> fuse::Result<OpenReply> {
        Err(Errno::NOSYS)
    }

    fn read(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        _: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> fuse::Result<()> {
        let Node::Of(member, inner) = self.node(node)? else { return Err(Errno::ISDIR) };
        let snapshot = self.snapshots.get(node, monotonic(), &self.keep);
        // Looked for only if nothing is there to be shown, which the kernel was told of before.
        let found = OnceCell::new();
        let build = || {
            let one = self.found(&member)?;
            let one: &Found = found.get_or_init(|| one);
            self.content(&inner, one, None)
        };
        let write = |fh: Fh, content: &[u8], mtime: Duration| {
            if let Some(found) = found.get() {
                self.write_down(fh, node, found, content, mtime);
            }
        };
        let content = snapshot.read(ctx.caller.tid, now(), || self.keep.new_fh(), build, write)?;
        out.put_from(&content, offset);
        out.pad(b'\n');
        Ok(())
    }

    fn readdir(
        &self,
        _: &Context<'_>,
        node: NodeId,
        _: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> fuse::Result<()> {
        let dots = [".", ".."].map(|dot| (node, FileType::Directory, dot.to_owned()));
        match self.node(node)? {
            Node::Root => {
                let top = self.list_top()?.into_iter();
                let places = top.map(|one| (place_of(one.0), one));
                for (place, (node, kind, name)) in (1..).zip(dots).chain(places) {
                    let is_next = place > offset;
                    if is_next && !out.add(node.0, place, kind, OsStr::new(&name)) {
                        break;
                    }
                }
            }
            Node::Name(_) => return Err(Errno::NOTDIR),
            Node::Of(member, inner) => {
                let found = self.found(&member)?;
                let listed = self.list(&inner, &found.container)?.into_iter();
                let listed =
                    listed.map(|(name, inner, kind)| (member.number(inner.number), kind, name));
                list(dots.into_iter().chain(listed), offset, out);
            }
        }
        Ok(())
    }
}
