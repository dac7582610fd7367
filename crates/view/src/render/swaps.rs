//! `/proc/swaps`: one row `none … virtual` for the container's swap, or the header alone. The
//! host's devices are never named.

use procfmt::swaps::{Area, HEADER};
use procfmt::units::Kib;

use crate::ResourceView;
use crate::render::RenderError;

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(memory) = &view.memory else {
        out.extend_from_slice(host);
        return Ok(());
    };
    out.extend_from_slice(HEADER);
    if memory.swap_total > Kib::ZERO {
        let used = memory.swap_total.saturating_sub(memory.swap_free);
        let area =
            Area { name: "none", kind: "virtual", size: memory.swap_total, used, priority: 0 };
        area.write(out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[test]
    fn swap_header_on_every_error() {
        let view = ResourceView { memory: Some(Memory::default()), ..Default::default() };
        let mut out = Vec::new();
        render(b"", &view, &mut out).unwrap();
        assert_eq!(out, HEADER);
    }

    #[test]
    fn swaps_and_meminfo_agree() {
        let memory = Memory { swap_total: Kib(100), swap_free: Kib(70), ..Default::default() };
        let view = ResourceView { memory: Some(memory), ..Default::default() };
        let mut out = Vec::new();
        render(b"", &view, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("virtual\t\t100\t\t30\t\t0\n"), "{text}");
    }
}
