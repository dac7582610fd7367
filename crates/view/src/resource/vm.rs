//! The container's virtual memory in the terms of `/proc/vmstat`.

use std::collections::BTreeMap;

use procfmt::units::{Bytes, Kib, scale};

use crate::Memory;
use crate::input::{DeviceIo, VmInput};

/// What of the host's virtual memory holds for containers too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostVm {
    /// The size of a page.
    pub page_size: Bytes,
    /// The size of a transparent huge page:
    /// `/sys/kernel/mm/transparent_hugepage/hpage_pmd_size`; zero: there are none.
    pub huge_page_size: Bytes,
    /// From when on a writer has to write back: `/proc/sys/vm/dirty_{ratio,bytes}`.
    pub dirty: DirtyLimit,
    /// From when on the kernel writes back: `/proc/sys/vm/dirty_background_{ratio,bytes}`.
    pub dirty_background: DirtyLimit,
    /// Devices (major, minor) that serve as swap as a whole, and so for nothing else.
    pub swap_devices: Vec<(u32, u32)>,
}

/// How much dirty memory there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirtyLimit {
    /// In percent of the memory available.
    pub ratio: u64,
    /// Not zero: it replaces the ratio.
    pub bytes: Bytes,
}

/// What one container did with its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vm {
    counters: BTreeMap<Box<[u8]>, u64>,
    host: HostVm,
    /// `oom_kill`.
    pub oom_kills: u64,
    /// `pgpgin`: read from block devices.
    ///
    /// `pgpgin` of v1's `memory.stat` is another thing: it counts charges, in pages.
    pub paged_in: Kib,
    /// `pgpgout`: written to block devices.
    pub paged_out: Kib,
    /// `pswpin`, in pages.
    pub swapped_in: u64,
    /// `pswpout`, in pages.
    pub swapped_out: u64,
}

impl Vm {
    /// From the container's counters and its I/O by device.
    ///
    /// Not every kernel counts pages swapped in and out per cgroup: on v2 6.12 has no such keys and
    /// 7.2 has, on v1 6.18 has none. Where they are missing, what was read from and written to a
    /// device that serves as swap only stands for them. It is less than was swapped where zswap
    /// keeps pages, or where swap is a file or a partition.
    #[must_use]
    pub fn new(input: VmInput, io: &[DeviceIo], host: HostVm) -> Self {
        let VmInput { counters, oom_kills } = input;
        let sum = |bytes: fn(&DeviceIo) -> Bytes| io.iter().map(bytes).sum::<Bytes>().kib();
        let is_swap = |io: &&DeviceIo| host.swap_devices.contains(&(io.major, io.minor));
        let swapped = |key: &[u8], bytes: fn(&DeviceIo) -> Bytes| {
            let by_device = || io.iter().filter(is_swap).map(bytes).sum();
            counters.get(key).copied().unwrap_or_else(|| pages(by_device(), host.page_size))
        };
        Self {
            oom_kills,
            paged_in: sum(|io| io.rbytes),
            paged_out: sum(|io| io.wbytes),
            swapped_in: swapped(b"pswpin", |io| io.rbytes),
            swapped_out: swapped(b"pswpout", |io| io.wbytes),
            counters,
            host,
        }
    }

    /// What `memory.stat` counts under the same name; 0 if it does not.
    #[must_use]
    pub fn counter(&self, key: &[u8]) -> u64 {
        self.counters.get(key).copied().unwrap_or(0)
    }

    /// Whole pages.
    #[must_use]
    pub fn pages(&self, bytes: Bytes) -> u64 {
        pages(bytes, self.host.page_size)
    }

    /// Whole transparent huge pages.
    #[must_use]
    pub fn huge_pages(&self, bytes: Bytes) -> u64 {
        pages(bytes, self.host.huge_page_size)
    }

    /// `nr_dirty_threshold`, in pages.
    #[must_use]
    pub fn dirty_threshold(&self, memory: &Memory) -> u64 {
        self.threshold(self.host.dirty, memory)
    }

    /// `nr_dirty_background_threshold`, in pages.
    #[must_use]
    pub fn dirty_background_threshold(&self, memory: &Memory) -> u64 {
        self.threshold(self.host.dirty_background, memory)
    }

    fn threshold(&self, limit: DirtyLimit, memory: &Memory) -> u64 {
        let available = memory.available.bytes();
        self.pages(match limit.bytes {
            Bytes::ZERO => Bytes(scale(available.0, limit.ratio, 100)),
            fixed => fixed.min(available),
        })
    }
}

fn pages(bytes: Bytes, size: Bytes) -> u64 {
    bytes.0.checked_div(size.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostVm {
        HostVm {
            page_size: Bytes(4096),
            huge_page_size: Bytes(2 << 20),
            swap_devices: vec![(254, 16)],
            ..Default::default()
        }
    }

    fn device(minor: u32, rbytes: u64, wbytes: u64) -> DeviceIo {
        let (rbytes, wbytes) = (Bytes(rbytes), Bytes(wbytes));
        DeviceIo { major: 254, minor, rbytes, wbytes, ..Default::default() }
    }

    #[test]
    fn v1_pgpgin_is_not_charges() {
        let counters = [(b"pgpgin"[..].into(), 777), (b"pgpgout"[..].into(), 777)];
        let input = VmInput { counters: counters.into(), oom_kills: 1 };
        let vm = Vm::new(input, &[device(0, 2048, 1024), device(16, 1024, 4096)], host());
        assert_eq!((vm.paged_in, vm.paged_out), (Kib(3), Kib(5)));
    }

    #[test]
    fn swapping_is_counted_by_the_cgroup_or_by_the_swap_device() {
        let io = [device(0, 8192, 8192), device(16, 4096, 12288)];
        let vm = Vm::new(VmInput::default(), &io, host());
        assert_eq!((vm.swapped_in, vm.swapped_out), (1, 3));
        let counters = [(b"pswpin"[..].into(), 5), (b"pswpout"[..].into(), 6)];
        let vm = Vm::new(VmInput { counters: counters.into(), oom_kills: 0 }, &io, host());
        assert_eq!((vm.swapped_in, vm.swapped_out), (5, 6));
    }

    #[test]
    fn dirty_thresholds_follow_the_available_memory() {
        let dirty = DirtyLimit { ratio: 20, bytes: Bytes::ZERO };
        let dirty_background = DirtyLimit { ratio: 0, bytes: Bytes(1 << 30) };
        let vm = Vm::new(VmInput::default(), &[], HostVm { dirty, dirty_background, ..host() });
        let memory = Memory { available: Kib(4000), ..Default::default() };
        assert_eq!(vm.dirty_threshold(&memory), 200);
        assert_eq!(vm.dirty_background_threshold(&memory), 1000, "no more than there is");
    }

    #[test]
    fn a_kernel_without_huge_pages_has_none() {
        let vm = Vm::new(VmInput::default(), &[], HostVm::default());
        assert_eq!((vm.huge_pages(Bytes(1)), vm.pages(Bytes(1))), (0, 0));
    }
}
