//! The hugetlb controller: huge pages, by page size.

use procfmt::limit::Limit;
use procfmt::num::parse_u64;
use procfmt::units::Bytes;
use view::input::{HugetlbInput, NodeHugetlb};

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::group::{Chain, Group};
use crate::layout::Hierarchy;
use crate::memory::{LIMIT, v1_limit, v2_limit};

/// A huge page size, and how the controller's files name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageSize {
    size: Bytes,
    /// `2MB`, `1GB`, `64KB`.
    name: String,
}

impl Group {
    /// Limit and usage of each huge page size, in the order of the sizes.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn hugetlb(&self) -> Result<Option<Vec<HugetlbInput>>, Error> {
        self.walk(Controller::Hugetlb, |chain, hierarchy| {
            let mut buffer = Vec::new();
            let sizes = page_sizes(chain, hierarchy, &mut buffer)?;
            sizes.iter().map(|size| read(chain, size, &mut buffer)).collect()
        })
    }

    /// Huge pages in use on each NUMA node, for those sizes of which the kernel says it.
    pub(crate) fn hugetlb_by_node(&self) -> Result<Option<Vec<NodeHugetlb>>, Error> {
        self.walk(Controller::Hugetlb, |chain, hierarchy| {
            let mut buffer = Vec::new();
            let mut split = |size: &PageSize| {
                let file = format!("hugetlb.{}.numa_stat", size.name);
                crate::numa::hugetlb(chain, size.size, &file, &mut buffer).transpose()
            };
            let sizes = page_sizes(chain, hierarchy, &mut Vec::new())?;
            sizes.iter().filter_map(&mut split).collect()
        })
    }
}

fn read(chain: &Chain, size: &PageSize, buffer: &mut Vec<u8>) -> Result<HugetlbInput, Error> {
    let file = |what: &str| format!("hugetlb.{}.{what}", size.name);
    let (limit_file, usage_file) = match chain.version {
        Version::V1 => (file("limit_in_bytes"), file("usage_in_bytes")),
        Version::V2 => (file("max"), file("current")),
    };
    let parse = if chain.version == Version::V1 { v1_limit } else { v2_limit };
    let mut max = Limit::Max;
    for level in &chain.levels {
        max = max.min(level.parse(&limit_file, LIMIT, buffer, parse)?.unwrap_or(Limit::Max));
    }
    let current = chain.own.number(&usage_file, buffer)?;
    let reserved = match chain.version {
        Version::V1 => None,
        Version::V2 => chain.own.number(&file("rsvd.current"), buffer)?,
    };
    Ok(HugetlbInput {
        size: size.size,
        max,
        current: Bytes(current.unwrap_or(0)),
        reserved: Bytes(reserved.unwrap_or(0)),
    })
}

/// Whether the controller is switched on for the container or above it. On v2 it seldom is, where
/// systemd alone makes the cgroups.
fn is_on(chain: &Chain, buffer: &mut Vec<u8>) -> Result<bool, Error> {
    if chain.version == Version::V1 {
        return Ok(true);
    }
    for level in &chain.levels {
        if level.read("cgroup.controllers", buffer)?
            && buffer.split(u8::is_ascii_whitespace).any(|name| name == b"hugetlb")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The machine's page sizes, found once in the names of the files of a cgroup that has them. None
/// where the controller is off.
fn page_sizes<'a>(
    chain: &Chain,
    hierarchy: &'a Hierarchy,
    buffer: &mut Vec<u8>,
) -> Result<&'a [PageSize], Error> {
    if !is_on(chain, buffer)? {
        return Ok(&[]);
    }
    if let Some(sizes) = hierarchy.page_sizes.get() {
        return Ok(sizes);
    }
    let suffix = match chain.version {
        Version::V1 => ".limit_in_bytes",
        Version::V2 => ".max",
    };
    for level in &chain.levels {
        let names = level.dir()?.list(".")?;
        let mut sizes: Vec<_> =
            names.iter().filter_map(|entry| page_size(entry.name.to_str()?, suffix)).collect();
        if !sizes.is_empty() {
            sizes.sort_by_key(|size| size.size);
            return Ok(hierarchy.page_sizes.get_or_init(|| sizes));
        }
    }
    Ok(&[])
}

