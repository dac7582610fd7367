//! `/proc/vmstat`: the host's keys in the host's order, each with the container's count.
//!
//! A key that cgroups do not count is 0, and so is one that this version does not know.

use procfmt::vmstat::{Line, parse};

use crate::input::MemoryStat;
use crate::render::RenderError;
use crate::{Memory, ResourceView, Vm};

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let (Some(memory), Some(vm)) = (&view.memory, &view.vm) else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let mut written = 0;
    for line in parse(host) {
        let value = value(line.key, memory, vm).unwrap_or(0);
        Line { value, ..line }.write(out);
        written += 1;
    }
    if written == 0 {
        let what = "it has no line of the form `key value`".to_owned();
        return Err(RenderError::HostText { file: "vmstat", what });
    }
    Ok(())
}

/// The catalogue of keys; `None`: nothing counts that per cgroup.
#[must_use]
pub fn value(key: &[u8], memory: &Memory, vm: &Vm) -> Option<u64> {
    Some(match key {
        b"nr_free_pages" => vm.pages(memory.free.bytes()),
        b"nr_hugetlb" => vm.pages(memory.hugetlb_used),
        b"nr_dirty_threshold" => vm.dirty_threshold(memory),
        b"nr_dirty_background_threshold" => vm.dirty_background_threshold(memory),
        b"pgpgin" => vm.paged_in.0,
        b"pgpgout" => vm.paged_out.0,
        b"pswpin" => vm.swapped_in,
        b"pswpout" => vm.swapped_out,
        b"oom_kill" => vm.oom_kills,
        _ if is_event(key) => vm.counter(key),
        _ => return size(key, &memory.stat, vm),
    })
}

/// What memory is used for, in pages unless the key says otherwise.
pub(crate) fn size(key: &[u8], stat: &MemoryStat, vm: &Vm) -> Option<u64> {
    let key = match key.strip_prefix(b"nr_zone_") {
        Some(of_zone) => of_zone,
        None => key.strip_prefix(b"nr_")?,
    };
    Some(match key {
        // Kibibytes, alone among its neighbours.
        b"kernel_stack" => stat.kernel_stack.kib().0,
        b"anon_transparent_hugepages" => vm.huge_pages(stat.anon_thp),
        b"shmem_hugepages" => vm.huge_pages(stat.shmem_thp),
        b"file_hugepages" => vm.huge_pages(stat.file_thp),
        _ => vm.pages(match key {
            b"inactive_anon" => stat.inactive_anon,
            b"active_anon" => stat.active_anon,
            b"inactive_file" => stat.inactive_file,
            b"active_file" => stat.active_file,
            b"unevictable" => stat.unevictable,
            b"write_pending" => stat.file_dirty + stat.file_writeback,
            b"anon_pages" => stat.anon,
            b"file_pages" => stat.file,
            b"mapped" => stat.file_mapped,
            b"shmem" => stat.shmem,
            b"dirty" => stat.file_dirty,
            b"writeback" => stat.file_writeback,
            b"swapcached" => stat.swapcached,
            b"slab_reclaimable" => stat.slab_reclaimable,
            b"slab_unreclaimable" => stat.slab_unreclaimable,
            b"page_table_pages" => stat.pagetables,
            b"sec_page_table_pages" => stat.sec_pagetables,
            _ => return None,
        }),
    })
}

/// Whether `memory.stat` counts under this key what `/proc/vmstat` does.
pub(crate) fn is_event(key: &[u8]) -> bool {
    const EVENTS: [&[u8]; 24] = [
        b"numa_hint_faults",
        b"numa_pages_migrated",
        b"numa_pte_updates",
        b"pgactivate",
        b"pgdeactivate",
        b"pgfault",
        b"pglazyfree",
        b"pglazyfreed",
        b"pgmajfault",
        b"pgpromote_success",
        b"pgrefill",
        b"swpin_zero",
        b"swpout_zero",
        b"thp_collapse_alloc",
        b"thp_fault_alloc",
        b"thp_swpout",
        b"thp_swpout_fallback",
        b"workingset_activate",
        b"workingset_nodereclaim",
        b"workingset_refault",
        b"workingset_restore",
        b"zswpin",
        b"zswpout",
        b"zswpwb",
    ];
    const KINDS: [&[u8]; 6] = [
        b"pgdemote_",
        b"pgscan_",
        b"pgsteal_",
        b"workingset_activate_",
        b"workingset_refault_",
        b"workingset_restore_",
    ];
    EVENTS.contains(&key) || KINDS.iter().any(|kind| key.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use procfmt::units::{Bytes, Kib};

    use super::*;
    use crate::HostVm;
    use crate::input::{DeviceIo, VmInput};

    fn rendered(host: &[u8], memory: Memory) -> String {
        let counters = [("pgfault", 3), ("pgpgin", 777), ("pgscan_direct", 4), ("anon", 777)];
        let counters = counters.map(|(key, value)| (key.as_bytes().into(), value));
        let io = DeviceIo { rbytes: Bytes(5 << 10), wbytes: Bytes(6 << 10), ..Default::default() };
        let host_vm =
            HostVm { page_size: Bytes(4096), huge_page_size: Bytes(2 << 20), ..Default::default() };
        let input = VmInput { counters: counters.into(), oom_kills: 2 };
        let vm = Some(Vm::new(input, &[io], host_vm));
        let view = ResourceView { memory: Some(memory), vm, ..Default::default() };
        let mut out = Vec::new();
        render(host, &view, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn v1_pgpgin_is_not_charges() {
        let text = rendered(b"pgpgin 777\npgpgout 777\n", Memory::default());
        assert_eq!(text, "pgpgin 5\npgpgout 6\n");
    }

    #[test]
    fn every_key_is_the_containers_or_zero() {
        let host = b"nr_free_pages 777\nnr_zone_inactive_anon 777\nnr_kernel_stack 777\n\
            nr_anon_transparent_hugepages 777\npgfault 777\npgscan_direct 777\npgscan_anon 777\n\
            oom_kill 777\nnr_hugetlb 777\nnuma_hit 777\npgalloc_dma 777\nanon 777\nfuture 777\n";
        let stat = MemoryStat {
            inactive_anon: Bytes(8192),
            kernel_stack: Bytes(16 << 10),
            anon_thp: Bytes(4 << 20),
            ..Default::default()
        };
        let memory =
            Memory { free: Kib(40), stat, hugetlb_used: Bytes(2 << 20), ..Default::default() };
        let expected = "nr_free_pages 10\nnr_zone_inactive_anon 2\nnr_kernel_stack 16\n\
            nr_anon_transparent_hugepages 2\npgfault 3\npgscan_direct 4\npgscan_anon 0\n\
            oom_kill 2\nnr_hugetlb 512\nnuma_hit 0\npgalloc_dma 0\nanon 0\nfuture 0\n";
        assert_eq!(rendered(host, memory), expected);
    }

    #[test]
    fn garbage_is_an_error_not_an_empty_file() {
        let view = ResourceView {
            memory: Some(Memory::default()),
            vm: Some(Vm::default()),
            ..Default::default()
        };
        assert!(render(b"\xff\n", &view, &mut Vec::new()).is_err());
    }
}
