//! `/sys/block/NAME/{stat,inflight}`: the container's I/O on one disk, the numbers of its row in
//! `/proc/diskstats`. Source: Documentation/block/stat.rst, Documentation/ABI/stable/sysfs-block.

use procfmt::num::{fields, push_right};

use crate::ResourceView;
use crate::render::RenderError;

/// `stat`. A disk that has left the view since it was looked up has counted nothing.
pub(crate) fn stat(
    host: &[u8],
    device: Option<(u32, u32)>,
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(disks) = &view.disks else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let counters = device.and_then(|(major, minor)| disks.counters(major, minor));
    counters.unwrap_or_default().write_stat(host, out);
    Ok(())
}

/// `inflight`: not counted per cgroup, 0.
pub(crate) fn inflight(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    if view.disks.is_none() {
        out.extend_from_slice(host);
        return Ok(());
    }
    for (index, _) in fields(host).enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        push_right(out, 0, 8);
    }
    out.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Disks;
    use crate::input::DeviceIo;
    use crate::render::diskstats;
    use procfmt::units::Bytes;

    fn view(io: Vec<DeviceIo>) -> ResourceView {
        ResourceView { disks: Some(Disks::new(io, vec![(8, 16)])), ..Default::default() }
    }

    fn text(render: impl FnOnce(&mut Vec<u8>) -> Result<(), RenderError>) -> String {
        let mut out = Vec::new();
        render(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_own_io_is_shown() {
        let io =
            DeviceIo { major: 8, minor: 0, wios: 3, wbytes: Bytes(8192), ..Default::default() };
        let view = view(vec![io]);
        let host = b"      99       99       99       99       99       99       99       99\n";
        let stat = |device| text(|out| stat(host, device, &view, out));
        let own = "       0        0        0        0        3        0       16        0\n";
        assert_eq!(stat(Some((8, 0))), own);
        for other in [Some((8, 16)), Some((8, 32)), None] {
            assert!(!stat(other).bytes().any(|byte| (b'1'..=b'9').contains(&byte)));
        }
        let inflight = text(|out| inflight(b"       3       12\n", &view, out));
        assert_eq!(inflight, "       0        0\n");
    }

    #[test]
    fn without_a_view_of_its_own_the_host_is_unchanged() {
        let view = ResourceView::default();
        assert_eq!(text(|out| stat(b" 1  2\n", Some((8, 0)), &view, out)), " 1  2\n");
        assert_eq!(text(|out| inflight(b" 1  2\n", &view, out)), " 1  2\n");
    }

    proptest! {
        #[test]
        fn stat_agrees_with_proc_diskstats(
            rios: u64, wios: u64, rbytes: u64, dbytes: u64, columns in prop::sample::select(vec![11, 15, 17])
        ) {
            let io = DeviceIo {
                major: 8, minor: 0, rios, wios, rbytes: Bytes(rbytes), dbytes: Bytes(dbytes),
                ..Default::default()
            };
            let view = view(vec![io]);
            let host = " 77".repeat(columns);
            let row = text(|out| diskstats::render(format!("   8       0 sda{host}\n").as_bytes(), &view, out));
            let stat = text(|out| stat(host.as_bytes(), Some((8, 0)), &view, out));
            prop_assert_eq!(stat.split_whitespace().count(), columns);
            // A disk that was neither used nor mounted has no row.
            if !row.is_empty() {
                prop_assert!(row.split_whitespace().skip(3).eq(stat.split_whitespace()));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(host in prop::collection::vec(any::<u8>(), 0..300)) {
            let view = view(Vec::new());
            text(|out| stat(&host, Some((8, 16)), &view, out));
            text(|out| inflight(&host, &view, out));
        }
    }
}
