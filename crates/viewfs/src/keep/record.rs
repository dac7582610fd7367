//! A record's bytes: a header, what is known of the open file, its content.
//!
//! All numbers are little-endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 8 | [`State`], the only part that is ever written again |
//! | 16 | 8 | checksum of all that follows |
//! | 24 | 8 | sequence number, from 1 |
//! | 32 | 4 | length of the metadata |
//! | 36 | 4 | length of the content |
//! | 40 | | metadata, then content |

use super::meta::Meta;

const MAGIC: u64 = u64::from_le_bytes(*b"rv-open\0");
/// Length of the header, in bytes.
pub(super) const HEADER: usize = 40;
/// Length of a [`Head`] on the stack, in bytes.
const SHORT: usize = 192;
/// Where the state is in a record, in bytes.
pub(super) const STATE_AT: u64 = 8;

/// What has become of a record since it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The file is open.
    Open,
    /// It was closed; the content may still serve as the last good one.
    Closed,
    /// It is of no use any more.
    Freed,
}

impl State {
    pub(super) fn to_bytes(self) -> [u8; 8] {
        match self {
            Self::Open => *b"open\0\0\0\0",
            Self::Closed => *b"closed\0\0",
            Self::Freed => *b"freed\0\0\0",
        }
    }

    /// What is none of them is of no use: the record may be of another time.
    fn of(bytes: [u8; 8]) -> Self {
        let all = [Self::Open, Self::Closed];
        all.into_iter().find(|state| state.to_bytes() == bytes).unwrap_or(Self::Freed)
    }
}

/// Header and metadata of a record, ready to be written before its content.
#[derive(Debug)]
pub(super) enum Head {
    /// Of so many bytes: nearly all, and nothing has to be allocated.
    Short([u8; SHORT], usize),
    /// That of a container without an init, with the paths of its cgroups.
    Long(Vec<u8>),
}

impl Head {
    /// `None` for lengths beyond four bytes.
    pub(super) fn new(meta: &Meta, content: &[u8]) -> Option<Self> {
        let mut head = Self::with(meta)?;
        let bytes = head.bytes_mut();
        let meta_length = u32::try_from(bytes.len() - HEADER).ok()?;
        let content_length = u32::try_from(content.len()).ok()?;
        put(bytes, 0, &MAGIC.to_le_bytes());
        put(bytes, 8, &State::Open.to_bytes());
        put(bytes, 32, &meta_length.to_le_bytes());
        put(bytes, 36, &content_length.to_le_bytes());
        Some(head)
    }

    /// The metadata behind an empty header.
    fn with(meta: &Meta) -> Option<Self> {
        let mut bytes = [0; SHORT];
        let written = postcard::to_slice(meta, bytes.get_mut(HEADER..)?).map(|meta| meta.len());
        if let Ok(length) = written {
            return Some(Self::Short(bytes, HEADER + length));
        }
        postcard::to_extend(meta, vec![0; HEADER]).ok().map(Self::Long)
    }

    pub(super) fn length(&self) -> usize {
        self.bytes().len()
    }

    /// Numbers the record: the last thing to be done, as the checksum covers it.
    pub(super) fn number(&mut self, sequence: u64, content: &[u8]) {
        let bytes = self.bytes_mut();
        put(bytes, 24, &sequence.to_le_bytes());
        let sum = checksum(bytes.get(24..).unwrap_or_default(), content);
        put(bytes, 16, &sum.to_le_bytes());
    }

    /// What to write before the content.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => bytes.get(..*length).unwrap_or(bytes),
            Self::Long(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Short(bytes, length) => bytes.split_at_mut(*length).0,
            Self::Long(bytes) => bytes,
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// A record as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) state: State,
    pub(super) sequence: u64,
    pub(super) meta: Meta,
    pub(super) content: Vec<u8>,
}

/// What lies where a record may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing was ever written there.
    Nothing,
    Record(Box<Record>),
    /// Something that is no whole record: its writer was killed, or somebody else has written there.
    Damaged,
}

impl Found {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        match word(bytes, 0) {
            None | Some(0) => Self::Nothing,
            Some(MAGIC) => {
                Record::parse(bytes).map_or(Self::Damaged, |record| Self::Record(Box::new(record)))
            }
            Some(_) => Self::Damaged,
        }
    }
}

impl Record {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let lengths = word(bytes, 32)?;
        let meta_length = usize::try_from(lengths & u64::from(u32::MAX)).ok()?;
        let content_length = usize::try_from(lengths >> 32).ok()?;
        let (meta, rest) = bytes.get(HEADER..)?.split_at_checked(meta_length)?;
        let content = rest.get(..content_length)?;
        let summed = bytes.get(24..HEADER + meta_length)?;
        if word(bytes, 16)? != checksum(summed, content) {
            return None;
        }
        Some(Self {
            state: State::of(word(bytes, STATE_AT.try_into().ok()?)?.to_le_bytes()),
            sequence: word(bytes, 24).filter(|&sequence| sequence > 0)?,
            meta: postcard::from_bytes(meta).ok()?,
            content: content.to_owned(),
        })
    }
}

/// How long the record at the beginning of `header` says it is; `None` for what is no record.
pub(super) fn length(header: &[u8]) -> Option<usize> {
    let lengths = word(header, 32).filter(|_| word(header, 0) == Some(MAGIC))?;
    let meta = usize::try_from(lengths & u64::from(u32::MAX)).ok()?;
    let content = usize::try_from(lengths >> 32).ok()?;
    HEADER.checked_add(meta)?.checked_add(content)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// FNV-1a over words, in four lanes that the processor works on side by side: a record can be a
/// megabyte, and this is on the way of a read.
fn checksum(head: &[u8], content: &[u8]) -> u64 {
    const SEED: u64 = 0xcbf2_9ce4_8422_2325;
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    let mut lanes = [SEED, SEED ^ 1, SEED ^ 2, SEED ^ 3];
    for part in [head, content] {
        let (blocks, rest) = part.as_chunks::<32>();
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = mix(*lane, u64::from_le_bytes(*word));
            }
        }
        let [first, ..] = &mut lanes;
        *first = rest.iter().fold(*first, |sum, &byte| mix(sum, byte.into()));
    }
    lanes.into_iter().fold(SEED, mix)
}
