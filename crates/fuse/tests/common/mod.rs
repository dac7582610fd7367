//! A small tree to serve, and requests as the kernel would write them.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod place;
pub(crate) mod process;

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fuse::{
    Attr, AttrReply, Context, DirSink, Entry, Errno, Fh, FileType, Filesystem, NodeId, OFlags,
    OpenFlags, OpenReply, Peek, ReadBuf, Result,
};

pub(crate) const HELLO: &[u8] = b"Hello from the other side of /dev/fuse\n";
pub(crate) const ENTRIES: u64 = 1000;
const TTL: Duration = Duration::from_secs(3600);
const BOOM: &str = "a handler that panics, on purpose";

/// The files by node id; the root is 1.
const FILES: [(u64, &str, FileType); 6] = [
    (2, "hello", FileType::Regular),
    (3, "big", FileType::Regular),
    (4, "slow", FileType::Regular),
    (5, "boom", FileType::Regular),
    (6, "link", FileType::Symlink),
    (7, "many", FileType::Directory),
];

/// `/hello`, `/big` (several reads long), `/slow` (a read lasts until it is interrupted), `/boom`
/// (a read panics), `/link` → hello, `/many/f0`… (more entries than fit in one READDIR).
#[derive(Debug)]
pub(crate) struct Tree {
    big: Vec<u8>,
    /// Reads of `/slow` that have begun.
    pub(crate) slow_reads: AtomicUsize,
    /// Reads of `/slow` that were interrupted.
    pub(crate) interrupted: AtomicUsize,
    /// All reads.
    pub(crate) reads: AtomicUsize,
    /// How often attributes were asked for.
    pub(crate) getattrs: AtomicUsize,
    /// Lookups given back.
    pub(crate) forgotten: AtomicU64,
    /// How many open files were given back.
    pub(crate) released: AtomicU64,
    /// The number of the latest opening of a file.
    pub(crate) open_unique: AtomicU64,
    /// The number of the latest read of `/slow`.
    pub(crate) slow_unique: AtomicU64,
    /// Lets reads of `/slow` end.
    pub(crate) let_go: AtomicBool,
    /// Whether a read takes a little.
    pub(crate) lazy: bool,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let big = (0..300_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes());
        Self {
            big: big.collect(),
            slow_reads: AtomicUsize::new(0),
            interrupted: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            getattrs: AtomicUsize::new(0),
            forgotten: AtomicU64::new(0),
            released: AtomicU64::new(0),
            open_unique: AtomicU64::new(0),
            slow_unique: AtomicU64::new(0),
            let_go: AtomicBool::new(false),
            lazy: false,
        }
    }

    pub(crate) fn big(&self) -> &[u8] {
        &self.big
    }

    fn attr(&self, node: u64) -> Result<Attr> {
        let kind = match node {
            1 => FileType::Directory,
            1000.. if node < 1000 + ENTRIES => FileType::Regular,
            _ => FILES.iter().find(|file| file.0 == node).ok_or(Errno::NOENT)?.2,
        };
        let size = match node {
            2 => HELLO.len(),
            3 => self.big.len(),
            6 => 5,
            _ => 0,
        };
        let (mode, nlink) = if kind == FileType::Directory { (0o555, 2) } else { (0o444, 1) };
        let mtime = Duration::new(1_700_000_000, 123_456_789);
        let size = size as u64;
        Ok(Attr { ino: node, size, kind, mode, nlink, uid: 0, gid: 0, mtime })
    }

    fn slow(&self, ctx: &Context<'_>) -> Result<()> {
        self.slow_unique.store(ctx.unique(), Ordering::SeqCst);
        self.slow_reads.fetch_add(1, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if ctx.is_interrupted() {
                self.interrupted.fetch_add(1, Ordering::SeqCst);
                return Err(Errno::INTR);
            }
            if self.let_go.load(Ordering::SeqCst) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Errno::TIMEDOUT)
    }
}

