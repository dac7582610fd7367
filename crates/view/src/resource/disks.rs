//! Which block devices the container sees, and its I/O on them.

use procfmt::diskstats::Counters;

use crate::input::DeviceIo;

/// The container's disks: those that it used or that hold its mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disks {
    /// Counters by device.
    io: Vec<DeviceIo>,
    /// Devices (major, minor) under the container's mounts.
    mounted: Vec<(u32, u32)>,
}

impl Disks {
    /// From the container's counters and the devices of its mounts.
    #[must_use]
    pub fn new(io: Vec<DeviceIo>, mounted: Vec<(u32, u32)>) -> Self {
        Self { io, mounted }
    }

    /// The container's counters on a device; `None` if it does not see the device.
    #[must_use]
    pub fn counters(&self, major: u32, minor: u32) -> Option<Counters> {
        let used = self.io.iter().find(|io| {
            (io.major, io.minor) == (major, minor) && (io.rios, io.wios, io.dios) != (0, 0, 0)
        });
        match used {
            Some(io) => Some(Counters {
                completed: [io.rios, io.wios, io.dios],
                sectors: [io.rbytes, io.wbytes, io.dbytes].map(|bytes| bytes.0 / 512),
            }),
            None => self.mounted.contains(&(major, minor)).then(Counters::default),
        }
    }
}

#[cfg(test)]
mod tests {
    use procfmt::units::Bytes;

    use super::*;

    #[test]
    fn only_used_and_mounted_devices_are_there() {
        let used =
            DeviceIo { major: 8, minor: 0, rios: 2, rbytes: Bytes(1024), ..Default::default() };
        let idle = DeviceIo { major: 8, minor: 16, ..Default::default() };
        let disks = Disks::new(vec![used, idle], vec![(254, 0)]);
        let counters = disks.counters(8, 0).unwrap();
        assert_eq!((counters.completed[0], counters.sectors[0]), (2, 2));
        assert_eq!(disks.counters(8, 16), None);
        assert_eq!(disks.counters(254, 0), Some(Counters::default()));
    }
}
