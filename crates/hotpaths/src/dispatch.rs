//! From the bytes of a request to those of its reply, over a file system that costs next to nothing.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fuse::{
    Attr, AttrReply, Context, Dispatcher, Entry, Errno, Fh, FileType, Filesystem, InFlight, NodeId,
    OFlags, OpenFlags, OpenReply, ReadBuf,
};

use crate::HotPath;

/// The bytes of the file: about what meminfo has.
const CONTENT: [u8; 1500] = [b'x'; 1500];

/// One file of any name.
struct OneFile;

const TTL: Duration = Duration::from_secs(1);

fn attr(node: NodeId) -> Attr {
    let (size, kind, mtime) = (0, FileType::Regular, Duration::ZERO);
    Attr { ino: node.0, size, kind, mode: 0o444, nlink: 1, uid: 0, gid: 0, mtime }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Context<'_>, _: NodeId, name: &OsStr) -> fuse::Result<Entry> {
        let node = NodeId(2);
        if name != "meminfo" {
            return Err(Errno::NOENT);
        }
        Ok(Entry { node, attr: attr(node), entry_ttl: TTL, attr_ttl: TTL })
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> fuse::Result<AttrReply> {
        Ok(AttrReply { attr: attr(node), ttl: TTL })
    }

    fn open(&self, _: &Context<'_>, _: NodeId, _: OFlags) -> fuse::Result<OpenReply> {
        Ok(OpenReply { fh: Fh(7), flags: OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH })
    }

    fn read(
        &self,
        _: &Context<'_>,
        _: NodeId,
        _: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> fuse::Result<()> {
        out.put_from(&CONTENT, offset);
        Ok(())
    }
}

/// The steps of open, read and close as the kernel sends them. Opcodes and bodies: include/uapi/linux/fuse.h.
pub(crate) fn paths() -> Result<Vec<HotPath>> {
    let read = [longs(&[7, 0]), words(&[131_072, 0]), longs(&[0]), words(&[0, 0])].concat();
    let requests = [
        ("lookup", request(1, 1, b"meminfo\0")?, 128),
        ("getattr", request(3, 2, &longs(&[0, 0]))?, 104),
        ("open", request(14, 2, &words(&[0, 0]))?, 16),
        ("read", request(15, 2, &read)?, CONTENT.len()),
        ("release", request(18, 2, &longs(&[7, 0, 0]))?, 0),
    ];
    requests.into_iter().map(|(name, request, body)| path(name, request, body)).collect()
}

/// One request; `body` is how long the reply is, without its header.
fn path(name: &str, request: Vec<u8>, body: usize) -> Result<HotPath> {
    // Until this program ends, which is soon.
    let in_flight = Box::leak(Box::new(InFlight::new(NonZeroUsize::MIN)));
    let mut dispatcher =
        Dispatcher::new(&OneFile, in_flight, 0).context("a table of one has a first")?;
    Ok(HotPath::new(format!("fuse/{name}"), move || {
        let reply = dispatcher.handle(&request).context("no reply")?;
        ensure!(reply.len() == 16 + body, "a reply of {} bytes: {reply:?}", reply.len());
        Ok(())
    }))
}

/// One request: header with the right length, then `body`.
fn request(opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(40 + body.len())?;
    let head = [words(&[length, opcode]), longs(&[12, node]), words(&[1000, 1001, 4242, 0])];
    Ok([&head.concat(), body].concat())
}

/// Words of 32 bits in the machine's order.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Words of 64 bits in the machine's order.
fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
}