impl Filesystem for Tree {
    /// The readers of `/hello` and `/big` are one class.
    fn class(&self, peek: &Peek) -> u64 {
        u64::from(matches!(peek.fh, Some(Fh(2 | 3))))
    }

    fn lookup(&self, _: &Context<'_>, parent: NodeId, name: &OsStr) -> Result<Entry> {
        let name = name.to_str().ok_or(Errno::NOENT)?;
        let node = match parent.0 {
            1 => FILES.iter().find(|file| file.1 == name).ok_or(Errno::NOENT)?.0,
            7 => {
                let digits = name.strip_prefix('f').ok_or(Errno::NOENT)?;
                1000 + digits.parse::<u64>().map_err(|_| Errno::NOENT)?
            }
            _ => return Err(Errno::NOTDIR),
        };
        let attr = self.attr(node)?;
        Ok(Entry { node: NodeId(node), attr, entry_ttl: TTL, attr_ttl: TTL })
    }

    fn forget(&self, _: NodeId, lookups: u64) {
        self.forgotten.fetch_add(lookups, Ordering::SeqCst);
    }

    fn release(&self, _: NodeId, _: Fh) {
        self.released.fetch_add(1, Ordering::SeqCst);
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> Result<AttrReply> {
        self.getattrs.fetch_add(1, Ordering::SeqCst);
        Ok(AttrReply { attr: self.attr(node.0)?, ttl: TTL })
    }

    fn readlink(&self, _: &Context<'_>, node: NodeId) -> Result<OsString> {
        if node.0 == 6 { Ok("hello".into()) } else { Err(Errno::INVAL) }
    }

    fn open(&self, ctx: &Context<'_>, node: NodeId, flags: OFlags) -> Result<OpenReply> {
        self.open_unique.store(ctx.unique(), Ordering::SeqCst);
        if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            return Err(Errno::ACCESS);
        }
        let flags = OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH;
        Ok(OpenReply { fh: Fh(node.0), flags })
    }

    fn read(
        &self,
        ctx: &Context<'_>,
        _: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.lazy {
            std::thread::sleep(Duration::from_micros(300));
        }
        match fh.0 {
            2 => out.put_from(HELLO, offset),
            3 => out.put_from(&self.big, offset),
            4 => self.slow(ctx)?,
            5 => panic!("{BOOM}"),
            _ => {}
        }
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
        let root = FILES.iter().map(|&(ino, name, kind)| (ino, name.to_owned(), kind));
        let many = (0..ENTRIES).map(|i| (1000 + i, format!("f{i}"), FileType::Regular));
        let all: Vec<_> = if node == NodeId::ROOT { root.collect() } else { many.collect() };
        let start = usize::try_from(offset).unwrap();
        for ((ino, name, kind), next) in all.into_iter().zip(1..).skip(start) {
            if !out.add(ino, next, kind, OsStr::new(&name)) {
                break;
            }
        }
        Ok(())
    }
}

/// Keeps the panics of `/boom` out of the test's output.
pub(crate) fn quiet_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<String>().is_none_or(|text| text != BOOM) {
            hook(info);
        }
    }));
}

/// One request: header with the right length, then `body`.
pub(crate) fn request(opcode: u32, unique: u64, node: u64, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(40 + body.len()).unwrap();
    let mut bytes = Vec::new();
    bytes.extend(len.to_ne_bytes());
    bytes.extend(opcode.to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(node.to_ne_bytes());
    bytes.extend(words(&[1000, 1001, 4242, 0]));
    bytes.extend(body);
    bytes
}

/// Words of 32 bits in the machine's order.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Words of 64 bits in the machine's order.
pub(crate) fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
}

/// The body of a READ or READDIR.
pub(crate) fn read_body(fh: u64, offset: u64, size: u32) -> Vec<u8> {
    [longs(&[fh, offset]), words(&[size, 0]), longs(&[0]), words(&[0, 0])].concat()
}
