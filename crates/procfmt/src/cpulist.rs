//! Sets of CPUs or NUMA nodes, and the two ways in which the kernel writes them.
//!
//! The list form (`0-3,8`) is that of `/sys/devices/system/cpu/online` and `cpuset.cpus`; the mask
//! form (`ff,ffffffff`, 32 bits to a group, highest first) that of `topology/core_cpus` and
//! `shared_cpu_map`. Source: Documentation/admin-guide/cputopology.rst, lib/bitmap in the kernel.

/// The highest CPU number taken from text, so that hostile input cannot make us allocate much.
/// The kernel's own bound (`CONFIG_NR_CPUS` on x86-64 and arm64) is 8192 at most.
pub const MAX_CPU: u32 = 65_535;

/// A set of small numbers: CPUs or NUMA nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuSet {
    /// Bit `n % 64` of word `n / 64` stands for number `n`; no trailing zero words.
    words: Vec<u64>,
}

/// Text that is no list or mask of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError;

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a list of CPUs such as 0-3,8 (ascending ranges of numbers up to 65535)")
    }
}

impl std::error::Error for ParseError {}

impl CpuSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: Vec::new() }
    }

    /// All numbers from 0 to `count - 1`.
    #[must_use]
    pub fn first(count: u32) -> Self {
        (0..count).collect()
    }

    /// Whether `number` is in the set.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        let (word, bit) = position(number);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Adds `number`. Numbers above [`MAX_CPU`] are ignored.
    pub fn insert(&mut self, number: u32) {
        if number > MAX_CPU {
            return;
        }
        let (word, bit) = position(number);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The highest number.
    #[must_use]
    pub fn max(&self) -> Option<u32> {
        let word = self.words.len().checked_sub(1)?;
        Some(base(word) + self.words[word].ilog2())
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(word, &bits)| {
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| base(word) + bit)
        })
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::trimmed(self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect())
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        Self::trimmed(self.words.iter().zip(others).map(|(a, b)| a & !b).collect())
    }

    /// The `count` lowest numbers of the set.
    #[must_use]
    pub fn lowest(&self, count: u32) -> Self {
        self.iter().take(count as usize).collect()
    }

    /// Parses the list form; a newline or blanks at the end are ignored, empty text is the empty
    /// set.
    ///
    /// # Errors
    /// Anything but ascending ranges of decimal numbers up to [`MAX_CPU`].
    pub fn parse_list(text: &[u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(text).map_err(|_| ParseError)?.trim_end();
        let mut set = Self::new();
        if text.is_empty() {
            return Ok(set);
        }
        for range in text.split(',') {
            let (low, high) = range.split_once('-').unwrap_or((range, range));
            let (low, high) = (number(low)?, number(high)?);
            if low > high {
                return Err(ParseError);
            }
            (low..=high).for_each(|cpu| set.insert(cpu));
        }
        Ok(set)
    }

    /// Parses the mask form; a newline at the end is ignored.
    ///
    /// # Errors
    /// Anything but groups of up to eight hexadecimal digits separated by commas.
    pub fn parse_mask(text: &[u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(text).map_err(|_| ParseError)?.trim_end();
        let mut set = Self::new();
        for (group, digits) in (0u32..).zip(text.rsplit(',')) {
            if digits.is_empty() || digits.len() > 8 {
                return Err(ParseError);
            }
            let bits = u32::from_str_radix(digits, 16).map_err(|_| ParseError)?;
            if bits != 0 && group > MAX_CPU / 32 {
                return Err(ParseError);
            }
            (0..32).filter(|bit| bits >> bit & 1 == 1).for_each(|bit| set.insert(group * 32 + bit));
        }
        Ok(set)
    }

    /// Appends the list form, without a newline: `0-3,8`; nothing for the empty set.
    pub fn write_list(&self, out: &mut Vec<u8>) {
        let mut cpus = self.iter().peekable();
        let mut separator = "";
        while let Some(low) = cpus.next() {
            let mut high = low;
            while let Some(next) = cpus.next_if_eq(&(high + 1)) {
                high = next;
            }
            out.extend_from_slice(separator.as_bytes());
            out.extend_from_slice(low.to_string().as_bytes());
            if high > low {
                out.push(b'-');
                out.extend_from_slice(high.to_string().as_bytes());
            }
            separator = ",";
        }
    }

    /// Appends the mask form with `width` bits, without a newline, as the kernel's `%*pb` does:
    /// groups of 32 bits, the highest group with as many digits as its bits need.
    pub fn write_mask(&self, width: u32, out: &mut Vec<u8>) {
        let width = width.max(1);
        let groups = width.div_ceil(32);
        for group in (0..groups).rev() {
            let bits = self.words.get(group as usize / 2).copied().unwrap_or(0);
            let bits = bits >> (32 * (group % 2)) & 0xffff_ffff;
            let top = group == groups - 1;
            let digits = if top { (width - group * 32).div_ceil(4) } else { 8 } as usize;
            out.extend_from_slice(format!("{bits:0digits$x}").as_bytes());
            if group > 0 {
                out.push(b',');
            }
        }
    }

    fn trimmed(mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { words }
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut set = Self::new();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

impl std::fmt::Display for CpuSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = Vec::new();
        self.write_list(&mut list);
        f.write_str(&String::from_utf8_lossy(&list))
    }
}

/// How many bits wide a mask in the kernel's form is printed: `ff,ffffffff` is 40 bits wide.
#[must_use]
pub fn mask_width(text: &[u8]) -> u32 {
    let mut groups = text.trim_ascii_end().split(|&byte| byte == b',');
    let top = groups.next().map_or(0, <[u8]>::len);
    u32::try_from(top * 4 + groups.count() * 32).unwrap_or(u32::MAX)
}

fn position(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

fn base(word: usize) -> u32 {
    // A set holds at most MAX_CPU / 64 words.
    u32::try_from(word * 64).unwrap_or(u32::MAX)
}

fn number(digits: &str) -> Result<u32, ParseError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseError);
    }
    digits.parse().ok().filter(|&cpu| cpu <= MAX_CPU).ok_or(ParseError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> CpuSet {
        CpuSet::parse_list(text.as_bytes()).unwrap()
    }

    #[test]
    fn lists_read_and_print_as_the_kernel_writes_them() {
        for text in ["", "0", "0-1", "0-3,8", "1,3,5-7,64-4095", "63-64"] {
            assert_eq!(list(text).to_string(), text);
        }
        assert_eq!(list("0-3\n").len(), 4);
        assert_eq!(list("0-3,8").max(), Some(8));
        assert_eq!(list("").max(), None);
    }

    #[test]
    fn bad_lists_are_refused() {
        for text in ["9-3", "-1", "a", "1,,2", "1-", "65536", "0-4294967295", "+1", "0x1", "1 2"] {
            assert_eq!(CpuSet::parse_list(text.as_bytes()), Err(ParseError), "{text}");
        }
    }

    #[test]
    fn masks_keep_the_hosts_width() {
        for text in ["3", "00000001", "ff,ffffffff", "00000000,00000000,00000003", "1,00000000"] {
            let mut out = Vec::new();
            let set = CpuSet::parse_mask(text.as_bytes()).unwrap();
            set.write_mask(mask_width(text.as_bytes()), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        for text in ["", "g", "fffffffff", "1,,2"] {
            assert!(CpuSet::parse_mask(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn set_arithmetic() {
        let (a, b) = (list("0-3,70"), list("2-5"));
        assert_eq!(a.intersection(&b), list("2-3"));
        assert_eq!(a.difference(&b), list("0-1,70"));
        assert_eq!(a.intersection(&list("70")).difference(&a), CpuSet::new());
        assert_eq!(a.lowest(2), list("0-1"));
        assert_eq!(CpuSet::first(4), list("0-3"));
    }

    proptest! {
        #[test]
        fn list_and_mask_round_trip(cpus in proptest::collection::vec(0u32..5000, 0..200)) {
            let set: CpuSet = cpus.iter().copied().collect();
            let (mut list, mut mask) = (Vec::new(), Vec::new());
            set.write_list(&mut list);
            set.write_mask(5000, &mut mask);
            prop_assert_eq!(&CpuSet::parse_list(&list).unwrap(), &set);
            prop_assert_eq!(&CpuSet::parse_mask(&mask).unwrap(), &set);
            prop_assert_eq!(mask_width(&mask), 5000);
            prop_assert_eq!(set.iter().count(), set.len() as usize);
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = CpuSet::parse_list(&text);
            let _ = CpuSet::parse_mask(&text);
        }
    }
}
