//! `/sys/block/**` and `/sys/class/block/**`: the container's disks, in the latter with partitions
//! beside them. Programs walk these to find disks, and read `stat` there.
//!
//! Drivers put files of their own beside the block layer's, and some of these count what the whole
//! host does (`mm_stat` of zram, `md/sync_completed`). So what is not known here is not there.

use super::DISKS;
use super::sys::{Sys, machine, of_disk};
use crate::render::sys_block as render;

/// The policy for a path below the directory.
pub(super) fn policy(path: &str) -> Sys {
    let Some((disk, path)) = path.split_once('/') else { return Sys::OfDisk };
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match (is_partition(disk, first), rest) {
        (true, "") => Sys::OfDisk,
        (true, rest) => below_disk(rest),
        (false, _) => below_disk(path),
    }
}

/// `sda1` is of `sda`, `nvme0n1p1` of `nvme0n1`.
fn is_partition(disk: &str, name: &str) -> bool {
    let number = name.strip_prefix(disk).map(|rest| rest.strip_prefix('p').unwrap_or(rest));
    number.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn below_disk(path: &str) -> Sys {
    match path.split_once('/') {
        None => of_its_own(path),
        Some(("holders" | "slaves", name)) if !name.contains('/') => Sys::ToDisk,
        // What kind of disk it is, and nothing else: there the host's `stat` could be reached.
        Some(("device", "model" | "rev" | "type" | "vendor")) => Sys::Host,
        // Limits and settings of the queue, and a mapped device's name.
        Some(("queue" | "dm", _)) => Sys::Host,
        Some(_) => Sys::Absent,
    }
}

fn of_its_own(name: &str) -> Sys {
    match name {
        "stat" => of_disk(DISKS, render::stat),
        "inflight" => machine(DISKS, render::inflight),
        // sysstat takes a disk without it for a virtual one, and leaves it out of `sar -b`.
        "device" => Sys::Followed,
        "alignment_offset" | "cache_type" | "capability" | "dev" | "discard_alignment"
        | "diskseq" | "dm" | "events" | "events_async" | "events_poll_msecs" | "ext_range"
        | "hidden" | "holders" | "partition" | "partscan" | "queue" | "range" | "removable"
        | "ro" | "size" | "slaves" | "start" | "uevent" => Sys::Host,
        // `bdi` and `subsystem` lead out of the tree, to where the host's `stat` is.
        // `mq` tells how queues are spread over the host's CPUs, `trace` is a switch for root,
        // `serial` and `wwid` name a piece of the host's hardware.
        _ => Sys::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_partitions() {
        for path in ["sda", "cciss!c0d0", "my disk", "sda/sda1", "nvme0n1/nvme0n1p12", "7/7p1"] {
            assert!(matches!(policy(path), Sys::OfDisk), "{path}");
        }
        for path in ["sda/sda", "sda/sdb1", "sda/sda1x", "sda/sdap", "sda/1"] {
            assert!(matches!(policy(path), Sys::Absent), "{path}");
        }
    }

    #[test]
    fn what_counts_is_virtual() {
        for path in ["sda/stat", "sda/inflight", "sda/sda1/stat", "nvme0n1/nvme0n1p1/inflight"] {
            assert!(matches!(policy(path), Sys::Virtual(_)), "{path}");
        }
        for path in
            ["sda/size", "sda/queue", "sda/queue/iosched/x", "sda/sda1/start", "dm-0/dm/name"]
        {
            assert!(matches!(policy(path), Sys::Host), "{path}");
        }
    }

    #[test]
    fn links_lead_to_disks_of_the_tree_only() {
        for path in ["dm-0/slaves/sda", "sda/holders/dm-0", "sda/sda1/holders/dm-0"] {
            assert!(matches!(policy(path), Sys::ToDisk), "{path}");
        }
        assert!(matches!(policy("sda/device"), Sys::Followed));
        assert!(matches!(policy("sda/device/model"), Sys::Host));
        for path in
            ["sda/device/driver", "sda/subsystem", "sda/bdi", "sda/device/block", "sda/mq/0"]
        {
            assert!(matches!(policy(path), Sys::Absent), "{path}");
        }
    }

    #[test]
    fn counters_of_drivers_are_absent() {
        for path in ["zram0/mm_stat", "zram0/io_stat", "md0/md/sync_completed", "loop0/loop/offset"]
        {
            assert!(matches!(policy(path), Sys::Absent), "{path}");
        }
    }
}
