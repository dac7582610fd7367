//! `memory.numa_stat` and `hugetlb.<size>.numa_stat`: one quantity to a line, split by NUMA node.
//!
//! cgroup v2: `anon N0=4096 N1=0`, in bytes. cgroup v1: `hierarchical_anon=1 N0=1 N1=0`, in pages,
//! and so `hugetlb.<size>.numa_stat`, in bytes, on both. Only nodes that have memory are named.
//! Source: cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/hugetlb.rst.

use crate::num::{fields, lines, parse_u64};

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'text> {
    /// What is counted, without v1's sum over the nodes.
    pub key: &'text [u8],
    nodes: &'text [u8],
}

/// The lines; `None` for one whose nodes are not of the form `N0=1`. Empty lines are left out.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Option<Line<'_>>> {
    lines(text).filter_map(|line| {
        let first = fields(line).next()?;
        let nodes = line.trim_ascii_start().get(first.len()..).unwrap_or_default();
        let key = first.split(|&byte| byte == b'=').next().unwrap_or(first);
        let line = Line { key, nodes };
        Some(fields(nodes).all(|field| node(field).is_some()).then_some(line))
    })
}

impl<'text> Line<'text> {
    /// Each node's number, and how much of the quantity is there.
    pub fn nodes(&self) -> impl Iterator<Item = (u32, u64)> + use<'text> {
        fields(self.nodes).filter_map(node)
    }
}

/// `N3=17`
fn node(field: &[u8]) -> Option<(u32, u64)> {
    let equals = field.iter().position(|&byte| byte == b'=')?;
    let (number, value) = field.split_at_checked(equals)?;
    let number = parse_u64(number.strip_prefix(b"N")?)?;
    Some((u32::try_from(number).ok()?, parse_u64(value.get(1..)?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(text: &str) -> Vec<(String, Vec<(u32, u64)>)> {
        let key = |line: &Line<'_>| String::from_utf8_lossy(line.key).into_owned();
        parse(text.as_bytes()).flatten().map(|line| (key(&line), line.nodes().collect())).collect()
    }

    #[test]
    fn v2_and_v1_lines() {
        let v2 = nodes("anon N0=12734464 N3=18446744073709551615\n\nfile N0=0\n");
        assert_eq!(v2[0], ("anon".to_owned(), vec![(0, 12_734_464), (3, u64::MAX)]));
        assert_eq!(v2[1], ("file".to_owned(), vec![(0, 0)]));
        let v1 = nodes("hierarchical_total=16255 N0=16004 N1=251\n");
        assert_eq!(v1, [("hierarchical_total".to_owned(), vec![(0, 16_004), (1, 251)])]);
    }

    #[test]
    fn a_line_of_another_form_is_reported() {
        for bad in ["anon N0", "anon N0=x", "anon 0=1", "anon N=1", "anon N4294967296=1"] {
            assert_eq!(parse(bad.as_bytes()).collect::<Vec<_>>(), [None], "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text: Vec<u8>) {
            parse(&text).flatten().for_each(|line| line.nodes().for_each(drop));
        }
    }
}
