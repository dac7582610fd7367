//! Reviews to send.

use serde_json::{Value, json};

/// The review of a new pod with two containers, as the API server writes it.
pub(crate) fn review(uid: &str) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid,
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "team-red",
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller" },
            "object": {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": { "generateName": "web-7d4-", "labels": { "app": "web" } },
                "spec": {
                    "containers": [
                        { "name": "web", "image": "web:1", "resources": {}, "volumeMounts": [
                            { "name": "kube-api-access", "mountPath": "/var/run/secrets" } ] },
                        { "name": "mesh", "image": "mesh:1", "resources": {} },
                    ],
                    "volumes": [{ "name": "kube-api-access", "emptyDir": {} }],
                },
            },
            "oldObject": null,
            "dryRun": false,
        },
    })
}
