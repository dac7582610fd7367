//! `/proc/meminfo`: the host's lines in the host's order, each with the container's number.

use procfmt::meminfo::{Line, parse};
use procfmt::units::{Bytes, Kib};

use crate::render::RenderError;
use crate::{Memory, ResourceView};

/// What becomes of a line of the host's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The container's number: kibibytes, or a count of things.
    Virtual(u64),
    /// The host's number, because it is true for the container too.
    Host,
    /// No such line: it says nothing about a container.
    Absent,
    /// A line that this version does not know; it is printed as 0.
    Unknown,
}

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(memory) = &view.memory else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let mut written = 0;
    for line in parse(host) {
        let value = match value(line.key, memory) {
            Value::Virtual(value) => value,
            Value::Host => line.value,
            Value::Unknown => 0,
            Value::Absent => continue,
        };
        Line { value, ..line }.write(out);
        written += 1;
    }
    if written == 0 {
        let what = "it has no line of the form `Key: value kB`".to_owned();
        return Err(RenderError::HostText { file: "meminfo", what });
    }
    Ok(())
}

/// The lines of `host` that this version does not know, so that a daemon can say so once.
pub fn unknown_lines(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    let memory = Memory::default();
    parse(host)
        .filter(move |line| value(line.key, &memory) == Value::Unknown)
        .map(|Line { key, .. }| key)
}

