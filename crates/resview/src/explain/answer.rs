//! An answer, as text.

use std::fmt::Write as _;

use serde::Serialize;

use super::sources::Source;

/// What is to be said of one line of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    /// As in the catalogue, or the path of one of its directories' files.
    pub(super) file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    /// What the container reads; `None`: it has no such line.
    pub(super) container: Option<String>,
    /// What the host's own file says.
    pub(super) host: Option<String>,
    /// virtual, host or absent.
    pub(super) policy: String,
    /// What it is made from, by docs/files; more than one where a line has parts.
    pub(super) made_from: Vec<String>,
    pub(super) unit: Option<String>,
    pub(super) if_missing: Option<String>,
    /// With the numbers put in; `None`: what it is made from says it all.
    pub(super) formula: Option<String>,
    pub(super) decided_by: Option<String>,
    /// The files that it is made from, and what they say.
    pub(super) files: Vec<Source>,
    pub(super) notes: Vec<String>,
}

impl Answer {
    /// As the control protocol says it.
    pub(super) fn into_api(self) -> api::Explanation {
        let level = |source: Source| {
            let key = source.key.map_or_else(String::new, |key| format!(" {key}"));
            let parent = source.file.parent().unwrap_or(&source.file);
            api::Level {
                cgroup: parent.display().to_string(),
                source: format!("{}{key}", source.file.display()),
                value: Some(source.value),
            }
        };
        let in_proc = !self.file.contains('/');
        api::Explanation {
            file: if in_proc { format!("proc/{}", self.file) } else { self.file },
            field: self.field.unwrap_or_default(),
            value: self.container.unwrap_or_default(),
            host: self.host,
            levels: self.files.into_iter().map(level).collect(),
            decided_by: self.decided_by,
            formula: self.formula.or_else(|| self.made_from.into_iter().next()),
        }
    }

    /// Names and values, one a line.
    pub(super) fn text(&self) -> String {
        let mut out = match &self.field {
            Some(field) => format!("{}:{field}\n", self.file),
            None => format!("{}\n", self.file),
        };
        let unit = self.unit.as_deref().filter(|unit| *unit != "–");
        let lines = [
            ("container", Some(self.container.as_deref().unwrap_or("not there"))),
            ("host", Some(self.host.as_deref().unwrap_or("not there"))),
            ("unit", unit),
            ("policy", Some(self.policy.as_str())),
            ("formula", self.formula.as_deref()),
            ("decided by", self.decided_by.as_deref()),
        ];
        for (name, value) in lines {
            if let Some(value) = value {
                line(&mut out, name, value);
            }
        }
        self.made_from.iter().for_each(|rule| line(&mut out, "made from", rule));
        if let Some(missing) = self.if_missing.as_deref().filter(|missing| *missing != "–") {
            line(&mut out, "if missing", missing);
        }
        for source in &self.files {
            let key = source.key.as_ref().map_or_else(String::new, |key| format!(" {key}"));
            line(&mut out, "file", &format!("{}{key} = {}", source.file.display(), source.value));
        }
        self.notes.iter().for_each(|note| line(&mut out, "note", note));
        out
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  {name:<12}{value}");
}

/// One row for each line of a file.
pub(super) fn listing(answers: &[Answer]) -> String {
    const WIDEST: usize = 60;
    let cut = |text: &str| {
        let mut text: String = text.chars().take(WIDEST).collect();
        if text.chars().count() == WIDEST {
            text.push('…');
        }
        text
    };
    let header = ["LINE", "CONTAINER", "HOST", "MADE FROM"].map(str::to_owned);
    let rows = answers.iter().map(|answer| {
        [
            answer.field.clone().unwrap_or_default(),
            cut(answer.container.as_deref().unwrap_or("not there")),
            cut(answer.host.as_deref().unwrap_or("not there")),
            cut(&answer.made_from.join("; ")),
        ]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
        out.push_str(cells.collect::<String>().trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_text_that_can_be_read() {
        let answer = Answer {
            file: "meminfo".to_owned(),
            field: Some("MemTotal".to_owned()),
            container: Some("64 kB".to_owned()),
            policy: "virtual".to_owned(),
            files: vec![Source { file: "/c/memory.max".into(), key: None, value: "65536".into() }],
            ..Answer::default()
        };
        let text = "meminfo:MemTotal\n  container   64 kB\n  host        not there\n  \
                    policy      virtual\n  file        /c/memory.max = 65536\n";
        assert_eq!(answer.text(), text);
        assert!(listing(&[answer]).starts_with("LINE      CONTAINER  HOST       MADE FROM\n"));
    }
}
