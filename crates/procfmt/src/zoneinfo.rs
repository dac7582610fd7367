//! `/proc/zoneinfo`: the memory zones of every NUMA node. Source: mm/vmstat.c.
//!
//! All numbers stand at the end of a line, left-aligned. So a line is what comes before its number,
//! blanks included, and the number.

use crate::num::{lines, parse_u64, push_u64};

/// One zone, in the blocks in which the kernel prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone<'a> {
    /// The NUMA node.
    pub node: u32,
    /// The zone's name, with the blanks that right-align it.
    pub name: &'a [u8],
    /// What is counted per node, under `per-node stats`: in the node's first populated zone only.
    pub node_stats: Vec<Stat<'a>>,
    /// `pages free`, the watermarks, `spanned`, `present`, `managed` …; all in pages.
    pub pages: Vec<Stat<'a>>,
    /// How many numbers `protection` has; 0 without such a line.
    pub protection: usize,
    /// What is counted per zone; populated zones only.
    pub zone_stats: Vec<Stat<'a>>,
    /// `node_unreclaimable`, `start_pfn`; populated zones only.
    pub tail: Vec<Stat<'a>>,
}

/// A line with one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// The words before the number (`nr_mapped`, `pages free`), without colon.
    pub key: &'a [u8],
    /// The number.
    pub value: u64,
    /// The line up to the number.
    prefix: &'a [u8],
}

impl Zone<'_> {
    /// `managed`: the pages that the zone's allocator has, 0 for an unpopulated zone.
    #[must_use]
    pub fn managed(&self) -> u64 {
        let managed = self.pages.iter().find(|stat| stat.key == b"managed");
        managed.map_or(0, |stat| stat.value)
    }

    /// Appends the zone's first line.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Node ");
        push_u64(out, self.node.into());
        out.extend_from_slice(b", zone ");
        out.extend_from_slice(self.name);
        out.push(b'\n');
    }
}

impl Stat<'_> {
    /// Appends the line with another number.
    pub fn write_with(&self, value: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        push_u64(out, value);
        out.push(b'\n');
    }
}

/// Appends the line above the numbers that are counted per node.
pub fn write_node_stats_header(out: &mut Vec<u8>) {
    out.extend_from_slice(b"  per-node stats\n");
}

/// Appends a `protection` line of zeros.
pub fn write_protection(columns: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"        protection: (");
    for column in 0..columns {
        out.extend_from_slice(if column == 0 { b"0" } else { b", 0" });
    }
    out.extend_from_slice(b")\n");
}

/// The zones in the kernel's order. The numbers of each CPU (`pagesets`) are left out, and lines of
/// another form passed over.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Zone<'_>> {
    let mut zones: Vec<Zone<'_>> = Vec::new();
    let mut block = Block::Pages;
    for line in lines(text) {
        if let Some((node, name)) = zone(line) {
            zones.push(Zone { node, name, ..Zone::default() });
            block = Block::Pages;
            continue;
        }
        let Some(zone) = zones.last_mut() else { continue };
        match line.trim_ascii() {
            b"per-node stats" => block = Block::NodeStats,
            b"pagesets" => block = Block::Pagesets,
            text if text.starts_with(b"protection:") => {
                zone.protection = text.iter().filter(|&&byte| byte == b',').count() + 1;
                block = Block::ZoneStats;
            }
            _ => {
                let Some(stat) = stat(line) else { continue };
                block = block.of(&stat);
                match block {
                    Block::NodeStats => zone.node_stats.push(stat),
                    Block::Pages => zone.pages.push(stat),
                    Block::ZoneStats => zone.zone_stats.push(stat),
                    Block::Tail => zone.tail.push(stat),
                    Block::Pagesets => {}
                }
            }
        }
    }
    zones
}

/// Which block of a zone a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    NodeStats,
    Pages,
    ZoneStats,
    Pagesets,
    Tail,
}