/// `hugetlb.2MB.max` to 2 MiB. `hugetlb.2MB.rsvd.max` is about reservations.
fn page_size(file: &str, suffix: &str) -> Option<PageSize> {
    let name = file.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
    let units = [("KB", 10), ("MB", 20), ("GB", 30)];
    let (digits, shift) =
        units.iter().find_map(|(unit, shift)| Some((name.strip_suffix(unit)?, *shift)))?;
    let size = parse_u64(digits.as_bytes())?.checked_mul(1 << shift)?;
    Some(PageSize { size: Bytes(size), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_from_file_names() {
        let size = |name| page_size(name, ".max").map(|size| size.size.0);
        assert_eq!(size("hugetlb.2MB.max"), Some(2 << 20));
        assert_eq!(size("hugetlb.64KB.max"), Some(64 << 10));
        assert_eq!(size("hugetlb.16GB.max"), Some(16 << 30));
        for other in ["hugetlb.2MB.rsvd.max", "hugetlb.2MB.current", "memory.max", "hugetlb.MB.max"]
        {
            assert_eq!(size(other), None, "{other}");
        }
    }

    use crate::fake::{Fake, V1, V2};

    #[test]
    fn lowest_limit_of_the_ancestry_and_own_usage() {
        let fake = Fake::new(V2);
        fake.files("unified/p", &[("hugetlb.2MB.max", "4194304\n"), ("hugetlb.1GB.max", "max\n")]);
        fake.files(
            "unified/p/a",
            &[
                ("cgroup.controllers", "memory hugetlb\n"),
                ("hugetlb.2MB.max", "max\n"),
                ("hugetlb.2MB.current", "2097152\n"),
                ("hugetlb.2MB.rsvd.current", "1\n"),
                ("hugetlb.2MB.rsvd.max", "0\n"),
                ("hugetlb.1GB.max", "max\n"),
            ],
        );
        let small = HugetlbInput {
            size: Bytes(2 << 20),
            max: Limit::Value(Bytes(4 << 20)),
            current: Bytes(2 << 20),
            reserved: Bytes(1),
        };
        let zero = Bytes(0);
        let big =
            HugetlbInput { size: Bytes(1 << 30), max: Limit::Max, current: zero, reserved: zero };
        assert_eq!(fake.group("/p/a").hugetlb().unwrap(), Some(vec![small, big]));

        let fake = Fake::new(V1);
        let files = [("hugetlb.2MB.limit_in_bytes", "9223372036854771712\n")];
        fake.files("hugetlb/a", &files);
        fake.write("hugetlb/a/hugetlb.2MB.usage_in_bytes", "2097152\n");
        let usage = HugetlbInput { max: Limit::Max, reserved: zero, ..small };
        assert_eq!(fake.group("/a").hugetlb().unwrap(), Some(vec![usage]));
    }

    #[test]
    fn off_for_the_container_is_found_out_without_listing() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("cgroup.controllers", "memory pids\n")]);
        let group = fake.group("/a");
        assert_eq!(group.hugetlb().unwrap(), Some(vec![]));
        let opens = fake.kept.counters().opens;
        assert_eq!(group.hugetlb().unwrap(), Some(vec![]));
        assert_eq!(fake.kept.counters().opens, opens);
    }

    #[test]
    fn a_limit_above_holds_where_the_container_has_no_files() {
        let fake = Fake::new(V2);
        let files = [("cgroup.controllers", "hugetlb\n"), ("hugetlb.2MB.max", "4194304\n")];
        fake.files("unified/p", &files);
        fake.files("unified/p/a", &[("cgroup.controllers", "memory\n")]);
        let sizes = fake.group("/p/a").hugetlb().unwrap().unwrap();
        assert_eq!(sizes[0].max, Limit::Value(Bytes(4 << 20)));
    }
}
