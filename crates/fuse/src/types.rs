//! What a file system is asked about and what it answers, in types of its own.

use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;

/// What a [`Filesystem`](crate::Filesystem) answers: a value, or the errno that the caller sees.
pub type Result<T> = std::result::Result<T, Errno>;

/// The number by which the kernel names an inode in requests.
///
/// Deterministic numbers (never pointers or counters) let one server go on where another stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root of the mount, known to the kernel without a lookup (`FUSE_ROOT_ID`).
    pub const ROOT: Self = Self(1);
}

/// The number that the file system gave to an open file or directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fh(pub u64);

/// Who made the request: not whose it is, which the kernel does not say on a connection whose mounts
/// may be id-mapped ([`InitFlags::ALLOW_IDMAP`](crate::InitFlags::ALLOW_IDMAP)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// *Thread* id in the pid namespace of whoever mounted; 0 where the thread is not visible there.
    pub tid: u32,
}

/// A request at a glance, before it is anybody's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Who asks.
    pub caller: Caller,
    /// About what.
    pub node: NodeId,
    /// Through which open file, where it is about one: READ, READDIR, FLUSH, POLL and at times
    /// GETATTR.
    pub fh: Option<Fh>,
}

/// What kind of file it is; a read-mostly tree has no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
}

impl FileType {
    /// `S_IFMT` bits, inode(7).
    pub(crate) const fn mode(self) -> u32 {
        match self {
            Self::Directory => 0o040_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
        }
    }

    /// `DT_*` of readdir(3): the type bits of the mode, shifted.
    pub(crate) const fn dirent(self) -> u32 {
        self.mode() >> 12
    }
}

/// A file's attributes, as stat(2) shows them.
///
/// `st_blocks` is made of the size: archivers take a file of zero blocks for one hole and skip its
/// content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Inode number, free to choose; programs compare it, the protocol does not use it.
    pub ino: u64,
    /// Bytes. May be 0 for files opened with [`OpenFlags::DIRECT_IO`], as in procfs.
    pub size: u64,
    /// What kind of file.
    pub kind: FileType,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Number of links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last change since the epoch, shown as atime and ctime too. With `AUTO_INVAL_DATA` a
    /// new one drops the cached pages.
    pub mtime: Duration,
}

/// Answer to GETATTR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttrReply {
    /// The attributes.
    pub attr: Attr,
    /// How long the kernel may use them without asking; it rounds up to jiffies.
    pub ttl: Duration,
}

/// Answer to LOOKUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The node found. Each answer counts as one lookup, to be given back by
    /// [`forget`](crate::Filesystem::forget).
    pub node: NodeId,
    /// Its attributes.
    pub attr: Attr,
    /// How long the name leads there without asking.
    pub entry_ttl: Duration,
    /// How long the attributes hold.
    pub attr_ttl: Duration,
}

bitflags::bitflags! {
    /// How the kernel treats an open file: `FOPEN_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct OpenFlags: u32 {
        /// Every read becomes a request; the page cache is not used.
        const DIRECT_IO = 1 << 0;
        /// Pages cached by earlier opens stay valid.
        const KEEP_CACHE = 1 << 1;
        /// No FLUSH at close (5.16+; ignored before).
        const NOFLUSH = 1 << 5;
    }
}

/// Answer to OPEN and OPENDIR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReply {
    /// Comes back with every request on this open file.
    pub fh: Fh,
    /// How the kernel shall treat it.
    pub flags: OpenFlags,
}

/// The kernel's own name of an open file that somebody polls, the same as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PollHandle(pub u64);

/// What POLL asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// What the caller would like to be ready.
    pub events: PollFlags,
    /// Whom to wake when something becomes ready later; `None` where nobody waits.
    pub notify: Option<PollHandle>,
}

/// Answer to STATFS. The file system's magic is `FUSE_SUPER_MAGIC` whatever is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statfs {
    /// Blocks of `bsize` in all.
    pub blocks: u64,
    /// Free blocks, for root and for everybody.
    pub bfree: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Block size in bytes.
    pub bsize: u32,
    /// Longest file name in bytes.
    pub namelen: u32,
}

impl Default for Statfs {
    /// As procfs answers: no blocks, no inodes.
    fn default() -> Self {
        Self { blocks: 0, bfree: 0, files: 0, ffree: 0, bsize: 4096, namelen: 255 }
    }
}
