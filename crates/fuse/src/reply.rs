//! Replies: one buffer per thread that grows as needed and leaves in one write(2).

use std::ffi::OsStr;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::io::Errno;
use zerocopy::{Immutable, IntoBytes};

use crate::abi;
use crate::types::{Attr, AttrReply, Entry, FileType, OpenReply, Statfs};

/// `st_blksize`: what a reader should ask for at once.
const BLKSIZE: u32 = 4096;

/// A reply under construction: room for the header, then the body.
#[derive(Debug)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(4096))
    }

    /// Drops what was there and leaves room for the header.
    pub(crate) fn start(&mut self) {
        self.0.clear();
        self.0.extend_from_slice(abi::OutHeader::default().as_bytes());
    }

    /// Appends a structure to the body.
    pub(crate) fn push<T: IntoBytes + Immutable>(&mut self, body: &T) {
        self.0.extend_from_slice(body.as_bytes());
    }

    pub(crate) fn push_bytes(&mut self, body: &[u8]) {
        self.0.extend_from_slice(body);
    }

    /// The finished reply. `unique` must be exactly the request's, bit 63 included.
    pub(crate) fn finish(&mut self, unique: u64, outcome: Result<(), Errno>) -> &[u8] {
        let error = outcome.err().map_or(0, error_field);
        if error != 0 {
            self.start(); // the kernel takes an error without a body only
        }
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let header = abi::OutHeader { len, error, unique };
        if let Some(head) = self.0.get_mut(..size_of::<abi::OutHeader>()) {
            head.copy_from_slice(header.as_bytes());
        }
        &self.0
    }

    /// A sink for the bytes of a READ.
    pub(crate) fn read_buf(&mut self, size: u32, direct: bool) -> ReadBuf<'_> {
        let room = usize::try_from(size).unwrap_or(usize::MAX);
        ReadBuf { body: &mut self.0, room, direct }
    }

    /// A sink for the entries of a READDIR.
    pub(crate) fn dir_sink(&mut self, size: u32) -> DirSink<'_> {
        let room = usize::try_from(size).unwrap_or(usize::MAX);
        DirSink { body: &mut self.0, room }
    }
}

/// The header's `error`: minus errno. The kernel drops a reply outside −511..=0 and leaves the
/// caller hanging, so anything there becomes EIO.
fn error_field(errno: Errno) -> i32 {
    match errno.raw_os_error() {
        raw @ 1..512 => -raw,
        _ => -Errno::IO.raw_os_error(),
    }
}

/// Takes what a READ answers, and no more than was asked for.
#[derive(Debug)]
pub struct ReadBuf<'a> {
    body: &'a mut Vec<u8>,
    room: usize,
    direct: bool,
}

impl ReadBuf<'_> {
    /// How many bytes are still wanted.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.room
    }

    /// Appends `bytes`, as far as they are wanted.
    pub fn put(&mut self, bytes: &[u8]) {
        let wanted = bytes.get(..self.room).unwrap_or(bytes);
        self.body.extend_from_slice(wanted);
        self.room = self.room.saturating_sub(wanted.len());
    }

    /// Fills what is left of the pages of a cached file, which nobody sees as long as the file is
    /// no longer than its content: should it grow, its new end is made of `byte` until the pages
    /// are dropped, and not of zeros. Does nothing where the bytes go straight to a reader, who
    /// would see them (`O_DIRECT`).
    pub fn pad(&mut self, byte: u8) {
        if !self.direct {
            self.body.extend(std::iter::repeat_n(byte, std::mem::take(&mut self.room)));
        }
    }

    /// Appends `content` from `offset` on; nothing at or past its end.
    pub fn put_from(&mut self, content: &[u8], offset: u64) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        self.put(content.get(start..).unwrap_or_default());
    }
}

/// Takes the entries that a READDIR answers.
#[derive(Debug)]
pub struct DirSink<'a> {
    body: &'a mut Vec<u8>,
    room: usize,
}

impl DirSink<'_> {
    /// Appends an entry; `false` when there is no room for it, and none for any other: stop then.
    ///
    /// `next` is the offset from which the reader goes on *after* this entry, and is never 0. The
    /// kernel adds no `.` and `..` of its own. It fails the whole directory with EIO over a
    /// name that is empty, longer than 1024 bytes or has a `/`.
    #[must_use]
    pub fn add(&mut self, ino: u64, next: u64, kind: FileType, name: &OsStr) -> bool {
        let name = name.as_bytes();
        let Ok(namelen) = u32::try_from(name.len()) else { return false };
        let unpadded = size_of::<abi::Dirent>().saturating_add(name.len());
        let padded = unpadded.next_multiple_of(8);
        if padded > self.room {
            return false;
        }
        let dirent = abi::Dirent { ino, off: next, namelen, r#type: kind.dirent() };
        self.body.extend_from_slice(dirent.as_bytes());
        self.body.extend_from_slice(name);
        self.body.extend(std::iter::repeat_n(0, padded - unpadded));
        self.room -= padded;
        true
    }
}

