//! Any bytes from `/dev/fuse` get at most one well-formed reply, to the number they came with.
//!
//! Run: `cargo +nightly fuzz run fuse_request` in the repository's root.

#![no_main]

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::time::Duration;

use fuse::{
    Attr, AttrReply, Context, DirSink, Dispatcher, Entry, Errno, Fh, FileType, Filesystem,
    InFlight, NodeId, OFlags, OpenFlags, OpenReply, Poll, PollFlags, ReadBuf, Result,
};
use libfuzzer_sys::fuzz_target;

/// Answers everything, so that every kind of reply is encoded.
struct Obliging;

fn attr(node: NodeId) -> AttrReply {
    let kind = match node.0 % 3 {
        0 => FileType::Regular,
        1 => FileType::Directory,
        _ => FileType::Symlink,
    };
    let mtime = Duration::new(node.0, 999_999_999);
    let (mode, nlink, uid, gid) = (u32::MAX, 1, 0, 0);
    let attr = Attr { ino: node.0, size: node.0, kind, mode, nlink, uid, gid, mtime };
    AttrReply { attr, ttl: mtime }
}

impl Filesystem for Obliging {
    fn lookup(&self, _: &Context<'_>, parent: NodeId, name: &OsStr) -> Result<Entry> {
        assert!(!name.is_empty() && !name.as_encoded_bytes().contains(&b'/'));
        let AttrReply { attr, ttl } = attr(parent);
        Ok(Entry { node: parent, attr, entry_ttl: ttl, attr_ttl: ttl })
    }

    fn getattr(&self, ctx: &Context<'_>, node: NodeId, _: Option<Fh>) -> Result<AttrReply> {
        assert_eq!(ctx.unique() >> 63, 0, "the mark of a request sent again is no part of it");
        if ctx.is_interrupted() { Err(Errno::INTR) } else { Ok(attr(node)) }
    }

    fn readlink(&self, _: &Context<'_>, _: NodeId) -> Result<OsString> {
        Ok("target".into())
    }

    fn open(&self, _: &Context<'_>, node: NodeId, _: OFlags) -> Result<OpenReply> {
        Ok(OpenReply { fh: Fh(node.0), flags: OpenFlags::all() })
    }

    fn read(
        &self,
        _: &Context<'_>,
        _: NodeId,
        _: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> Result<()> {
        out.put_from(&[b'x'; 5000], offset);
        Ok(())
    }

    fn write(&self, _: &Context<'_>, _: NodeId, _: Fh, _: u64, data: &[u8]) -> Result<u32> {
        u32::try_from(data.len()).map_err(|_| Errno::FBIG)
    }

    fn readdir(
        &self,
        _: &Context<'_>,
        _: NodeId,
        _: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> Result<()> {
        for next in offset..offset.saturating_add(50) {
            if !out.add(next, next, FileType::Regular, OsStr::new("a name")) {
                break;
            }
        }
        Ok(())
    }

    fn poll(&self, _: &Context<'_>, _: NodeId, _: Fh, poll: Poll) -> Result<PollFlags> {
        Ok(poll.events)
    }
}

/// Even first byte: the rest as it is. Odd: the second byte is the opcode, the rest everything
/// behind it in a request whose length agrees, since blind luck seldom gets that far.
fn request(input: &[u8]) -> Vec<u8> {
    match input {
        [kind, opcode, rest @ ..] if kind % 2 == 1 => {
            let len = u32::try_from(rest.len()).unwrap_or(u32::MAX).saturating_add(8);
            [&len.to_ne_bytes()[..], &u32::from(*opcode).to_ne_bytes(), rest].concat()
        }
        [_, rest @ ..] => rest.to_vec(),
        [] => Vec::new(),
    }
}

fuzz_target!(|input: &[u8]| {
    let bytes = request(input);
    let in_flight = InFlight::new(NonZeroUsize::MIN);
    let mut dispatcher = Dispatcher::new(&Obliging, &in_flight, 0).expect("one slot");
    // Twice: an INTERRUPT must not upset the request after it.
    for _ in 0..2 {
        let Some(reply) = dispatcher.handle(&bytes) else { continue };
        assert_eq!(reply[..4], u32::try_from(reply.len()).expect("small").to_ne_bytes());
        assert_eq!(reply[8..16], bytes[8..16], "answered to another number");
        let error = i32::from_ne_bytes([reply[4], reply[5], reply[6], reply[7]]);
        assert!(error == 0 || (reply.len() == 16 && (-511..0).contains(&error)));
    }
});
