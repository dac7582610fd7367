//! INIT: what this kernel offers, what is wanted, what is agreed. Pure.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::FromBytes;

use crate::abi;

bitflags::bitflags! {
    /// `FUSE_*` bits of INIT, `flags` and `flags2` in one. Bits without a name here are kept: the
    /// kernel's offer is passed on whole.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InitFlags: u64 {
        /// Several reads of one file may be under way at once.
        const ASYNC_READ = 1 << 0;
        /// A new mtime or size drops the cached pages.
        const AUTO_INVAL_DATA = 1 << 12;
        /// OPEN may be answered ENOSYS.
        const NO_OPEN_SUPPORT = 1 << 17;
        /// Lookups and listings of one directory may be under way at once.
        const PARALLEL_DIROPS = 1 << 18;
        /// `max_pages` counts.
        const MAX_PAGES = 1 << 22;
        /// OPENDIR may be answered ENOSYS.
        const NO_OPENDIR_SUPPORT = 1 << 24;
        /// There is a `flags2` (5.17).
        const INIT_EXT = 1 << 30;
        /// Requests handed out may be sent again (6.9).
        const HAS_RESEND = 1 << 39;
        /// Its mounts may be id-mapped (6.12). Requests then do not say whose they are, and the kernel
        /// ends a connection that agrees to it without [`default_permissions`].
        ///
        /// [`default_permissions`]: crate::MountOptions::default_permissions
        const ALLOW_IDMAP = 1 << 40;
        /// Requests come through io_uring (6.14, where the module's parameter `enable_uring` is Y).
        /// The kernel then holds them all back until a server has registered its rings, and a
        /// connection never goes back to the device.
        const OVER_IO_URING = 1 << 41;

        const _ = !0;
    }
}

impl Serialize for InitFlags {
    /// As the number.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.bits().serialize(to)
    }
}

impl<'de> Deserialize<'de> for InitFlags {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(Self::from_bits_retain)
    }
}

impl InitFlags {
    fn from_halves(flags: u32, flags2: u32) -> Self {
        Self::from_bits_retain(u64::from(flags) | u64::from(flags2) << 32)
    }

    /// `flags` and `flags2`.
    fn halves(self) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = self.bits().to_le_bytes();
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
    }
}

/// The largest request, in pages, of every connection here.
pub(crate) const MAX_PAGES: u16 = 32;

/// What the server wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Bits wanted; those that the kernel does not offer are left out.
    pub flags: InitFlags,
    /// Largest WRITE in bytes. The kernel takes no less than 4096; a request with more than 8112
    /// does not fit in a slot of the [`Journal`](crate::Journal).
    pub max_write: u32,
    /// Largest request in pages; counts with [`InitFlags::MAX_PAGES`], else it is 32.
    pub max_pages: u16,
    /// Background requests (readahead, RELEASE) under way before the kernel holds more back.
    pub max_background: u16,
    /// Background requests from which on the device counts as congested.
    pub congestion_threshold: u16,
}

impl Default for Features {
    /// What suits every read-mostly tree.
    fn default() -> Self {
        Self {
            flags: InitFlags::ASYNC_READ
                | InitFlags::PARALLEL_DIROPS
                | InitFlags::MAX_PAGES
                | InitFlags::INIT_EXT
                | InitFlags::HAS_RESEND
                | InitFlags::ALLOW_IDMAP,
            max_write: 4096,
            max_pages: MAX_PAGES,
            max_background: 64,
            congestion_threshold: 48,
        }
    }
}

impl Features {
    /// The same for a mount that checks no permissions in the kernel.
    pub(crate) fn without_permissions(self) -> Self {
        Self { flags: self.flags - InitFlags::ALLOW_IDMAP, ..self }
    }

    /// The same with requests through io_uring, where the kernel offers that.
    #[must_use]
    pub fn over_io_uring(self) -> Self {
        Self { flags: self.flags | InitFlags::OVER_IO_URING, ..self }
    }

    /// What suits a tree of files that the page cache answers for: OPEN may be answered ENOSYS, and
    /// a new length or time of change drops what is cached.
    #[must_use]
    pub fn page_cached() -> Self {
        let usual = Self::default();
        let own = InitFlags::AUTO_INVAL_DATA | InitFlags::NO_OPEN_SUPPORT;
        Self { flags: usual.flags | own, ..usual }
    }
}

