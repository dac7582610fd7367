//! The client of the API server.

use kube::client::{ClientError, Event, Patch};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::run;

const NODE: &str = "/api/v1/nodes/one";

#[test]
fn objects_are_read_made_replaced_and_patched() {
    run(async {
        let server = ApiServer::start().await;
        let client = server.client();
        let node = json!({ "metadata": { "name": "one", "resourceVersion": "1" } });
        client.create::<Value>("/api/v1/nodes", &node).await.unwrap();
        let mut read: Value = client.get(NODE).await.unwrap();
        assert_eq!(read, node);
        let exists = client.create::<Value>("/api/v1/nodes", &node).await.unwrap_err();
        assert!(exists.is_conflict() && exists.to_string().contains("AlreadyExists"), "{exists}");

        read["spec"] = json!({ "taints": [{ "key": "a" }] });
        client.replace::<Value>(NODE, &read).await.unwrap();
        let late = client.replace::<Value>(NODE, &read).await.unwrap_err();
        assert!(late.is_conflict(), "{late}");

        let patch = |version: &str| {
            json!([
                { "op": "test", "path": "/metadata/resourceVersion", "value": version },
                { "op": "replace", "path": "/spec/taints", "value": [] },
            ])
        };
        let late = client.patch::<Value>(NODE, Patch::Json, &patch("1")).await.unwrap_err();
        assert!(late.is_conflict(), "{late}");
        let done: Value = client.patch(NODE, Patch::Json, &patch("2")).await.unwrap();
        assert_eq!(done["spec"]["taints"], json!([]));
        let merge = json!({ "spec": { "unschedulable": true } });
        let done: Value = client.patch(NODE, Patch::Merge, &merge).await.unwrap();
        assert_eq!(done["spec"], json!({ "taints": [], "unschedulable": true }));
    });
}

#[test]
fn a_refusal_says_what_was_asked_and_what_was_answered() {
    run(async {
        let server = ApiServer::start().await;
        let error = server.client().get::<Value>(NODE).await.unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(
            error.to_string(),
            "GET /api/v1/nodes/one: the API server answered 404 NotFound: no"
        );
    });
}

/// The kubelet replaces both while the process runs.
#[test]
fn token_and_ca_are_read_anew_for_each_request() {
    run(async {
        let server = ApiServer::start().await;
        server.put(NODE, json!({}));
        let client = server.client();
        let token = std::fs::read(server.file("token")).unwrap();
        std::fs::write(server.file("token"), "expired").unwrap();
        assert_eq!(client.get::<Value>(NODE).await.unwrap_err().status(), Some(401));
        std::fs::write(server.file("token"), token).unwrap();
        client.get::<Value>(NODE).await.unwrap();

        let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(server.file("ca.crt"), other.cert.pem()).unwrap();
        let error = client.get::<Value>(NODE).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
        std::fs::write(server.file("ca.crt"), "").unwrap();
        assert!(matches!(client.get::<Value>(NODE).await, Err(ClientError::NoCa(_))));
        std::fs::remove_file(server.file("ca.crt")).unwrap();
        let error = client.get::<Value>(NODE).await.unwrap_err().to_string();
        assert!(error.contains("ca.crt") && error.contains("automount"), "{error}");
    });
}

#[test]
fn a_watch_hands_out_events_and_says_when_to_list_again() {
    run(async {
        let server = ApiServer::start().await;
        server.put("/api/v1/namespaces/a", json!({ "metadata": { "name": "a" } }));
        server.put("/api/v1/namespaces/b", json!({ "metadata": { "name": "b" } }));
        let client = server.client();
        let mut watch = client.watch("/api/v1/namespaces", "1").await.unwrap();
        for name in ["a", "b"] {
            match watch.next().await.unwrap() {
                Some(Event::Added(object)) => assert_eq!(object["metadata"]["name"], name),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(watch.next().await.unwrap(), Some(Event::Bookmark(_))));
        assert!(watch.next().await.unwrap().is_none());

        let mut watch = client.watch("/api/v1/namespaces", "0").await.unwrap();
        let error = watch.next().await.unwrap_err();
        assert!(error.is_gone(), "{error}");
    });
}
