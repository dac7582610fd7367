//! `/proc/diskstats`: the rows of the container's disks, with its own I/O.

use procfmt::diskstats::parse;

use crate::ResourceView;
use crate::render::RenderError;

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(disks) = &view.disks else {
        out.extend_from_slice(host);
        return Ok(());
    };
    for row in parse(host) {
        if let Some(counters) = disks.counters(row.major, row.minor) {
            row.write_with(&counters, out);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use procfmt::units::Bytes;

    use super::*;
    use crate::Disks;
    use crate::input::DeviceIo;

    #[test]
    fn v2_diskstats_show_only_own_io() {
        let io =
            DeviceIo { major: 8, minor: 0, rios: 3, rbytes: Bytes(8192), ..Default::default() };
        let disks = Disks::new(vec![io], vec![(8, 16)]);
        let view = ResourceView { disks: Some(disks), ..Default::default() };
        let host = b"   8       0 sda 99 99 99 99 99 99 99 99 99 99 99\n\
            \x20  8      16 sdb 99 99 99 99 99 99 99 99 99 99 99\n\
            \x20  8      32 sdc 99 99 99 99 99 99 99 99 99 99 99\n";
        let mut out = Vec::new();
        render(host, &view, &mut out).unwrap();
        let expected =
            "   8       0 sda 3 0 16 0 0 0 0 0 0 0 0\n   8      16 sdb 0 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
