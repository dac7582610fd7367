//! `deploy/Dockerfile`, taken apart: so that it is checked where there is no Docker, and an image can be made
//! from it there.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// Its text.
pub(super) const TEXT: &str = include_str!("../../../deploy/Dockerfile");

/// What an image of one binary consists of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recipe {
    /// A path in the context, and one in the image; folders end with `/`.
    pub(super) copies: Vec<(String, String)>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) user: String,
    pub(super) entrypoint: Vec<String>,
}

impl Recipe {
    /// Takes a Dockerfile apart, with `arguments` for its `ARG`s.
    ///
    /// # Errors
    /// When something is in it that has no place in an image of one binary: another base, a command, a shell, a
    /// download; when an argument has no value, or something is missing that has to be there.
    pub(super) fn read(text: &str, arguments: &[(&str, &str)]) -> Result<Self> {
        let mut recipe = Self::default();
        let mut declared = BTreeMap::new();
        let mut stages = 0;
        for line in logical_lines(text) {
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
            let rest = rest.trim();
            match word {
                "FROM" if rest == "scratch" => stages += 1,
                "ARG" => {
                    let (name, value) = argument(rest, arguments)?;
                    declared.insert(name, value);
                }
                "LABEL" => recipe.labels.extend(labels(&expanded(rest, &declared)?)?),
                "COPY" => recipe.copies.push(copy(&expanded(rest, &declared)?)?),
                "USER" => rest.clone_into(&mut recipe.user),
                "ENTRYPOINT" => {
                    recipe.entrypoint = serde_json::from_str(rest)
                        .with_context(|| format!("ENTRYPOINT {rest} would be run by a shell"))?;
                }
                _ => bail!("{word} {rest} has no place in an image of one binary"),
            }
        }
        if stages != 1 {
            bail!("{stages} times FROM scratch, and not once");
        }
        recipe.is_complete().map(|()| recipe)
    }

    fn is_complete(&self) -> Result<()> {
        for label in ["title", "description", "version", "licenses"] {
            let label = format!("org.opencontainers.image.{label}");
            if !self.labels.contains_key(&label) {
                bail!("the label {label} is missing");
            }
        }
        let id = self.user.split(':').next().unwrap_or_default();
        // The kubelet compares numbers only, and does not believe a name.
        if !id.parse::<u32>().is_ok_and(|id| id > 0) {
            bail!("USER {:?} is no number of a user besides root", self.user);
        }
        let program = self.entrypoint.first().context("no ENTRYPOINT")?;
        if !self.copies.iter().any(|(_, to)| to == program) {
            bail!("the ENTRYPOINT {program} is not copied");
        }
        Ok(())
    }
}

/// Lines without comments, those that end in `\` joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(part),
            None => lines.push(part.to_owned()),
        }
        goes_on = more;
    }
    lines
}

fn argument(declared: &str, given: &[(&str, &str)]) -> Result<(String, String)> {
    let (name, default) = declared.split_once('=').map_or((declared, None), |(a, b)| (a, Some(b)));
    let given = given.iter().find(|(of, _)| *of == name).map(|(_, value)| *value);
    let value = given.or(default).with_context(|| format!("ARG {name} has no value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `text` with the values of `${NAME}`.
fn expanded(text: &str, values: &BTreeMap<String, String>) -> Result<String> {
    let mut parts = text.split("${");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').with_context(|| format!("no }} in {text:?}"))?;
        let value = values.get(name).with_context(|| format!("no ARG {name} before {text:?}"))?;
        result.push_str(value);
        result.push_str(rest);
    }
    Ok(result)
}

/// `a="b c" d="e"`.
fn labels(text: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, value) = rest
            .split_once("=\"")
            .and_then(|(key, after)| Some((key, after.split_once('"')?)))
            .map(|(key, (value, after))| {
                rest = after.trim_start();
                (key, value)
            })
            .with_context(|| format!("LABEL {text}: not of the form key=\"value\""))?;
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

fn copy(text: &str) -> Result<(String, String)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [from, to] if to.starts_with('/') && !text.contains(['*', '?']) && !from.contains("..") => {
            Ok((from.to_owned(), to.to_owned()))
        }
        _ => bail!("COPY {text}: one path of the context, and one in the image"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &[(&str, &str)] = &[("TARGETARCH", "amd64"), ("VERSION", "1.2.3")];

    #[test]
    fn the_image_is_one_binary_that_is_not_roots() {
        let recipe = Recipe::read(TEXT, GIVEN).unwrap();
        assert_eq!(recipe.labels["org.opencontainers.image.version"], "1.2.3");
        assert_eq!(recipe.entrypoint, ["/resview"]);
        let binary = ("dist/amd64/resview".to_owned(), "/resview".to_owned());
        assert!(recipe.copies.contains(&binary), "{recipe:?}");
    }

    #[test]
    fn an_architecture_has_to_be_named() {
        let error = Recipe::read(TEXT, &[("VERSION", "1")]).unwrap_err().to_string();
        assert_eq!(error, "ARG TARGETARCH has no value");
    }

    #[test]
    fn what_has_no_place_in_it_is_found() {
        for (from, to, says) in [
            ("FROM scratch", "FROM debian:latest", "FROM debian:latest has no place"),
            ("FROM scratch", "FROM scratch\nFROM scratch", "2 times"),
            ("USER 65532:65532", "USER root", "besides root"),
            ("USER 65532:65532", "USER 0", "besides root"),
            ("USER 65532:65532", "RUN id", "RUN id has no place"),
            ("ENTRYPOINT [\"/resview\"]", "ENTRYPOINT /resview", "by a shell"),
            ("ENTRYPOINT [\"/resview\"]", "ENTRYPOINT [\"/bin/sh\"]", "is not copied"),
            ("COPY licenses/ /licenses/", "ADD https://x.example/a /a", "ADD https"),
            ("COPY licenses/ /licenses/", "COPY * /", "one path"),
            ("ARG VERSION=0.0.0", "", "no ARG VERSION"),
            ("image.title=", "image.titel=", "image.title is missing"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let error = Recipe::read(&TEXT.replace(from, to), GIVEN).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{to}: {error:#}");
        }
    }
}