impl Block {
    /// The block of a number that follows one of this block: some begin without a headline.
    fn of(self, stat: &Stat<'_>) -> Self {
        match stat.key {
            b"pages free" => Self::Pages,
            b"node_unreclaimable" | b"all_unreclaimable" | b"start_pfn" => Self::Tail,
            _ => self,
        }
    }
}

/// `Node N, zone NAME`.
fn zone(line: &[u8]) -> Option<(u32, &[u8])> {
    let rest = line.strip_prefix(b"Node ")?;
    let comma = rest.iter().position(|&byte| byte == b',')?;
    let (node, rest) = rest.split_at_checked(comma)?;
    let name = rest.strip_prefix(b", zone ")?;
    Some((u32::try_from(parse_u64(node)?).ok()?, name))
}

/// Words and a number behind them.
fn stat(line: &[u8]) -> Option<Stat<'_>> {
    let blank = line.iter().rposition(|&byte| byte == b' ')?;
    let (prefix, digits) = line.split_at_checked(blank + 1)?;
    let value = parse_u64(digits)?;
    let key = prefix.trim_ascii();
    let key = key.strip_suffix(b":").unwrap_or(key);
    (!key.is_empty()).then_some(Stat { key, value, prefix })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &[u8] = b"Node 0, zone      DMA\n  per-node stats\n      nr_mapped    2707\n      \
        nr_inactive_anon 2270\n  pages free     3840\n        boost    0\n        managed  3840\n        \
        protection: (0, 0)\n      nr_free_pages 3840\n  pagesets\n    cpu: 0\n              count:    1\n  \
        vm stats threshold: 4\n  node_unreclaimable:  0\n  start_pfn:           1\n\
        Node 1, zone   Normal\n  pages free     0\n        managed  0\n        protection: (0, 0)\n";

    /// A host's file again, without what belongs to CPUs.
    fn printed(zones: &[Zone<'_>]) -> String {
        let mut out = Vec::new();
        for zone in zones {
            zone.write_header(&mut out);
            if !zone.node_stats.is_empty() {
                write_node_stats_header(&mut out);
            }
            let with_own = |stats: &[Stat<'_>], out: &mut Vec<u8>| {
                stats.iter().for_each(|stat| stat.write_with(stat.value, out));
            };
            with_own(&zone.node_stats, &mut out);
            with_own(&zone.pages, &mut out);
            write_protection(zone.protection, &mut out);
            with_own(&zone.zone_stats, &mut out);
            with_own(&zone.tail, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parse_and_print_give_the_same_bytes() {
        let text = String::from_utf8(SAMPLE.to_vec()).unwrap();
        let is_per_cpu = |line: &&str| {
            ["  pagesets", "    cpu:", "              ", "  vm stats"]
                .iter()
                .any(|start| line.starts_with(start))
        };
        let without_cpus: String =
            text.split_inclusive('\n').filter(|line| !is_per_cpu(line)).collect();
        assert_eq!(printed(&parse(SAMPLE)), without_cpus);
    }

    #[test]
    fn zones_fall_into_their_blocks() {
        let zones = parse(SAMPLE);
        let [dma, normal] = &zones[..] else { panic!("{zones:?}") };
        assert_eq!(
            (dma.node, dma.name, dma.managed(), dma.protection),
            (0, &b"     DMA"[..], 3840, 2)
        );
        assert_eq!((dma.node_stats.len(), dma.pages.len()), (2, 3));
        assert_eq!((dma.zone_stats.len(), dma.tail.len()), (1, 2));
        assert_eq!((dma.pages[0].key, dma.tail[1].key), (&b"pages free"[..], &b"start_pfn"[..]));
        assert_eq!((normal.node, normal.managed(), normal.zone_stats.len()), (1, 0, 0));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            for zone in parse(&text) {
                zone.write_header(&mut Vec::new());
            }
        }
    }
}