impl From<&Attr> for abi::Attr {
    fn from(attr: &Attr) -> Self {
        let (seconds, nanos) = (attr.mtime.as_secs(), attr.mtime.subsec_nanos());
        Self {
            ino: attr.ino,
            size: attr.size,
            blocks: attr.size.div_ceil(512),
            atime: seconds,
            mtime: seconds,
            ctime: seconds,
            atimensec: nanos,
            mtimensec: nanos,
            ctimensec: nanos,
            mode: attr.kind.mode() | (attr.mode & 0o7777),
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            rdev: 0,
            blksize: BLKSIZE,
            flags: 0,
        }
    }
}

impl From<&AttrReply> for abi::AttrOut {
    fn from(reply: &AttrReply) -> Self {
        let (attr_valid, attr_valid_nsec) = ttl(reply.ttl);
        Self { attr_valid, attr_valid_nsec, dummy: 0, attr: (&reply.attr).into() }
    }
}

impl From<&Entry> for abi::EntryOut {
    fn from(entry: &Entry) -> Self {
        let (entry_valid, entry_valid_nsec) = ttl(entry.entry_ttl);
        let (attr_valid, attr_valid_nsec) = ttl(entry.attr_ttl);
        Self {
            nodeid: entry.node.0,
            generation: 0,
            entry_valid,
            attr_valid,
            entry_valid_nsec,
            attr_valid_nsec,
            attr: (&entry.attr).into(),
        }
    }
}

impl From<&OpenReply> for abi::OpenOut {
    fn from(open: &OpenReply) -> Self {
        Self { fh: open.fh.0, open_flags: open.flags.bits(), padding: 0 }
    }
}

impl From<&Statfs> for abi::StatfsOut {
    fn from(statfs: &Statfs) -> Self {
        Self {
            blocks: statfs.blocks,
            bfree: statfs.bfree,
            bavail: statfs.bfree,
            files: statfs.files,
            ffree: statfs.ffree,
            bsize: statfs.bsize,
            namelen: statfs.namelen,
            frsize: statfs.bsize,
            padding: 0,
            spare: [0; 6],
        }
    }
}

fn ttl(ttl: Duration) -> (u64, u32) {
    (ttl.as_secs(), ttl.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_takes_no_more_than_was_asked_for() {
        let mut reply = Reply::new();
        reply.start();
        let mut out = reply.read_buf(4, false);
        out.put_from(b"abcdef", 1);
        out.put(b"more");
        assert_eq!(out.remaining(), 0);
        assert_eq!(&reply.finish(2, Ok(()))[16..], b"bcde");
        reply.start();
        reply.read_buf(4, false).put_from(b"abc", 3);
        reply.read_buf(4, false).put_from(b"abc", u64::MAX);
        assert_eq!(reply.finish(2, Ok(())).len(), 16);
    }

    #[test]
    fn dirents_are_padded_and_stop_at_the_size_asked_for() {
        let mut reply = Reply::new();
        reply.start();
        let mut sink = reply.dir_sink(64);
        assert!(sink.add(7, 1, FileType::Regular, OsStr::new("meminfo")));
        assert!(sink.add(8, 2, FileType::Directory, OsStr::new("proc-fs8")));
        assert!(!sink.add(9, 3, FileType::Symlink, OsStr::new("x")));
        let bytes = reply.finish(2, Ok(()));
        assert_eq!(bytes.len(), 16 + 32 + 32);
        assert_eq!(&bytes[16 + 24..16 + 32], b"meminfo\0");
        assert_eq!(&bytes[16 + 20..16 + 24], 8_u32.to_ne_bytes()); // DT_REG
        assert_eq!(&bytes[48 + 20..48 + 24], 4_u32.to_ne_bytes()); // DT_DIR
    }

    #[test]
    fn pages_are_filled_and_direct_reads_are_not() {
        let mut reply = Reply::new();
        for (direct, expected) in [(false, &b"abc\n\n"[..]), (true, b"abc")] {
            reply.start();
            let mut out = reply.read_buf(5, direct);
            out.put(b"abc");
            out.pad(b'\n');
            assert_eq!(reply.finish(2, Ok(()))[16..], *expected);
        }
    }

    #[test]
    fn errors_the_kernel_would_not_take_become_eio() {
        let mut reply = Reply::new();
        for (given, seen) in [(2, -2), (511, -511), (512, -5), (4095, -5)] {
            reply.start();
            reply.push_bytes(b"half an answer");
            let bytes = reply.finish(1 << 63 | 6, Err(Errno::from_raw_os_error(given)));
            assert_eq!(bytes.len(), 16);
            assert_eq!(&bytes[4..8], i32::to_ne_bytes(seen));
            assert_eq!(&bytes[8..16], u64::to_ne_bytes(1 << 63 | 6));
        }
    }

    #[test]
    fn a_file_with_content_is_not_a_hole() {
        let attr = Attr {
            ino: 1,
            size: 1500,
            kind: FileType::Regular,
            mode: 0o444,
            nlink: 1,
            uid: 0,
            gid: 0,
            mtime: Duration::new(5, 6),
        };
        let wire = abi::Attr::from(&attr);
        assert_eq!((wire.blocks, wire.mode, wire.mtimensec), (3, 0o100_444, 6));
    }
}
