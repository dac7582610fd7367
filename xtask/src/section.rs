//! Parts of a document that a command writes and nobody edits by hand: they stand between markers.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::repo;

/// What one run found, between the markers that say where in the document it belongs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// The document's path in the repository.
    document: &'static str,
    /// What the run was about; it is in both markers.
    key: String,
    body: String,
}

impl Section {
    /// A section whose text ends with a line feed.
    pub(crate) fn new(document: &'static str, key: &str, body: String) -> Self {
        Self { document, key: key.to_owned(), body }
    }

    /// The last section in what a run printed: a guest that stalled has been started anew.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn printed(document: &'static str, output: &str) -> Result<Self> {
        let start = output.rfind(BEGIN).context("the run has printed no table")?;
        let text = output.get(start + BEGIN.len()..).unwrap_or_default();
        let (key, rest) = text.split_once(" -->\n").context("a marker has no end")?;
        let section = Self::new(document, key, String::new());
        let (body, _) = rest.split_once(&section.end()).context("the table has no end")?;
        Ok(Self { body: body.to_owned(), ..section })
    }

    /// Puts this section into the document, in place of the one with its key.
    ///
    /// # Errors
    /// When the document cannot be read or written, or has no place for it.
    pub(crate) fn write(&self) -> Result<()> {
        let path = self.path();
        let shown = path.display();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        let text = self.put_into(&text).with_context(|| format!("in {shown}"))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {shown}"))?;
        eprintln!("{shown}: the section {} is written", self.key);
        Ok(())
    }

    /// Where the document is.
    pub(crate) fn path(&self) -> PathBuf {
        repo::root().join(self.document)
    }

    /// The document with this section in its place.
    ///
    /// # Errors
    /// When it has no place for it.
    pub(crate) fn put_into(&self, document: &str) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn section(key: &str, body: &str) -> Section {
        Section::new("README.md", key, body.to_owned())
    }

    #[test]
    fn a_section_is_found_in_what_a_stalled_and_a_second_guest_printed() {
        let output =
            format!("pass\n{}\nagain\n{}\n", section("v2", "old\n"), section("v2", "new\n"));
        assert_eq!(Section::printed("README.md", &output).unwrap(), section("v2", "new\n"));
        assert!(Section::printed("README.md", "nothing").is_err());
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
}
