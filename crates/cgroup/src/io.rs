//! The io controller: what the container has read, written and discarded, by device.

use std::collections::BTreeMap;

use procfmt::keyed::{blkio, by_device};
use procfmt::units::Bytes;
use view::input::DeviceIo;

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::group::Group;
use crate::level::Level;

/// v1: who may count, the one that is right for a device first. Each has the files
/// `io_service_bytes_recursive` and `io_serviced_recursive`.
///
/// bfq counts where it schedules the device, `throttle` once anybody has set a throttling rule on
/// it, and the plain ones are those of CFQ, gone since Linux 5.0.
const V1_PREFIXES: [&str; 3] = ["blkio.bfq.", "blkio.throttle.", CFQ];
const CFQ: &str = "blkio.";

impl Group {
    /// I/O by device, in the order of the device numbers, cgroups below included. Without the
    /// controller nothing is known, hence the list is empty.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn io(&self) -> Result<Option<Vec<DeviceIo>>, Error> {
        self.walk(Controller::Io, |chain, hierarchy| match chain.version {
            Version::V1 => v1(&chain.own, hierarchy.has_cfq()),
            Version::V2 => v2(&chain.own),
        })
    }
}

type Devices = BTreeMap<(u32, u32), DeviceIo>;

fn v2(own: &Level) -> Result<Vec<DeviceIo>, Error> {
    let mut text = Vec::new();
    own.read("io.stat", &mut text)?;
    let mut devices = Devices::new();
    for line in by_device(&text) {
        let Some(line) = line else {
            let expected = "a device such as 8:0 at the beginning of each line";
            return Err(Error::unexpected(own.path_of("io.stat"), expected, &text));
        };
        let device = device_of(&mut devices, (line.major, line.minor));
        for (key, value) in line.pairs() {
            match key {
                b"rbytes" => device.rbytes = Bytes(value),
                b"wbytes" => device.wbytes = Bytes(value),
                b"dbytes" => device.dbytes = Bytes(value),
                b"rios" => device.rios = value,
                b"wios" => device.wios = value,
                b"dios" => device.dios = value,
                _ => {}
            }
        }
    }
    Ok(devices.into_values().collect())
}

fn v1(own: &Level, has_cfq: bool) -> Result<Vec<DeviceIo>, Error> {
    let mut devices = Devices::new();
    // Looking for files that are not there costs as much as reading those that are.
    let prefixes = V1_PREFIXES.into_iter().filter(|&prefix| prefix != CFQ || has_cfq);
    for prefix in prefixes {
        let mut found = Devices::new();
        read_v1(own, &format!("{prefix}io_service_bytes"), |device_key, operation, value| {
            let device = device_of(&mut found, device_key);
            match operation {
                b"Read" => device.rbytes = Bytes(value),
                b"Write" => device.wbytes = Bytes(value),
                b"Discard" => device.dbytes = Bytes(value),
                _ => {}
            }
        })?;
        read_v1(own, &format!("{prefix}io_serviced"), |device_key, operation, value| {
            let device = device_of(&mut found, device_key);
            match operation {
                b"Read" => device.rios = value,
                b"Write" => device.wios = value,
                b"Discard" => device.dios = value,
                _ => {}
            }
        })?;
        for (key, device) in found {
            devices.entry(key).or_insert(device);
        }
    }
    Ok(devices.into_values().collect())
}

/// Reads one v1 file; the one that leaves out the cgroups below where a kernel has no other.
fn read_v1(
    own: &Level,
    file: &str,
    mut each: impl FnMut((u32, u32), &[u8], u64),
) -> Result<(), Error> {
    let mut text = Vec::new();
    let recursive = format!("{file}_recursive");
    let file = if own.read(&recursive, &mut text)? {
        &recursive
    } else if own.read(file, &mut text)? {
        file
    } else {
        return Ok(());
    };
    for line in blkio(&text) {
        let Some(line) = line else {
            let expected = "a device, an operation and a number on each line";
            return Err(Error::unexpected(own.path_of(file), expected, &text));
        };
        each((line.major, line.minor), line.operation, line.value);
    }
    Ok(())
}

fn device_of(devices: &mut Devices, key: (u32, u32)) -> &mut DeviceIo {
    let (major, minor) = key;
    devices.entry(key).or_insert(DeviceIo { major, minor, ..DeviceIo::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, V1, V2};

    #[test]
    fn v2_diskstats_show_only_own_io() {
        let fake = Fake::new(V2);
        let text = "8:16 rbytes=1024 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n254:0\n";
        fake.files("unified/a", &[("io.stat", text)]);
        let io = fake.group("/a").io().unwrap().unwrap();
        let disk = DeviceIo {
            major: 8,
            minor: 16,
            rbytes: Bytes(1024),
            wbytes: Bytes(2),
            dbytes: Bytes(5),
            rios: 3,
            wios: 4,
            dios: 6,
        };
        assert_eq!(io, [disk, DeviceIo { major: 254, ..DeviceIo::default() }]);
        fake.files("unified/b", &[]);
        assert_eq!(fake.group("/b").io().unwrap(), Some(vec![]), "unknown, not the host's");
    }

    #[test]
    fn v1_takes_the_first_that_counts_a_device() {
        let fake = Fake::new(V1);
        fake.write("blkio/blkio.io_serviced", "");
        fake.files(
            "blkio/a",
            &[
                ("blkio.bfq.io_service_bytes_recursive", "8:0 Read 10\n8:0 Discard 1\nTotal 11\n"),
                ("blkio.bfq.io_serviced_recursive", "8:0 Read 2\nTotal 2\n"),
                ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 99\n9:1 Write 20\n"),
                ("blkio.throttle.io_serviced_recursive", "9:1 Write 3\n9:1 Sync 5\nTotal 0\n"),
                ("blkio.io_service_bytes", "7:0 Read 30\n"),
            ],
        );
        let io = fake.group("/a").io().unwrap().unwrap();
        let short: Vec<_> = io
            .iter()
            .map(|one| (one.major, one.rbytes.0, one.wbytes.0, one.rios, one.wios))
            .collect();
        assert_eq!(short, [(7, 30, 0, 0, 0), (8, 10, 0, 2, 0), (9, 0, 20, 0, 3)]);
        assert_eq!(io[1].dbytes, Bytes(1));
    }

    #[test]
    fn v1_without_throttle_rule_is_zero_not_host() {
        let fake = Fake::new(V1);
        fake.files("blkio/a", &[("blkio.throttle.io_service_bytes_recursive", "Total 0\n")]);
        assert_eq!(fake.group("/a").io().unwrap(), Some(vec![]));
    }

    #[test]
    fn garbage_is_an_error() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("io.stat", "sda rbytes=1\n")]);
        assert!(matches!(fake.group("/a").io().unwrap_err(), Error::Unexpected { .. }));
        let fake = Fake::new(V1);
        fake.files("blkio/a", &[("blkio.bfq.io_serviced_recursive", "8:0 Read\n")]);
        assert!(matches!(fake.group("/a").io().unwrap_err(), Error::Unexpected { .. }));
    }
}
