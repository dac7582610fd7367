//! The container tree: a directory for each registered container, with the files that it would read
//! in the shared tree. Which container it is about is in the path, so the host's administrator can
//! read them too, and nobody has to be told apart.
//!
//! The kernel's page cache serves the reads: OPEN is answered ENOSYS, for good, GETATTR makes the
//! content (see [`snapshot`]), and within half a tick nothing is asked at all. The mount has to check
//! permissions in the kernel (`default_permissions`): then opening a file brings its attributes up
//! to date as well, without which sendfile(2) and mmap(2) would see old content, for these do not
//! ask. And it has to be read-only, because what is written to a cached file is seen by others
//! before it is refused.
//!
//! What is read in one call is of one moment, unless the file is larger than the pages that the
//! kernel takes hold of at once (15 of them). A program that reads a file piece by piece may begin
//! in one text and go on in the next if there is more than half a tick in between: no server is told
//! which of its reads belong together.

mod files;
mod nodes;
mod requests;
mod snapshot;
mod snapshots;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use container::registry::{Found, Registered, Registry};
use fuse::{Attr, Context, Entry, Errno, Fh, FileType, NodeId};

use self::nodes::{Known, Member, Node, name_number};
use self::snapshot::{FRESH, Now};
use self::snapshots::Snapshots;
use crate::clocks::monotonic;
use crate::contents::Contents;
use crate::decisions::TICK;
use crate::keep::{Keep, Meta, Owner, What as Kept};

/// How long the kernel may use what may change.
const TTL: Duration = Duration::from_micros(FRESH.0);
/// The size of a file that cannot be read, in bytes: that of sysfs.
const UNREADABLE: u64 = 4096;
/// How long a name in a container's directory leads to the same file.
const FIXED: Duration = Duration::from_secs(3600);
/// Names of containers are asked for every time: the next one under it is another.
const NEVER: Duration = Duration::ZERO;

/// The file system, for a mount with `default_permissions`, read-only, and a connection with
/// [`Features::page_cached`](fuse::Features::page_cached).
///
/// Content that the kernel was told of is written down in a [`Keep`], so that the tree of another
/// process goes on with the same, after this one has stopped or died at any moment.
#[derive(Debug)]
pub struct ContainerTree {
    contents: Arc<Contents>,
    keep: Arc<Keep>,
    known: Known,
    snapshots: Snapshots,
    /// Who is registered, for nodes that another worker has given out.
    members: Mutex<Members>,
    born: Duration,
}

#[derive(Debug, Default)]
struct Members {
    of: Arc<Registered>,
    all: Vec<Arc<Member>>,
}

impl ContainerTree {
    /// The tree over `contents`, with the content that the kernel knows according to `keep`:
    /// whoever served the same mount with it before must have stopped. Without
    /// [registrations](crate::Upkeep::registrations) it is empty.
    #[must_use]
    pub fn new(contents: Arc<Contents>, keep: Arc<Keep>) -> Self {
        let known = Known::new(contents.has_pressure());
        let snapshots = Snapshots::adopted(&keep);
        let (members, born) = (Mutex::default(), keep.born());
        Self { contents, keep, known, snapshots, members, born }
    }

    fn registry(&self) -> fuse::Result<&Registry> {
        self.contents.registry().ok_or(Errno::NOENT)
    }

    /// What a node is; also one that only another worker has been asked about.
    fn node(&self, id: NodeId) -> fuse::Result<Node> {
        self.known.get(id).or_else(|| self.recover(id)).ok_or(Errno::STALE)
    }

