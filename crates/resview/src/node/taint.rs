//! The start-up taint: with it a node begins, and nobody is scheduled there before the view is.

use std::time::{Duration, Instant};

use anyhow::Context;
use kube::client::{Client, Patch};
use serde_json::{Value, json};

/// Between two attempts that fail, at first and at the most: every node asks.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A taint that is to go.
#[derive(Debug)]
pub(crate) struct Taint {
    key: String,
    node: String,
    /// When to try, and how long to wait after that.
    next: Instant,
    pause: Duration,
}

impl Taint {
    pub(crate) fn new(key: &str, node: &str) -> Self {
        let (key, node) = (key.to_owned(), node.to_owned());
        Self { key, node, next: Instant::now(), pause: PAUSE }
    }

    /// Takes it away; whether it is gone. It never comes back while the node is the same.
    pub(crate) fn is_gone(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now.checked_add(self.pause).unwrap_or(now);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        match self.take_away() {
            Ok(true) => tracing::info!(taint = self.key, "the node is ready"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(taint = self.key, "cannot take it from the node: {error:#}");
                return false;
            }
        }
        true
    }

    /// Whether it was there.
    fn take_away(&self) -> anyhow::Result<bool> {
        let path = format!("/api/v1/nodes/{}", self.node);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("cannot talk to the API server")?.block_on(async {
            let client = Client::in_cluster()?;
            let node: Value = client.get(&path).await?;
            let Some(patch) = without(&node, &self.key) else { return Ok(false) };
            let _: Value = client.patch(&path, Patch::Json, &patch).await?;
            Ok(true)
        })
    }
}

/// The patch that takes all taints of this key, whatever their effect; `None`: there is none. It
/// holds for this state of the node only, as others change taints too.
fn without(node: &Value, key: &str) -> Option<Value> {
    let taints = node["spec"]["taints"].as_array()?;
    let rest: Vec<&Value> = taints.iter().filter(|taint| taint["key"] != key).collect();
    let version = &node["metadata"]["resourceVersion"];
    (rest.len() < taints.len()).then(|| {
        json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": version },
            { "op": "replace", "path": "/spec/taints", "value": rest },
        ])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_taint_goes() {
        let ours = json!({ "key": "resview.dev/not-ready", "effect": "NoSchedule" });
        let more = json!({ "key": "resview.dev/not-ready", "effect": "NoExecute" });
        let other = json!({ "key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule" });
        let node = |taints: Value| json!({ "metadata": { "resourceVersion": "7" }, "spec": { "taints": taints } });
        let patch = without(&node(json!([ours, other, more])), "resview.dev/not-ready").unwrap();
        assert_eq!(patch[0]["value"], "7");
        assert_eq!(patch[1]["value"], json!([other]));
        assert_eq!(without(&node(json!([other])), "resview.dev/not-ready"), None);
        assert_eq!(without(&json!({ "spec": {} }), "resview.dev/not-ready"), None);
        assert_eq!(without(&json!(null), "x"), None);
    }
}
