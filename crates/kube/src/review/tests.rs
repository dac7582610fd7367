//! Reviews as the API server sends them, and what the pod is after the patch.

mod bad_input;
mod defects;
mod patches;
mod properties;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::*;

pub(super) fn settings() -> Settings {
    Settings {
        files: Files::default(),
        source: Source {
            mountpoint: "/var/lib/resview".to_owned(),
            host_path_type: HostPathType::Checked,
        },
        id_mapped_mounts: false,
    }
}

/// A pod with one container as the API server has it after its defaults.
pub(super) fn plain_pod() -> Value {
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": { "generateName": "web-7d4-", "creationTimestamp": null },
        "spec": {
            "volumes": [{ "name": "kube-api-access", "projected": { "sources": [] } }],
            "containers": [{
                "name": "web",
                "image": "web:1",
                "resources": { "limits": { "memory": "256Mi" } },
                "volumeMounts": [{
                    "name": "kube-api-access",
                    "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                }],
            }],
        },
        "status": {},
    })
}

/// The review of a new pod.
pub(super) fn review(pod: &Value) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "namespace": "team-red",
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller" },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    })
}

/// The review of ephemeral containers that are added to a pod.
pub(super) fn ephemeral_review(pod: &Value, old: &Value) -> Value {
    let mut review = review(pod);
    review["request"]["operation"] = "UPDATE".into();
    review["request"]["subResource"] = "ephemeralcontainers".into();
    review["request"]["oldObject"] = old.clone();
    review
}

/// What was answered: the verdict and the response, whose form is checked.
pub(super) fn ask(review: &Value) -> (Verdict, Value) {
    ask_with(review, NamespaceLabel::Missing, &settings(), &Policy::default())
}

pub(super) fn ask_with(
    review: &Value,
    label: NamespaceLabel,
    settings: &Settings,
    policy: &Policy,
) -> (Verdict, Value) {
    let answer = answer(review.to_string().as_bytes(), label, settings, policy);
    let response = well_formed(&answer);
    assert_eq!(response["uid"], review["request"]["uid"]);
    (answer.verdict, response)
}

/// Checks what holds for each answer, and returns the response in it.
pub(super) fn well_formed(answer: &Answer) -> Value {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["kind"], "AdmissionReview");
    assert!(body["apiVersion"].as_str().unwrap().starts_with("admission.k8s.io/v"));
    let response = body["response"].clone();
    assert_eq!(response["allowed"], true);
    assert!(response["uid"].is_string());
    let has_patch = answer.verdict == Verdict::Patched;
    assert_eq!(response.get("patch").is_some(), has_patch);
    assert_eq!(response.get("patchType").is_some(), has_patch);
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let warning = warning.as_str().unwrap();
        assert!(warning.chars().count() <= 256 && !warning.contains(char::is_control), "{warning}");
    }
    response
}

/// The operations of an answer's patch.
pub(super) fn operations(response: &Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch");
    let text = BASE64_STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The pod of a review after the patch.
pub(super) fn patched(review: &Value, response: &Value) -> Value {
    let mut pod = review["request"]["object"].clone();
    let patch: json_patch::Patch = serde_json::from_value(operations(response)).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

/// The pod that a review becomes.
pub(super) fn becomes(review: &Value) -> Value {
    let (verdict, response) = ask(review);
    assert_eq!(verdict, Verdict::Patched, "{response}");
    patched(review, &response)
}

/// The paths at which a container mounts volumes of ours.
pub(super) fn our_paths(container: &Value) -> Vec<&str> {
    let mounts = container["volumeMounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = mounts
        .iter()
        .filter(|mount| mount["name"].as_str().is_some_and(|name| name.starts_with("resview-")));
    ours.map(|mount| mount["mountPath"].as_str().unwrap()).collect()
}

/// What a container gets that mounts nothing of its own there.
pub(super) const USUAL: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/sys/devices/system/cpu",
];
