//! What goes over `/dev/fuse`, byte for byte: `include/uapi/linux/fuse.h`, as far as it is used.
//!
//! Native byte order. A reply must have exactly the kernel's size, so every size is asserted.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `FUSE_KERNEL_VERSION`.
pub(crate) const MAJOR: u32 = 7;
/// The newest minor whose structures are below.
pub(crate) const MINOR: u32 = 42;
/// The oldest minor spoken: from here on the INIT reply has 64 bytes.
pub(crate) const OLDEST_MINOR: u32 = 23;
/// `FUSE_MIN_READ_BUFFER`: the kernel refuses to fill a smaller one.
pub(crate) const MIN_READ_BUFFER: usize = 8192;
/// Set in `unique` by the kernel when it sends a request again (`FUSE_UNIQUE_RESEND`, 6.9).
pub(crate) const UNIQUE_RESEND: u64 = 1 << 63;
/// `FUSE_GETATTR_FH`: the handle in the request is valid.
pub(crate) const GETATTR_FH: u32 = 1;
/// `FUSE_POLL_SCHEDULE_NOTIFY`: somebody waits, so a later change is to be told.
pub(crate) const POLL_SCHEDULE_NOTIFY: u32 = 1;
/// `FUSE_NOTIFY_POLL`: a message of our own accord, in the place where a reply has its error.
pub(crate) const NOTIFY_POLL: i32 = 1;
/// `FUSE_NOTIFY_RESEND` (6.9): the requests handed out and not answered shall come again.
pub(crate) const NOTIFY_RESEND: i32 = 7;

/// Request numbers, named as in `enum fuse_opcode`.
pub(crate) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;
    pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const FLUSH: u32 = 25;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const ACCESS: u32 = 34;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const POLL: u32 = 40;
    pub(crate) const NOTIFY_REPLY: u32 = 41;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const RENAME2: u32 = 45;
    pub(crate) const TMPFILE: u32 = 51;
}

macro_rules! wire {
    ($($size:literal $name:ident { $($field:ident: $type:ty),* $(,)? })*) => { $(
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }
        const _: () = assert!(size_of::<$name>() == $size);
    )* };
}

// Names without the prefix `fuse_` and the underscores; fields as the kernel calls them.
wire! {
    40 InHeader {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32,
        total_extlen: u16, padding: u16,
    }
    16 OutHeader { len: u32, error: i32, unique: u64 }

    // The first 16 bytes of `fuse_init_in`: all of it before ABI 7.36.
    16 InitIn { major: u32, minor: u32, max_readahead: u32, flags: u32 }
    64 InitOut {
        major: u32, minor: u32, max_readahead: u32, flags: u32,
        max_background: u16, congestion_threshold: u16, max_write: u32,
        time_gran: u32, max_pages: u16, map_alignment: u16, flags2: u32,
        unused: [u32; 7],
    }

    8 ForgetIn { nlookup: u64 }
    8 BatchForgetIn { count: u32, dummy: u32 }
    16 ForgetOne { nodeid: u64, nlookup: u64 }
    16 GetattrIn { getattr_flags: u32, dummy: u32, fh: u64 }
    8 OpenIn { flags: u32, open_flags: u32 }
    24 ReleaseIn { fh: u64, flags: u32, release_flags: u32, lock_owner: u64 }
    24 FlushIn { fh: u64, unused: u32, padding: u32, lock_owner: u64 }
    40 ReadIn {
        fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32,
        padding: u32,
    }
    40 WriteIn {
        fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32,
        padding: u32,
    }
    8 AccessIn { mask: u32, padding: u32 }
    8 InterruptIn { unique: u64 }
    24 PollIn { fh: u64, kh: u64, flags: u32, events: u32 }

    88 Attr {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64,
        atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, nlink: u32, uid: u32,
        gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    104 AttrOut { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: Attr }
    128 EntryOut {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64, entry_valid_nsec: u32,
        attr_valid_nsec: u32, attr: Attr,
    }
    16 OpenOut { fh: u64, open_flags: u32, padding: u32 }
    8 WriteOut { size: u32, padding: u32 }
    8 PollOut { revents: u32, padding: u32 }
    8 NotifyPollWakeupOut { kh: u64 }
    24 PollWakeup { header: OutHeader, body: NotifyPollWakeupOut }
    80 StatfsOut {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, bsize: u32, namelen: u32,
        frsize: u32, padding: u32, spare: [u32; 6],
    }
    24 Dirent { ino: u64, off: u64, namelen: u32, r#type: u32 }
}