    fn recover(&self, id: NodeId) -> Option<Node> {
        let registered = self.contents.registry()?.within(TICK);
        let names = registered.names().map(|(name, _)| name);
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&members.of, &registered) {
            let found = registered.iter().filter_map(|one| {
                let found = self.contents.find_registered(&one.target).ok()?;
                Some(Arc::new(Member::new(one.id.clone(), found.instance, one.target.clone())))
            });
            members.all = found.collect();
            members.of = Arc::clone(&registered);
        }
        self.known.recover(id, &members.all, names, &self.keep)
    }

    /// The container under an id.
    fn present(&self, registered: &Registered, id: &str) -> fuse::Result<Found> {
        let registration = registered.get(id).ok_or(Errno::NOENT)?;
        self.contents.find_registered(&registration.target)
    }

    /// The container, if it is still there. It need not be registered any more: who was opening
    /// or reading one of its files when it was detached goes on.
    fn found(&self, member: &Member) -> fuse::Result<Found> {
        let found = self.contents.find_registered(&member.target)?;
        if found.instance == member.instance { Ok(found) } else { Err(Errno::NOENT) }
    }

    fn attr(&self, node: NodeId, kind: FileType, mode: u32) -> Attr {
        let nlink = if kind == FileType::Directory { 2 } else { 1 };
        Attr { ino: node.0, size: 0, kind, mode, nlink, uid: 0, gid: 0, mtime: self.born }
    }

    fn root_attr(&self, registered: &Registered) -> Attr {
        let attr = self.attr(NodeId::ROOT, FileType::Directory, 0o555);
        Attr { mtime: registered.changed_at().max(self.born), ..attr }
    }

    fn link_attr(&self, name: &str) -> Attr {
        self.attr(name_number(name), FileType::Symlink, 0o777)
    }

    /// The attributes of something of a container, of a file with the length of what it has now.
    fn attr_of(
        &self,
        ctx: &Context<'_>,
        member: &Member,
        entry: &files::Entry,
        found: &Found,
    ) -> fuse::Result<(Attr, Duration)> {
        let id = member.number(entry.inner.number);
        let attr = self.attr(id, entry.kind, entry.mode);
        if entry.kind != FileType::Regular {
            return Ok((attr, TTL));
        }
        let snapshot = self.snapshots.get(id, monotonic(), &self.keep);
        let told = snapshot.tell(
            ctx.caller.tid,
            now(),
            || self.keep.new_fh(),
            |last| self.content(&entry.inner, found, last),
            |fh, content, mtime| self.write_down(fh, id, found, content, mtime),
        );
        match told {
            Ok(told) => Ok((Attr { size: told.size, mtime: told.mtime, ..attr }, told.ttl)),
            // Some files are there and cannot be read. So it is here, for whoever reads.
            Err(errno) if errno != Errno::NOENT && snapshot.is_empty() => {
                Ok((Attr { size: UNREADABLE, ..attr }, TTL))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Before the kernel is told of it.
    fn write_down(&self, fh: Fh, node: NodeId, found: &Found, content: &[u8], mtime: Duration) {
        let meta = Meta {
            fh: fh.0,
            node: node.0,
            owner: Some(Owner::of(&found.container)),
            opened_by: 0,
            opened_at: monotonic().0,
            refreshed_by: 0,
            is_good: false,
            what: Kept::Snapshot { mtime: u64::try_from(mtime.as_nanos()).unwrap_or(u64::MAX) },
        };
        self.keep.show(&meta, content);
    }

    fn lookup_top(&self, name: &str) -> fuse::Result<Entry> {
        let registered = self.registry()?.now();
        let (node, kind) = match registered.named(name) {
            None => {
                let registration = registered.get(name).ok_or(Errno::NOENT)?;
                let found = self.contents.find_registered(&registration.target)?;
                let target = registration.target.clone();
                let member = Member::new(registration.id.clone(), found.instance, target);
                let member = Arc::new(member);
                (Node::Of(member, self.known.top()), FileType::Directory)
            }
            Some(id) => {
                self.present(&registered, id.as_str())?;
                (Node::Name(name.into()), FileType::Symlink)
            }
        };
        let node = self.known.remember(node);
        let mode = if kind == FileType::Symlink { 0o777 } else { 0o555 };
        let attr = self.attr(node, kind, mode);
        Ok(Entry { node, attr, entry_ttl: NEVER, attr_ttl: TTL })
    }

    /// Ids and names, in an order in which each keeps its place whatever comes and goes.
    fn list_top(&self) -> fuse::Result<Vec<(NodeId, FileType, String)>> {
        let Some(registry) = self.contents.registry() else { return Ok(Vec::new()) };
        let registered = registry.now();
        let mut listed = Vec::new();
        for registration in registered.iter() {
            if let Ok(found) = self.contents.find_registered(&registration.target) {
                let target = registration.target.clone();
                let member = Member::new(registration.id.clone(), found.instance, target);
                let node = member.number(self.known.top().number);
                listed.push((node, FileType::Directory, registration.id.to_string()));
            }
        }
        let ids: HashSet<_> = listed.iter().map(|one| one.2.clone()).collect();
        let links = registered.names().filter(|(_, id)| ids.contains(id.as_str()));
        listed
            .extend(links.map(|(name, _)| (name_number(name), FileType::Symlink, name.to_owned())));
        listed.sort_by_key(|(node, _, _)| place_of(*node));
        Ok(listed)
    }
}

/// The place of an entry of the root, after which a reader goes on: neither 0 nor negative, nor those
/// of `.` and `..`.
fn place_of(node: NodeId) -> u64 {
    (node.0 >> 1).max(3)
}

fn now() -> Now {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { monotonic: monotonic(), time }
}