/// The catalogue of lines. cgroup-v2.rst says what each of `memory.stat`'s keys counts.
#[must_use]
pub fn value(key: &[u8], memory: &Memory) -> Value {
    let Memory { stat, .. } = memory;
    let kib = |bytes: Bytes| Value::Virtual(bytes.kib().0);
    let total = |Kib(kib)| Value::Virtual(kib);
    let pages = memory.huge_pages;
    match key {
        b"MemTotal" => total(memory.total),
        b"MemFree" => total(memory.free),
        b"MemAvailable" => total(memory.available),
        // 32-bit kernels tell the memory that they address directly from the rest.
        b"LowTotal" => total(memory.total),
        b"LowFree" => total(memory.free),
        b"SwapTotal" => total(memory.swap_total),
        b"SwapFree" => total(memory.swap_free),
        // `file` includes the swap cache, which has a line of its own.
        b"Cached" => kib(stat.file.saturating_sub(stat.swapcached)),
        b"SwapCached" => kib(stat.swapcached),
        b"Active" => kib(stat.active_anon + stat.active_file),
        b"Inactive" => kib(stat.inactive_anon + stat.inactive_file),
        b"Active(anon)" => kib(stat.active_anon),
        b"Inactive(anon)" => kib(stat.inactive_anon),
        b"Active(file)" => kib(stat.active_file),
        b"Inactive(file)" => kib(stat.inactive_file),
        b"Unevictable" => kib(stat.unevictable),
        b"Zswap" if memory.zswap => kib(stat.zswap),
        b"Zswapped" if memory.zswap => kib(stat.zswapped),
        b"Zswap" | b"Zswapped" => Value::Virtual(0),
        b"Dirty" => kib(stat.file_dirty),
        b"Writeback" => kib(stat.file_writeback),
        // LXCFS: active + inactive − shmem, which wraps when shmem is locked and so on neither.
        b"AnonPages" => kib(stat.anon),
        b"Mapped" => kib(stat.file_mapped),
        b"Shmem" => kib(stat.shmem),
        b"KReclaimable" | b"SReclaimable" => kib(stat.slab_reclaimable),
        b"Slab" => kib(stat.slab),
        b"SUnreclaim" => kib(stat.slab_unreclaimable),
        b"KernelStack" => kib(stat.kernel_stack),
        b"PageTables" => kib(stat.pagetables),
        b"SecPageTables" => kib(stat.sec_pagetables),
        b"Percpu" => kib(stat.percpu),
        b"VmallocUsed" => kib(stat.vmalloc),
        b"AnonHugePages" => kib(stat.anon_thp),
        b"ShmemHugePages" => kib(stat.shmem_thp),
        b"FileHugePages" => kib(stat.file_thp),
        b"CommitLimit" => total(memory.commit_limit),
        b"Committed_AS" => total(memory.committed()),
        b"HugePages_Total" => pages.map_or(Value::Host, |pages| Value::Virtual(pages.total)),
        b"HugePages_Free" => pages.map_or(Value::Host, |pages| Value::Virtual(pages.free)),
        b"HugePages_Rsvd" => pages.map_or(Value::Host, |pages| Value::Virtual(pages.reserved)),
        b"HugePages_Surp" => pages.map_or(Value::Host, |_| Value::Virtual(0)),
        b"Hugetlb" => memory.hugetlb.map_or(Value::Host, total),
        b"Hugepagesize" | b"VmallocTotal" => Value::Host,
        // Not counted per cgroup.
        b"Buffers" | b"Mlocked" | b"HighTotal" | b"HighFree" | b"GPUActive" | b"GPUReclaim"
        | b"VmallocChunk" | b"Bounce" | b"NFS_Unstable" | b"WritebackTmp" | b"ShmemPmdMapped"
        | b"FilePmdMapped" | b"HardwareCorrupted" | b"Unaccepted" | b"Balloon" | b"CmaTotal"
        | b"CmaFree" => Value::Virtual(0),
        // They add up to the host's memory, and exist on few architectures.
        _ if key.starts_with(b"DirectMap") => Value::Absent,
        _ => Value::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use procfmt::meminfo::Totals;

    use super::*;
    use crate::input::MemoryStat;

    const HOST: &[u8] = b"MemTotal:       24684084 kB\nMemFree:        24533028 kB\n\
        MemAvailable:   24452448 kB\nBuffers:             777 kB\nAnonPages:        777777 kB\n\
        Mapped:           777777 kB\nDirty:               777 kB\nFuture:              777 kB\n\
        HugePages_Total:       7\nHugepagesize:       2048 kB\nDirectMap4k:      777777 kB\n";

    fn rendered(memory: Option<Memory>) -> String {
        let mut out = Vec::new();
        let view = ResourceView { memory, ..Default::default() };
        render(HOST, &view, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_host_line_left_in_meminfo() {
        let memory = Memory {
            total: Kib(51_200),
            huge_pages: Some(Default::default()),
            ..Default::default()
        };
        let text = rendered(Some(memory));
        assert!(text.starts_with("MemTotal:          51200 kB\n"), "{text}");
        assert!(!text.contains('7'), "{text}");
        assert!(text.contains("HugePages_Total:       0\nHugepagesize:       2048 kB\n"));
    }

    #[test]
    fn anonpages_never_wraps_with_locked_shmem() {
        let stat = MemoryStat {
            anon: Bytes(3_200 << 10),
            active_anon: Bytes(3_200 << 10),
            shmem: Bytes(31 << 20),
            unevictable: Bytes(31 << 20),
            ..Default::default()
        };
        let text = rendered(Some(Memory { stat, ..Default::default() }));
        assert!(text.contains("AnonPages:          3200 kB\n"), "{text}");
    }

    #[test]
    fn dirty_writeback_mapped_thp_not_zero() {
        let stat =
            MemoryStat { file_dirty: Bytes(1024), file_mapped: Bytes(2048), ..Default::default() };
        let text = rendered(Some(Memory { stat, ..Default::default() }));
        assert!(
            text.contains("Dirty:                 1 kB")
                && text.contains("Mapped:                2 kB")
        );
    }

    #[test]
    fn unknown_line_is_declared() {
        assert_eq!(unknown_lines(HOST).collect::<Vec<_>>(), [b"Future"]);
        assert!(rendered(Some(Memory::default())).contains("Future:                0 kB\n"));
    }

    #[test]
    fn host_view_is_the_hosts_bytes() {
        assert_eq!(rendered(None).as_bytes(), HOST);
        assert_eq!(Totals::parse(HOST).mem_total, Kib(24_684_084));
    }

    #[test]
    fn garbage_is_an_error_not_an_empty_file() {
        let view = ResourceView { memory: Some(Memory::default()), ..Default::default() };
        assert!(render(b"\xff\n", &view, &mut Vec::new()).is_err());
    }
}
