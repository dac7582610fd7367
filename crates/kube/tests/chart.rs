//! What `deploy/` says beside the code has to be what the code says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use api::View;
use kube::policy::{Pod, Policy};
use kube::review::{Files, HostPathType, MOUNTABLE, Source};

const NRI: &str = include_str!("../../../deploy/manifests/nri.yaml");
const POLICY: &str = include_str!("../../../deploy/manifests/mutating-admission-policy.yaml");
const WEBHOOK: &str = include_str!("../../../deploy/manifests/webhook.yaml");
const SCHEMA: &str = include_str!("../../../deploy/helm/resview/values.schema.json");

/// The lines below `head` that are further in than it.
fn block<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| line.trim() != head);
    let outside = indent(lines.next().unwrap_or_else(|| panic!("no {head:?}")));
    lines.take_while(|line| line.trim().is_empty() || indent(line) > outside).collect()
}

/// What stands between single quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('\'').skip(1).step_by(2)
}

#[test]
fn the_charts_policy_is_what_holds_without_one() {
    for manifest in [NRI, WEBHOOK, POLICY] {
        let text = block(manifest, "policy.json: |").concat();
        assert_eq!(Policy::parse(text.as_bytes()).unwrap(), Policy::default());
    }
}

#[test]
fn the_admission_policy_knows_the_annotations_of_others() {
    let expression = block(POLICY, "- name: saidToOthers").concat();
    let list = expression.split_once('[').unwrap().1.split_once(']').unwrap().0;
    let keys: Vec<&str> = quoted(list).collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    let all = |value: &str| keys.iter().map(|key| ((*key).to_owned(), value.to_owned())).collect();
    // Each is known to the code, and the first one that is there counts.
    for key in &keys {
        let annotations = [((*key).to_owned(), " No ".to_owned())].into();
        let pod = Pod { namespace: "a", annotations: &annotations, ..Default::default() };
        assert_eq!(Policy::default().decide(&pod).view, View::Off, "{key}");
    }
    let annotations = all("false");
    let pod = Pod { namespace: "a", annotations: &annotations, ..Default::default() };
    let because = Policy::default().decide(&pod).because;
    assert!(because.contains(keys[0]), "{because} is not by {}", keys[0]);
}

#[test]
fn the_admission_policy_mounts_what_the_webhook_mounts() {
    let files = block(POLICY, "- name: files");
    let files: Vec<Vec<&str>> = files
        .iter()
        .filter(|line| line.contains("'volume'"))
        .map(|line| quoted(line).collect())
        .collect();
    let mut of_webhook = Vec::new();
    let source =
        Source { mountpoint: "/var/lib/resview".to_owned(), host_path_type: HostPathType::Checked };
    for line in &files {
        let ["volume", volume, "name", _, "path", path, "host", host, "type", kind] = line[..]
        else {
            panic!("{line:?}")
        };
        let file = MOUNTABLE.iter().find(|file| format!("/{}", file.path) == path).unwrap();
        assert_eq!(file.volume, volume);
        assert_eq!(host, format!("{}{path}", source.mountpoint));
        assert_eq!(kind, if path.ends_with("/cpu") { "Directory" } else { "File" });
        of_webhook.push(file.path);
    }
    let list: Files = of_webhook.join(",").parse().unwrap();
    assert_eq!(list, Files::default());
    let argument = format!("- --files={}", of_webhook.join(","));
    assert!(WEBHOOK.lines().any(|line| line.trim() == argument), "{argument}");
}

#[test]
fn the_charts_schema_has_every_file_that_can_be_mounted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let allowed = &schema["properties"]["inject"]["properties"]["files"]["items"]["enum"];
    let allowed: BTreeSet<&str> =
        allowed.as_array().unwrap().iter().filter_map(|it| it.as_str()).collect();
    assert_eq!(allowed, MOUNTABLE.iter().map(|file| file.path).collect());
}
