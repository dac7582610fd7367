//! `/proc/partitions`: the rows of the container's disks.

use procfmt::partitions::{HEADER, parse};

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
    // As on the kernel's own file: nothing at all where there is no block device, the header alone
    // where there are some and none of them is shown (it leaves out those without a medium).
    if !host.is_empty() {
        out.extend_from_slice(HEADER);
    }
    parse(host)
        .filter(|row| disks.counters(row.major, row.minor).is_some())
        .for_each(|row| row.write(out));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disks;

    #[test]
    fn only_the_containers_disks() {
        let host =
            b"major minor  #blocks  name\n\n   8        0     655360 sda\n   8        1     \
            262144 sda1\n 259        0      98304 my disk\n";
        let rendered = |mounted: Vec<(u32, u32)>| {
            let disks = Some(Disks::new(Vec::new(), mounted));
            let mut out = Vec::new();
            render(host, &ResourceView { disks, ..Default::default() }, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let expected = "major minor  #blocks  name\n\n 259        0      98304 my disk\n";
        assert_eq!(rendered(vec![(259, 0)]), expected);
        assert_eq!(rendered(vec![]).as_bytes(), HEADER);
    }

    #[test]
    fn a_machine_without_block_devices_has_no_header() {
        let disks = Some(Disks::new(Vec::new(), vec![(8, 0)]));
        let mut out = Vec::new();
        render(b"", &ResourceView { disks, ..Default::default() }, &mut out).unwrap();
        assert_eq!(out, b"");
    }
}
