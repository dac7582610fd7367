//! `docs/conformance.md`: its tables stand between markers and come from the checks themselves.

use anyhow::Result;
use testkit::Layout;

use super::Measured;
use crate::platform;
use crate::section::Section;

/// The document's path in the repository.
pub(super) const PAGE: &str = "docs/conformance.md";

/// The text for what was measured on this machine.
///
/// # Errors
/// When the machine does not say what it is.
pub(super) fn section(consumers: bool, measured: &Measured) -> Result<Section> {
    let mut body = format!("{}\n\n", platform::sentence()?);
    body.push_str(&conformance::markdown(&measured.columns));
    if !measured.absent.is_empty() {
        body.push_str("\nOn this machine do not work:\n\n");
    }
    for told in &measured.absent {
        body.push_str(&format!("- {told}\n"));
    }
    if let Some(table) = &measured.by_system_call {
        body.push_str(&format!("\n{table}"));
    }
    let key = if consumers { "consumers" } else { name(testkit::layout()) };
    Ok(Section::new(PAGE, key, body))
}

fn name(layout: Layout) -> &'static str {
    match layout {
        Layout::V1 => "v1",
        Layout::Hybrid => "hybrid",
        Layout::V2 => "v2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_place_for_every_run() {
        for key in ["v1", "hybrid", "v2", "consumers"] {
            let section = Section::new(PAGE, key, String::new());
            let document = std::fs::read_to_string(section.path()).unwrap();
            section.put_into(&document).unwrap();
        }
    }
}
