//! The memory controller: limits and usage from the container up to the root, in one walk.

use procfmt::keyed::flat;
use procfmt::limit::Limit;
use procfmt::limit_value::{number_or_max, v1_bytes};
use procfmt::units::Bytes;
use view::input::{MemoryInput, MemoryLevel, MemoryStat, SwapLevel};

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::group::{Chain, Group};
use crate::layout::Hierarchy;
use crate::level::Level;

/// What the text of a limit is expected to be, for messages.
pub(crate) const LIMIT: &str = "a number of bytes or \"max\"";
const STAT: &str = "a key and a number of bytes on each line";

impl Group {
    /// Memory and swap: limits and usage of every level, and the container's own `memory.stat`.
    ///
    /// Where v2's controller is not switched on for the container itself, the limits of its
    /// ancestors hold and its own usage is unknown, hence zero.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn memory(&self) -> Result<Option<MemoryInput>, Error> {
        self.walk(Controller::Memory, |chain, hierarchy| match chain.version {
            Version::V1 => v1(chain, hierarchy),
            Version::V2 => v2(chain),
        })
    }
}

fn v2(chain: &Chain) -> Result<MemoryInput, Error> {
    let mut buffer = Vec::new();
    let mut input = MemoryInput::default();
    let mut accounts_swap = false;
    for (index, level) in chain.levels.iter().enumerate() {
        let own = index == 0;
        let level = v2_level(level, own, &mut input.stat, &mut buffer)?;
        accounts_swap |= level.swap != SwapLevel::Absent;
        input.levels.push(level);
    }
    // The kernel accounts swap everywhere or nowhere; a level without the file has only not been
    // given the controller.
    if accounts_swap {
        for level in input.levels.iter_mut().filter(|level| level.swap == SwapLevel::Absent) {
            level.swap = SwapLevel::Swap { max: Limit::Max, current: Bytes::ZERO };
        }
    }
    Ok(input)
}

fn v2_level(
    level: &Level,
    own: bool,
    own_stat: &mut MemoryStat,
    buffer: &mut Vec<u8>,
) -> Result<MemoryLevel, Error> {
    let limit = |file, buffer: &mut Vec<u8>| level.parse(file, LIMIT, buffer, v2_limit);
    let max = limit("memory.max", buffer)?;
    let high = limit("memory.high", buffer)?.unwrap_or(Limit::Max);
    let swap_max = limit("memory.swap.max", buffer)?;
    let limited = max.and_then(Limit::value).is_some() || high != Limit::Max;

    let mut stat = MemoryStat::default();
    if (own || limited) && level.read("memory.stat", buffer)? {
        stat = v2_stat(level, buffer)?;
    }
    let bytes = |file, buffer: &mut Vec<u8>| -> Result<Bytes, Error> {
        Ok(Bytes(level.number(file, buffer)?.unwrap_or(0)))
    };
    let usage = if limited { bytes("memory.current", buffer)? } else { Bytes::ZERO };
    let swap = match swap_max {
        None => SwapLevel::Absent,
        Some(Limit::Max) if !own => SwapLevel::Swap { max: Limit::Max, current: Bytes::ZERO },
        Some(max) => SwapLevel::Swap { max, current: bytes("memory.swap.current", buffer)? },
    };
    let level = limited_level(max.unwrap_or(Limit::Max), high, limited, usage, &stat, swap);
    if own {
        *own_stat = stat;
    }
    Ok(level)
}

fn v1(chain: &Chain, hierarchy: &Hierarchy) -> Result<MemoryInput, Error> {
    let mut buffer = Vec::new();
    let mut input = MemoryInput::default();
    for (index, level) in chain.levels.iter().enumerate() {
        let own = index == 0;
        if !own && hierarchy.has_flat_memory() && !holds_for_children(level, &mut buffer)? {
            break;
        }
        input.levels.push(v1_level(level, own, &mut input.stat, &mut buffer)?);
    }
    let own = &chain.own;
    // Kernel memory is one number on v1: slabs and stacks together, most of it slabs.
    let kernel = own.number("memory.kmem.usage_in_bytes", &mut buffer)?.map_or(Bytes::ZERO, Bytes);
    input.stat.slab = kernel;
    input.stat.slab_unreclaimable = kernel;
    input.swappiness = own.number("memory.swappiness", &mut buffer)?;
    Ok(input)
}

