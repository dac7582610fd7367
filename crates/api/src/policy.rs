//! What a container is to see: the part of the protocol that also comes as annotations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whether a container gets the view.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// It gets the view.
    On,
    /// It sees the host.
    Off,
}

/// How many CPUs a container sees; the command line's `--cpu-count`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuCount {
    /// The allowed ones.
    Cpuset,
    /// No more than the quota, rounded up.
    Quota,
    /// No more than the quota, rounded down, at least one.
    QuotaFloor,
    /// No more than the shares or the weight stand for.
    Shares,
}

/// Where a file's content comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileChoice {
    /// The host's own content.
    Host,
    /// The container's view.
    Virtual,
    /// No such file.
    Absent,
}

/// What one container is to see, where it differs from the daemon's options.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whether it gets the view; missing: as the daemon decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// How many CPUs it sees; missing: as the daemon was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_count: Option<CpuCount>,
    /// Files by their path without the leading slash, such as `proc/swaps`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileChoice>,
}

/// Why an annotation is no policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("annotation {key}={value:?} is not understood; use {expected}")]
pub struct PolicyError {
    /// The annotation.
    pub key: String,
    /// What it says.
    pub value: String,
    /// What it could say.
    pub expected: &'static str,
}

impl Policy {
    /// The annotation or label for [`Policy::view`]: `on` or `off`.
    pub const VIEW: &str = "resview.dev/view";
    /// For [`Policy::cpu_count`].
    pub const CPU_COUNT: &str = "resview.dev/cpu-count";
    /// For [`Policy::files`]: `swaps=host,vmstat=absent`.
    pub const FILES: &str = "resview.dev/files";

    /// The policy that annotations or labels ask for; other keys are somebody else's.
    ///
    /// # Errors
    /// The first annotation of ours that is not understood.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, PolicyError> {
        let (policy, errors) = Self::understood(annotations);
        errors.into_iter().next().map_or(Ok(policy), Err)
    }

    /// What is understood of annotations or labels, and what is not: for who cannot ask whoever
    /// wrote them. Of a list of files the ones that are understood count.
    #[must_use]
    pub fn understood(annotations: &BTreeMap<String, String>) -> (Self, Vec<PolicyError>) {
        let mut policy = Self::default();
        let mut errors = Vec::new();
        if let Some(value) = annotations.get(Self::VIEW) {
            let view = word(Self::VIEW, value, value, "on or off");
            policy.view = view.map_err(|error| errors.push(error)).ok();
        }
        if let Some(value) = annotations.get(Self::CPU_COUNT) {
            let expected = "cpuset, quota, quota-floor or shares";
            let count = word(Self::CPU_COUNT, value, value, expected);
            policy.cpu_count = count.map_err(|error| errors.push(error)).ok();
        }
        let files = annotations.get(Self::FILES).map(String::as_str).unwrap_or_default();
        for pair in files.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let expected = "FILE=host, FILE=virtual or FILE=absent, separated by commas";
            let (file, choice) = pair.split_once('=').unwrap_or((pair, ""));
            match word(Self::FILES, files, choice, expected) {
                Ok(choice) => drop(policy.files.insert(full_path(file), choice)),
                Err(error) => errors.push(error),
            }
        }
        (policy, errors)
    }
}

/// `swaps`, `proc/swaps` and `/proc/swaps` are the same file.
fn full_path(file: &str) -> String {
    let file = file.trim().trim_start_matches('/');
    if file.starts_with("proc/") || file.starts_with("sys/") {
        file.to_owned()
    } else {
        format!("proc/{file}")
    }
}

fn word<T: serde::de::DeserializeOwned>(
    key: &str,
    value: &str,
    word: &str,
    expected: &'static str,
) -> Result<T, PolicyError> {
    serde_json::from_value(serde_json::Value::from(word.trim())).map_err(|_| PolicyError {
        key: key.to_owned(),
        value: value.to_owned(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn annotations_say_what_a_container_sees() {
        let policy = Policy::from_annotations(&annotations(&[
            ("io.kubernetes.cri.container-name", "app"),
            (Policy::VIEW, "on"),
            (Policy::CPU_COUNT, "quota-floor"),
            (Policy::FILES, "swaps=host, /proc/vmstat=absent,sys/block=virtual,"),
        ]))
        .unwrap();
        assert_eq!(policy.view, Some(View::On));
        assert_eq!(policy.cpu_count, Some(CpuCount::QuotaFloor));
        let files = [
            ("proc/swaps", FileChoice::Host),
            ("proc/vmstat", FileChoice::Absent),
            ("sys/block", FileChoice::Virtual),
        ];
        let files = files.map(|(file, choice)| (file.to_owned(), choice));
        assert_eq!(policy.files, BTreeMap::from(files));
        assert_eq!(Policy::from_annotations(&BTreeMap::new()), Ok(Policy::default()));
    }

    #[test]
    fn a_misspelt_annotation_is_an_error_that_says_what_to_write() {
        for (key, value) in
            [(Policy::VIEW, "yes"), (Policy::CPU_COUNT, "4"), (Policy::FILES, "swaps")]
        {
            let error = Policy::from_annotations(&annotations(&[(key, value)])).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(key) && text.contains(value) && text.contains("use "), "{text}");
        }
    }
    #[test]
    fn what_is_understood_counts_beside_what_is_not() {
        let (policy, errors) = Policy::understood(&annotations(&[
            (Policy::VIEW, "yes"),
            (Policy::CPU_COUNT, "cpuset"),
            (Policy::FILES, "swaps, stat=host, loadavg=gone"),
        ]));
        assert_eq!((policy.view, policy.cpu_count), (None, Some(CpuCount::Cpuset)));
        let files = [("proc/stat".to_owned(), FileChoice::Host)];
        assert_eq!(policy.files, BTreeMap::from(files));
        let keys: Vec<_> = errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, [Policy::VIEW, Policy::FILES, Policy::FILES]);
    }
}
