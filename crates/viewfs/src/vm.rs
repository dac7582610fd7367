//! Gathers what `/proc/vmstat` and `/proc/zoneinfo` say about virtual memory.

use cgroup::Group;
use hostfs::HostFs;
use procfmt::num::parse_u64;
use procfmt::swaps::devices;
use procfmt::units::Bytes;
use view::{DirtyLimit, HostVm, Vm};

use crate::disks::device_number;
use crate::gather::{GatherError, number};

/// What of the host's virtual memory stays the same while the machine runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSizes {
    small: Bytes,
    /// Zero: this kernel has no transparent huge pages.
    huge: Bytes,
}

impl PageSizes {
    pub(crate) fn of_this_host(host: &HostFs) -> Result<Self, hostfs::Error> {
        let mut huge = Vec::new();
        match host.sys.read("kernel/mm/transparent_hugepage/hpage_pmd_size", &mut huge) {
            Err(error) if !error.is_absent() => return Err(error),
            _ => {}
        }
        let small = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
        let huge = parse_u64(huge.trim_ascii()).unwrap_or(0);
        Ok(Self { small: Bytes(small), huge: Bytes(huge) })
    }
}

/// `None`: no memory controller holds for the container.
pub(crate) fn vm(
    host: &HostFs,
    pages: PageSizes,
    group: &Group,
) -> Result<Option<Vm>, GatherError> {
    let Some(input) = group.vm()? else { return Ok(None) };
    let io = group.io()?.unwrap_or_default();
    let host = HostVm {
        page_size: pages.small,
        huge_page_size: pages.huge,
        dirty: dirty_limit(host, "sys/vm/dirty_ratio", "sys/vm/dirty_bytes")?,
        dirty_background: dirty_limit(
            host,
            "sys/vm/dirty_background_ratio",
            "sys/vm/dirty_background_bytes",
        )?,
        swap_devices: swap_devices(host)?,
    };
    Ok(Some(Vm::new(input, &io, host)))
}

fn dirty_limit(host: &HostFs, ratio: &str, bytes: &str) -> Result<DirtyLimit, hostfs::Error> {
    Ok(DirtyLimit {
        ratio: number(&host.kept_proc, ratio)?,
        bytes: Bytes(number(&host.kept_proc, bytes)?),
    })
}

/// The devices that are swap as a whole. The kernel counts I/O by disk, so a partition's share of
/// its disk's I/O is not known.
fn swap_devices(host: &HostFs) -> Result<Vec<(u32, u32)>, hostfs::Error> {
    let mut swaps = Vec::new();
    match host.kept_proc.read("swaps", &mut swaps) {
        Err(error) if error.is_absent() => return Ok(Vec::new()),
        read => read?,
    }
    Ok(devices(&swaps).filter_map(|name| disk(host, name)).collect())
}

/// The number of the disk `/dev/NAME`; `None` for a partition, and for a name that udev made.
fn disk(host: &HostFs, path: &[u8]) -> Option<(u32, u32)> {
    // sysfs writes a slash in a name as an exclamation mark.
    let name = std::str::from_utf8(path.strip_prefix(b"/dev/")?).ok()?.replace('/', "!");
    let mut text = Vec::new();
    host.sys.read(format!("block/{name}/dev"), &mut text).ok()?;
    device_number(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with two disks and this `/proc/swaps`.
    fn host(swaps: &str) -> (tempfile::TempDir, HostFs) {
        let tree = tempfile::tempdir().unwrap();
        let files = [
            ("proc/swaps", swaps),
            ("sys/block/vdb/dev", "254:16\n"),
            ("sys/block/cciss!c0d1/dev", "104:16\n"),
        ];
        for (path, text) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = HostFs::at(tree.path().join("proc"), tree.path().join("sys")).unwrap();
        (tree, host)
    }

    #[test]
    fn only_whole_disks_tell_about_swapping() {
        let header = "Filename\tType\tSize\tUsed\tPriority\n";
        let rows = "/dev/vdb partition 1 0 -1\n/dev/vda2 partition 1 0 -2\n/swap file 1 0 -3\n\
            /dev/cciss/c0d1 partition 1 0 -4\n/dev/../vdb partition 1 0 -5\n";
        let (_tree, swapping) = host(&format!("{header}{rows}"));
        assert_eq!(swap_devices(&swapping).unwrap(), [(254, 16), (104, 16)]);
        let (_tree, without) = host(header);
        assert_eq!(swap_devices(&without).unwrap(), []);
    }

    #[test]
    fn a_kernel_without_huge_pages_has_none() {
        let (_tree, host) = host("");
        let sizes = PageSizes::of_this_host(&host).unwrap();
        assert!(sizes.small.0 >= 4096 && sizes.huge == Bytes::ZERO);
    }
}