fn v1_level(
    level: &Level,
    own: bool,
    own_stat: &mut MemoryStat,
    buffer: &mut Vec<u8>,
) -> Result<MemoryLevel, Error> {
    let limit = |file, buffer: &mut Vec<u8>| level.parse(file, LIMIT, buffer, v1_limit);
    let max = limit("memory.limit_in_bytes", buffer)?.unwrap_or(Limit::Max);
    let swap_limit = limit("memory.memsw.limit_in_bytes", buffer)?;
    let limited = max != Limit::Max;

    let mut stat = MemoryStat::default();
    if (own || limited) && level.read("memory.stat", buffer)? {
        stat = v1_stat(level, buffer)?;
    }
    let bytes = |file, buffer: &mut Vec<u8>| -> Result<Bytes, Error> {
        Ok(Bytes(level.number(file, buffer)?.unwrap_or(0)))
    };
    let usage_file = "memory.usage_in_bytes";
    let usage = if limited { bytes(usage_file, buffer)? } else { Bytes::ZERO };
    let swap = match swap_limit {
        None => SwapLevel::Absent,
        Some(Limit::Max) if !own => {
            SwapLevel::MemoryPlusSwap { limit: Limit::Max, usage: Bytes::ZERO }
        }
        Some(limit) => SwapLevel::MemoryPlusSwap {
            limit,
            usage: bytes("memory.memsw.usage_in_bytes", buffer)?,
        },
    };
    let level = limited_level(max, Limit::Max, limited, usage, &stat, swap);
    if own {
        *own_stat = stat;
    }
    Ok(level)
}

/// A level; what it uses of its limit only where there is one, as [`MemoryLevel`] promises.
fn limited_level(
    limit: Limit<Bytes>,
    high: Limit<Bytes>,
    limited: bool,
    usage: Bytes,
    stat: &MemoryStat,
    swap: SwapLevel,
) -> MemoryLevel {
    let when_limited = |bytes: Bytes| if limited { bytes } else { Bytes::ZERO };
    MemoryLevel {
        limit,
        high,
        usage: when_limited(usage),
        file: when_limited(stat.inactive_file + stat.active_file),
        slab_reclaimable: when_limited(stat.slab_reclaimable),
        swap,
    }
}

/// v1 before Linux 5.11: whether the level's limit holds for the cgroups below it.
fn holds_for_children(level: &Level, buffer: &mut Vec<u8>) -> Result<bool, Error> {
    Ok(level.number("memory.use_hierarchy", buffer)? != Some(0))
}

pub(crate) fn v2_limit(text: &[u8]) -> Option<Limit<Bytes>> {
    number_or_max(text).map(|limit| limit.map(Bytes))
}

pub(crate) fn v1_limit(text: &[u8]) -> Option<Limit<Bytes>> {
    v1_bytes(text).map(|limit| limit.map(Bytes))
}

/// Fills in a `memory.stat`; keys without a field are passed over.
fn fill<'stat>(
    level: &Level,
    text: &[u8],
    stat: &'stat mut MemoryStat,
    field: impl for<'a> Fn(&[u8], &'a mut MemoryStat) -> Option<&'a mut Bytes>,
) -> Result<&'stat mut MemoryStat, Error> {
    for line in flat(text) {
        let Some((key, value)) = line else {
            return Err(Error::unexpected(level.path_of("memory.stat"), STAT, text));
        };
        if let Some(slot) = field(key, stat) {
            *slot = Bytes(value);
        }
    }
    Ok(stat)
}

fn v2_stat(level: &Level, text: &[u8]) -> Result<MemoryStat, Error> {
    let mut stat = MemoryStat::default();
    fill(level, text, &mut stat, v2_field)?;
    Ok(stat)
}

