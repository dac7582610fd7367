//! `docs/conformance.md`: its tables stand between markers and come from the checks themselves.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use testkit::Layout;

use super::Measured;
use crate::repo;

/// What one run of the checks found, between the markers that say where in the document it belongs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// The cgroup layout, or what else the run was about.
    key: String,
    body: String,
}

impl Section {
    /// The text for what was measured on this machine.
    ///
    /// # Errors
    /// When the machine does not say what it is.
    pub(crate) fn of(consumers: bool, measured: &Measured) -> Result<Self> {
        let layout = testkit::layout();
        let mut body = format!("{}\n\n", platform(layout)?);
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
        let key = if consumers { "consumers".to_owned() } else { name(layout).to_owned() };
        Ok(Self { key, body })
    }

    /// The last section in what a run printed: a guest that stalled has been started anew.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn printed(output: &str) -> Result<Self> {
        let start = output.rfind(BEGIN).context("the run has printed no table")?;
        let text = output.get(start + BEGIN.len()..).unwrap_or_default();
        let (key, rest) = text.split_once(" -->\n").context("a marker has no end")?;
        let section = Self { key: key.to_owned(), body: String::new() };
        let (body, _) = rest.split_once(&section.end()).context("the table has no end")?;
        Ok(Self { body: body.to_owned(), ..section })
    }

    /// Puts this section into the document, in place of the one with its key.
    ///
    /// # Errors
    /// When the document cannot be read or written, or has no place for it.
    pub(crate) fn write(&self) -> Result<()> {
        let path = path();
        let shown = path.display();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        let text = self.put_into(&text).with_context(|| format!("in {shown}"))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {shown}"))?;
        eprintln!("{shown}: the section {} is written", self.key);
        Ok(())
    }

    fn put_into(&self, document: &str) -> Result<String> {
        let (begin, end) = (self.begin(), self.end());
        let Some((before, rest)) = document.split_once(&begin) else {
            bail!("there is no line {begin}");
        };
        let (old, after) = rest.split_once(&end).context("a marker has no end")?;
        ensure!(!old.contains(BEGIN), "the end marker of {} is missing", self.key);
        Ok(format!("{before}{self}{after}"))
    }

    fn begin(&self) -> String {
        format!("{BEGIN}{} -->\n", self.key)
    }

    fn end(&self) -> String {
        format!("<!-- end of {} -->", self.key)
    }
}

const BEGIN: &str = "<!-- measured: ";

impl Display for Section {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.begin(), self.body, self.end())
    }
}

fn path() -> PathBuf {
    repo::root().join("docs/conformance.md")
}

fn name(layout: Layout) -> &'static str {
    match layout {
        Layout::V1 => "v1",
        Layout::Hybrid => "hybrid",
        Layout::V2 => "v2",
    }
}

/// What the checks ran on, in a sentence.
fn platform(layout: Layout) -> Result<String> {
    let read = |path| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let numbers = kernel.split(|sign: char| !sign.is_ascii_digit() && sign != '.');
    let kernel = numbers.into_iter().next().unwrap_or_default();
    let meminfo = read("/proc/meminfo")?;
    let gib = |key: &str| -> Result<String> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        let kib = kib.with_context(|| format!("/proc/meminfo has no {key}"))?;
        Ok(format!("{:.1} GiB", kib / f64::from(1 << 20)))
    };
    let layout = match layout {
        Layout::V1 => "cgroup v1 alone",
        Layout::Hybrid => "controllers on cgroup v1 beside a cgroup2 mount (hybrid)",
        Layout::V2 => "pure cgroup v2",
    };
    let cpus = std::thread::available_parallelism()?;
    let (memory, swap) = (gib("MemTotal")?, gib("SwapTotal")?);
    Ok(format!(
        "Linux {}, {layout}, {cpus} CPUs, {memory} of memory, {swap} of swap.",
        kernel.trim_end_matches('.')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(key: &str, body: &str) -> Section {
        Section { key: key.to_owned(), body: body.to_owned() }
    }

    #[test]
    fn a_section_is_found_in_what_a_stalled_and_a_second_guest_printed() {
        let output =
            format!("pass\n{}\nagain\n{}\n", section("v2", "old\n"), section("v2", "new\n"));
        assert_eq!(Section::printed(&output).unwrap(), section("v2", "new\n"));
        assert!(Section::printed("nothing").is_err());
    }

    #[test]
    fn only_the_section_of_that_key_is_replaced() {
        let document =
            format!("# A\n{}\n\n## B\n{}\nend\n", section("v1", "1\n"), section("v2", "2\n"));
        let text = section("v2", "new\n").put_into(&document).unwrap();
        let both =
            format!("# A\n{}\n\n## B\n{}\nend\n", section("v1", "1\n"), section("v2", "new\n"));
        assert_eq!(text, both);
        assert!(section("v3", "").put_into(&document).is_err());
        let broken = document.replace("<!-- end of v1 -->", "");
        assert!(section("v1", "").put_into(&broken).is_err());
    }

    #[test]
    fn the_document_has_a_place_for_every_run() {
        let document = std::fs::read_to_string(path()).unwrap();
        for key in ["v1", "hybrid", "v2", "consumers"] {
            section(key, "").put_into(&document).unwrap();
        }
    }
}