/// What was agreed with the kernel. Plain data: a server that takes over the descriptor needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// Major version, 7.
    pub major: u32,
    /// The smaller of the kernel's minor version and ours.
    pub minor: u32,
    /// Bits in force.
    pub flags: InitFlags,
    /// Bits that the kernel offered.
    pub offered: InitFlags,
    /// Largest WRITE in bytes.
    pub max_write: u32,
}

impl Negotiated {
    /// Whether requests come through io_uring: whoever serves needs [`Rings`](crate::Rings).
    #[must_use]
    pub fn is_over_io_uring(&self) -> bool {
        self.flags.contains(InitFlags::OVER_IO_URING)
    }

    /// The smallest buffer into which the kernel puts requests of this connection, in bytes.
    #[must_use]
    pub fn read_buffer_size(&self) -> usize {
        let write = usize::try_from(self.max_write).unwrap_or(usize::MAX);
        let heads = size_of::<abi::InHeader>() + size_of::<abi::WriteIn>();
        write.saturating_add(heads).max(abi::MIN_READ_BUFFER)
    }
}

/// What to do about an INIT.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Send this; the connection is up.
    Agreed(abi::InitOut, Negotiated),
    /// Send this; the kernel speaks a newer major, and asks again in ours.
    AskAgain(abi::InitOut),
    /// Send EPROTO: the kernel is too old.
    TooOld {
        /// Its major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
    /// Send EINVAL: not an INIT.
    Malformed,
}

/// Decides on the body of an INIT.
pub(crate) fn negotiate(body: &[u8], wanted: &Features) -> Verdict {
    // Before 7.6 the body was these two numbers only: enough to say which kernel is refused.
    let Ok(([major, minor], _)) = <[u32; 2]>::read_from_prefix(body) else {
        return Verdict::Malformed;
    };
    if major > abi::MAJOR {
        let version = abi::InitOut { major: abi::MAJOR, minor: abi::MINOR, ..Default::default() };
        return Verdict::AskAgain(version);
    }
    if major < abi::MAJOR || minor < abi::OLDEST_MINOR {
        return Verdict::TooOld { major, minor };
    }
    let Ok((init, rest)) = abi::InitIn::read_from_prefix(body) else {
        return Verdict::Malformed;
    };
    let flags2 = u32::read_from_prefix(rest).map_or(0, |(flags2, _)| flags2);
    let (out, negotiated) = agree(&init, flags2, wanted);
    Verdict::Agreed(out, negotiated)
}