/// The field of a key of v2's `memory.stat`; `memory.numa_stat` has the same keys.
pub(crate) fn v2_field<'a>(key: &[u8], stat: &'a mut MemoryStat) -> Option<&'a mut Bytes> {
    Some(match key {
        b"anon" => &mut stat.anon,
        b"file" => &mut stat.file,
        b"kernel_stack" => &mut stat.kernel_stack,
        b"pagetables" => &mut stat.pagetables,
        b"sec_pagetables" => &mut stat.sec_pagetables,
        b"percpu" => &mut stat.percpu,
        b"vmalloc" => &mut stat.vmalloc,
        b"shmem" => &mut stat.shmem,
        b"zswap" => &mut stat.zswap,
        b"zswapped" => &mut stat.zswapped,
        b"file_mapped" => &mut stat.file_mapped,
        b"file_dirty" => &mut stat.file_dirty,
        b"file_writeback" => &mut stat.file_writeback,
        b"swapcached" => &mut stat.swapcached,
        b"anon_thp" => &mut stat.anon_thp,
        b"file_thp" => &mut stat.file_thp,
        b"shmem_thp" => &mut stat.shmem_thp,
        b"inactive_anon" => &mut stat.inactive_anon,
        b"active_anon" => &mut stat.active_anon,
        b"inactive_file" => &mut stat.inactive_file,
        b"active_file" => &mut stat.active_file,
        b"unevictable" => &mut stat.unevictable,
        b"slab_reclaimable" => &mut stat.slab_reclaimable,
        b"slab_unreclaimable" => &mut stat.slab_unreclaimable,
        b"slab" => &mut stat.slab,
        _ => return None,
    })
}

