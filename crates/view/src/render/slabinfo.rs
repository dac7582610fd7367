//! `/proc/slabinfo`: the container's slabs where the kernel tells them, else a table without rows.

use procfmt::num::lines;

use crate::ResourceView;
use crate::render::RenderError;

/// The version, and the names of the columns.
const HEADER_LINES: usize = 2;

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    match &view.slabs {
        None => out.extend_from_slice(host),
        Some(own) if !own.is_empty() => out.extend_from_slice(own),
        Some(_) => {
            for line in lines(host).take(HEADER_LINES) {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabinfo_not_for_others() {
        let host = b"slabinfo - version: 2.1\n# name <active_objs>\ndentry 7 7 192\n";
        let rendered = |slabs: Option<&[u8]>| {
            let slabs = slabs.map(<[u8]>::to_vec);
            let mut out = Vec::new();
            render(host, &ResourceView { slabs, ..Default::default() }, &mut out).unwrap();
            out
        };
        assert_eq!(rendered(Some(b"")), b"slabinfo - version: 2.1\n# name <active_objs>\n");
        assert_eq!(rendered(Some(b"own\n")), b"own\n");
        assert_eq!(rendered(None), host, "the host's own");
    }
}