fn agree(init: &abi::InitIn, flags2: u32, wanted: &Features) -> (abi::InitOut, Negotiated) {
    let low = InitFlags::from_halves(init.flags, 0);
    let extended = low.contains(InitFlags::INIT_EXT);
    let offered = if extended { InitFlags::from_halves(init.flags, flags2) } else { low };
    // Bits of flags2 count for the kernel only if INIT_EXT comes back with them.
    let both_halves = wanted.flags.contains(InitFlags::INIT_EXT);
    let flags = wanted.flags & if both_halves { offered } else { low };
    let (out_flags, out_flags2) = flags.halves();
    let negotiated = Negotiated {
        major: abi::MAJOR,
        minor: init.minor.min(abi::MINOR),
        flags,
        offered,
        max_write: wanted.max_write.max(4096),
    };
    let out = abi::InitOut {
        major: negotiated.major,
        minor: negotiated.minor,
        max_readahead: init.max_readahead,
        flags: out_flags,
        max_background: wanted.max_background,
        congestion_threshold: wanted.congestion_threshold,
        max_write: negotiated.max_write,
        time_gran: 1,
        max_pages: if flags.contains(InitFlags::MAX_PAGES) { wanted.max_pages } else { 0 },
        map_alignment: 0,
        flags2: out_flags2,
        unused: [0; 7],
    };
    (out, negotiated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn agreed(words: &[u32], wanted: &Features) -> (abi::InitOut, Negotiated) {
        match negotiate(&body(words), wanted) {
            Verdict::Agreed(out, negotiated) => (out, negotiated),
            other => panic!("{other:?}"),
        }
    }

    const ALL: u32 = u32::MAX;
    const EXT: u32 = 1 << 30;

    #[test]
    fn only_bits_that_the_kernel_offered_are_set() {
        let (out, negotiated) = agreed(&[7, 31, 4096, 1], &Features::default());
        assert_eq!((out.flags, out.flags2, out.max_pages), (1, 0, 0));
        assert_eq!((out.minor, out.max_readahead), (31, 4096));
        assert_eq!(negotiated.flags, InitFlags::ASYNC_READ);
    }

    #[test]
    fn flags2_counts_only_with_init_ext() {
        let long = |flags| {
            let mut words = vec![7, 45, 0, flags, ALL];
            words.resize(16, 0);
            words
        };
        let (out, negotiated) = agreed(&long(ALL & !EXT), &Features::default());
        assert_eq!(out.flags2, 0);
        assert!(!negotiated.offered.contains(InitFlags::HAS_RESEND));

        let (out, negotiated) = agreed(&long(ALL), &Features::default());
        assert_eq!(out.flags2, 1 << 7 | 1 << 8);
        assert_eq!(out.minor, abi::MINOR);
        assert!(negotiated.flags.contains(InitFlags::HAS_RESEND));
        assert_eq!(negotiated.offered.bits(), u64::MAX);

        let without = Features {
            flags: Features::default().flags - InitFlags::INIT_EXT,
            ..Features::default()
        };
        let (out, negotiated) = agreed(&long(ALL), &without);
        assert_eq!(out.flags2, 0);
        assert!(negotiated.offered.contains(InitFlags::HAS_RESEND));
        assert!(!negotiated.flags.contains(InitFlags::HAS_RESEND));
    }

    #[test]
    fn id_mapped_mounts_are_for_kernels_that_have_them_and_mounts_with_permissions() {
        let flags2 = |offered, wanted: &Features| {
            let mut words = vec![7, 45, 0, EXT, offered];
            words.resize(16, 0);
            let (out, negotiated) = agreed(&words, wanted);
            (out.flags2, negotiated.flags.contains(InitFlags::ALLOW_IDMAP))
        };
        for usual in [Features::default(), Features::page_cached()] {
            assert_eq!(flags2(1 << 8, &usual), (1 << 8, true));
            assert_eq!(flags2(!(1 << 8), &usual), (1 << 7, false), "Linux 6.11");
            assert_eq!(flags2(1 << 8, &usual.without_permissions()), (0, false));
        }
    }

    #[test]
    fn io_uring_is_agreed_only_where_it_is_asked_for_and_offered() {
        let over = |offered, wanted: &Features| {
            let mut words = vec![7, 45, 0, EXT, offered];
            words.resize(16, 0);
            let (out, negotiated) = agreed(&words, wanted);
            assert_eq!(out.flags2 & 1 << 9 != 0, negotiated.is_over_io_uring());
            negotiated.is_over_io_uring()
        };
        let asked = Features::default().over_io_uring();
        assert!(over(1 << 9, &asked));
        assert!(!over(ALL & !(1 << 9), &asked), "Linux 6.13, or the parameter is N");
        assert!(!over(ALL, &Features::default()));
        assert!(!over(ALL, &Features::page_cached()));
    }

    #[test]
    fn old_kernels_are_refused_by_their_version_and_newer_majors_asked_again() {
        let wanted = Features::default();
        let verdict = |words: &[u32]| negotiate(&body(words), &wanted);
        assert!(matches!(verdict(&[7, 22, 0, 0]), Verdict::TooOld { major: 7, minor: 22 }));
        assert!(matches!(verdict(&[6, 99]), Verdict::TooOld { major: 6, minor: 99 }));
        assert!(matches!(verdict(&[7, 23, 0, 0]), Verdict::Agreed(..)));
        assert!(matches!(verdict(&[7, 23, 0]), Verdict::Malformed));
        assert!(matches!(verdict(&[7]), Verdict::Malformed));
        let Verdict::AskAgain(out) = verdict(&[8, 0]) else { panic!("not asked again") };
        assert_eq!((out.major, out.minor), (7, abi::MINOR));
    }

    #[test]
    fn read_buffer_is_never_too_small_for_the_kernel() {
        let sized = |max_write| {
            let wanted = Features { max_write, ..Features::default() };
            agreed(&[7, 31, 0, 0], &wanted).1.read_buffer_size()
        };
        assert_eq!(sized(0), 8192);
        assert_eq!(sized(8192), 8272);
        assert_eq!(sized(64 << 10), (64 << 10) + 80);
    }
}