/// v1 counts a cgroup alone without the prefix `total_`, with those below it under the prefix.
fn v1_stat(level: &Level, text: &[u8]) -> Result<MemoryStat, Error> {
    let mut stat = MemoryStat::default();
    fill(level, text, &mut stat, |key, stat| {
        Some(match key.strip_prefix(b"total_")? {
            b"rss" => &mut stat.anon,
            b"cache" => &mut stat.file,
            b"shmem" => &mut stat.shmem,
            b"mapped_file" => &mut stat.file_mapped,
            b"dirty" => &mut stat.file_dirty,
            b"writeback" => &mut stat.file_writeback,
            b"swapcached" => &mut stat.swapcached,
            b"rss_huge" => &mut stat.anon_thp,
            b"inactive_anon" => &mut stat.inactive_anon,
            b"active_anon" => &mut stat.active_anon,
            b"inactive_file" => &mut stat.inactive_file,
            b"active_file" => &mut stat.active_file,
            b"unevictable" => &mut stat.unevictable,
            b"swap" => stat.swap.get_or_insert_default(),
            _ => return None,
        })
    })?;
    Ok(stat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, V1, V2};

    const V2_STAT: &str = "anon 1\nfile 2\ninactive_file 30\nactive_file 4\nslab_reclaimable 5\n\
                           file_mapped 6\nworkingset_refault_anon 7\n";
    const V1_STAT: &str = "cache 999\nhierarchical_memory_limit 5\ntotal_cache 2\ntotal_rss 1\n\
                           total_inactive_file 30\ntotal_active_file 4\ntotal_swap 8\n\
                           total_mapped_file 6\n";

    fn limit(bytes: u64) -> Limit<Bytes> {
        Limit::Value(Bytes(bytes))
    }

    #[test]
    fn v2_levels_from_the_container_to_below_the_root() {
        let fake = Fake::new(V2);
        fake.files(
            "unified/pod",
            &[
                ("memory.max", "1000\n"),
                ("memory.high", "900\n"),
                ("memory.current", "700\n"),
                ("memory.stat", V2_STAT),
                ("memory.swap.max", "50\n"),
                ("memory.swap.current", "20\n"),
            ],
        );
        fake.files(
            "unified/pod/app",
            &[
                ("memory.max", "max\n"),
                ("memory.high", "max\n"),
                ("memory.current", "600\n"),
                ("memory.stat", V2_STAT),
                ("memory.swap.max", "max\n"),
                ("memory.swap.current", "10\n"),
            ],
        );
        let memory = fake.group("/pod/app").memory().unwrap().unwrap();
        let [app, pod] = &memory.levels[..] else { panic!("{:?}", memory.levels) };
        assert_eq!((app.limit, app.usage, app.file), (Limit::Max, Bytes(0), Bytes(0)));
        assert_eq!(app.swap, SwapLevel::Swap { max: Limit::Max, current: Bytes(10) });
        assert_eq!((pod.limit, pod.high, pod.usage), (limit(1000), limit(900), Bytes(700)));
        assert_eq!((pod.file, pod.slab_reclaimable), (Bytes(34), Bytes(5)));
        assert_eq!(pod.swap, SwapLevel::Swap { max: limit(50), current: Bytes(20) });
        assert_eq!((memory.stat.anon, memory.stat.file_mapped), (Bytes(1), Bytes(6)));
        assert_eq!((memory.stat.swap, memory.swappiness), (None, None));
    }

    #[test]
    fn v1_counts_with_the_cgroups_below() {
        let fake = Fake::new(V1);
        fake.files(
            "memory/pod",
            &[
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.memsw.limit_in_bytes", "2000\n"),
                ("memory.memsw.usage_in_bytes", "1500\n"),
            ],
        );
        fake.files(
            "memory/pod/app",
            &[
                ("memory.limit_in_bytes", "1000\n"),
                ("memory.usage_in_bytes", "700\n"),
                ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
                ("memory.memsw.usage_in_bytes", "708\n"),
                ("memory.kmem.usage_in_bytes", "40\n"),
                ("memory.swappiness", "60\n"),
                ("memory.stat", V1_STAT),
            ],
        );
        let memory = fake.group("/pod/app").memory().unwrap().unwrap();
        let [app, pod] = &memory.levels[..] else { panic!("{:?}", memory.levels) };
        assert_eq!((app.limit, app.usage, app.file), (limit(1000), Bytes(700), Bytes(34)));
        let unlimited = SwapLevel::MemoryPlusSwap { limit: Limit::Max, usage: Bytes(708) };
        assert_eq!(app.swap, unlimited);
        assert_eq!(pod.limit, Limit::Max);
        assert_eq!(pod.swap, SwapLevel::MemoryPlusSwap { limit: limit(2000), usage: Bytes(1500) });
        let stat = &memory.stat;
        assert_eq!((stat.anon, stat.file, stat.file_mapped), (Bytes(1), Bytes(2), Bytes(6)));
        assert_eq!((stat.slab, stat.slab_unreclaimable), (Bytes(40), Bytes(40)));
        assert_eq!((stat.swap, memory.swappiness), (Some(Bytes(8)), Some(60)));
    }

    #[test]
    fn controller_not_switched_on_below_the_limit() {
        let fake = Fake::new(V2);
        fake.files(
            "unified/pod",
            &[("memory.max", "1000\n"), ("memory.current", "700\n"), ("memory.swap.max", "max\n")],
        );
        fake.files("unified/pod/leaf", &[("cgroup.events", "populated 1\n")]);
        let memory = fake.group("/pod/leaf").memory().unwrap().unwrap();
        assert_eq!(memory.levels[0].limit, Limit::Max);
        let nothing = SwapLevel::Swap { max: Limit::Max, current: Bytes(0) };
        assert_eq!(memory.levels[0].swap, nothing, "not a kernel without swap accounting");
        assert_eq!((memory.levels[1].limit, memory.levels[1].usage), (limit(1000), Bytes(700)));
        assert_eq!(memory.stat, MemoryStat::default());
    }

    #[test]
    fn swap_accounting_off_is_absent() {
        for (layout, files) in
            [(V1, ("memory/a", "memory.limit_in_bytes")), (V2, ("unified/a", "memory.max"))]
        {
            let fake = Fake::new(layout);
            fake.files(files.0, &[(files.1, "0\n")]);
            let memory = fake.group("/a").memory().unwrap().unwrap();
            assert_eq!(memory.levels[0].swap, SwapLevel::Absent);
            assert_eq!(memory.levels[0].limit, limit(0), "zero is a limit");
        }
    }

    #[test]
    fn root_cgroup_is_host_view() {
        let fake = Fake::new(V2);
        assert_eq!(fake.group("/").memory().unwrap(), None);
    }

    #[test]
    fn v1_limits_of_a_parent_without_use_hierarchy_do_not_hold() {
        let fake = Fake::new(V1);
        fake.write("memory/memory.use_hierarchy", "0\n");
        fake.files(
            "memory/pod",
            &[("memory.limit_in_bytes", "5\n"), ("memory.use_hierarchy", "0\n")],
        );
        fake.files("memory/pod/app", &[("memory.limit_in_bytes", "7\n")]);
        let levels = |fake: &Fake| fake.group("/pod/app").memory().unwrap().unwrap().levels.len();
        assert_eq!(levels(&fake), 1);
        fake.write("memory/pod/memory.use_hierarchy", "1\n");
        assert_eq!(levels(&fake), 2);
    }

    #[test]
    fn garbage_is_an_error_with_path_and_content() {
        let cases = [
            ("memory.max", "lots\n"),
            ("memory.max", ""),
            ("memory.high", "-1\n"),
            ("memory.stat", "anon x\n"),
            ("memory.stat", "\u{fffd}\n"),
            ("memory.swap.current", "18446744073709551616\n"),
        ];
        for (file, text) in cases {
            let fake = Fake::new(V2);
            fake.files("unified/a", &[("memory.max", "1\n"), ("memory.swap.max", "1\n")]);
            fake.write(&format!("unified/a/{file}"), text);
            let error = fake.group("/a").memory().unwrap_err();
            let Error::Unexpected { path, content, .. } = &error else { panic!("{error:?}") };
            assert_eq!(path, &fake.path().join("unified/a").join(file));
            assert!(text.starts_with(content.as_str()), "{error}");
        }
    }

    #[test]
    fn limit_change_shows_at_next_read() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("memory.max", "1\n")]);
        let group = fake.group("/a");
        assert_eq!(group.memory().unwrap().unwrap().levels[0].limit, limit(1));
        fake.write("unified/a/memory.max", "max\n");
        assert_eq!(group.memory().unwrap().unwrap().levels[0].limit, Limit::Max);
    }

    #[test]
    fn system_calls_linear_in_depth() {
        let reads_at = |depth: usize| {
            let fake = Fake::new(V2);
            let mut path = String::new();
            for level in 0..depth {
                path.push_str(&format!("/{level}"));
                fake.files(
                    &format!("unified{path}"),
                    &[
                        ("memory.max", "max\n"),
                        ("memory.high", "max\n"),
                        ("memory.swap.max", "max\n"),
                        ("memory.stat", V2_STAT),
                        ("memory.swap.current", "0\n"),
                    ],
                );
            }
            let group = fake.group(&path);
            group.memory().unwrap();
            let before = fake.kept.counters();
            group.memory().unwrap();
            let after = fake.kept.counters();
            assert_eq!(after.opens, before.opens, "everything was open already");
            after.reads - before.reads
        };
        // Three limit files for each further level, and one pread for each file.
        assert_eq!(reads_at(16) - reads_at(1), 15 * 3);
    }

    #[test]
    fn a_cgroup_made_anew_at_its_path_is_found_again() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("memory.max", "1\n")]);
        let group = fake.group("/a");
        group.memory().unwrap();
        assert!(group.is_current());
        // The replacement is made first, so that it cannot get the same inode number.
        fake.files("unified/new", &[("memory.max", "2\n")]);
        std::fs::remove_dir_all(fake.path().join("unified/a")).unwrap();
        assert!(!group.is_current());
        // On a plain file system an open file outlives its directory; a cgroup's does not.
        assert!(fake.group("/a").memory().unwrap_err().is_gone());
        std::fs::rename(fake.path().join("unified/new"), fake.path().join("unified/a")).unwrap();
        assert_eq!(fake.group("/a").memory().unwrap().unwrap().levels[0].limit, limit(2));
        assert!(!group.is_current());
    }
}
