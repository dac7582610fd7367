//! How histories are written down for the next daemon: 64-bit words, little-endian.
//!
//! Who keeps the bytes also keeps what version they have; there is none in here.

/// Appends words.
#[derive(Debug)]
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn words(&mut self, words: &[u64]) {
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// A number of words to come.
    pub(super) fn count(&mut self, count: usize) {
        self.words(&[u64::try_from(count).unwrap_or(u64::MAX)]);
    }
}

/// Takes words from the front.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn words<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut words = [0; N];
        for word in &mut words {
            let (bytes, rest) = self.0.split_first_chunk()?;
            *word = u64::from_le_bytes(*bytes);
            self.0 = rest;
        }
        Some(words)
    }

    /// A number of CPU numbers, or of rows, to come.
    pub(super) fn count(&mut self) -> Option<u64> {
        let [count] = self.words()?;
        Some(count)
    }

    /// `None` if anything is left: then these bytes are something else.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
