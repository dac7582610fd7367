//! What namespaces say about the view, from the API server to a file for the plugin, to which NRI
//! does not tell it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kube::client::{Client, ClientError, Event};
use kube::policy::NamespaceViews;
use serde_json::Value;

use super::files;

/// Only those that say something: a cluster may have thousands that do not.
const PATH: &str = "/api/v1/namespaces?labelSelector=resview.dev%2Fview";
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// … at the most. Each node tries, so they must not all do at once, nor often.
const PAUSE_MAX: Duration = Duration::from_secs(120);

/// Keeps the file at `path` as the cluster says, from now on.
///
/// # Errors
/// This is no pod, or there can be no more threads.
pub(crate) fn watch(path: PathBuf) -> anyhow::Result<()> {
    let client = Client::in_cluster()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot watch namespaces")?;
    let work = move || runtime.block_on(for_ever(&client, &path));
    let thread = std::thread::Builder::new().name("namespaces".to_owned()).spawn(work);
    thread.map(drop).context("cannot watch namespaces")
}

async fn for_ever(client: &Client, path: &std::path::Path) {
    let mut pause = PAUSE;
    loop {
        let mut has_listed = false;
        let mut tell = |views: &NamespaceViews| {
            has_listed = true;
            write(path, views)
        };
        if let Err(error) = follow(client, &mut tell).await {
            let again = error.downcast_ref::<ClientError>().is_some_and(ClientError::is_gone);
            if !again {
                tracing::warn!("namespaces: {error:#}; the file keeps what it has");
            }
        }
        pause = if has_listed { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
        tokio::time::sleep(pause.mul_f64(spread())).await;
    }
}

/// Between one and two, another for each process: all nodes lose the API server at the same moment.
fn spread() -> f64 {
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos();
    1.0 + f64::from(nanos % 1000) / 1000.0
}

/// Lists, and goes on with what changes, until the connection breaks.
async fn follow(
    client: &Client,
    tell: &mut impl FnMut(&NamespaceViews) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Version 0: what the API server has in its memory.
    let list: Value = client.get(&format!("{PATH}&resourceVersion=0")).await?;
    let mut views = NamespaceViews::default();
    for namespace in list["items"].as_array().into_iter().flatten() {
        note(&mut views, namespace, true);
    }
    let mut version = version_of(&list).context("the list has no version")?;
    tell(&views)?;
    loop {
        let mut watch = client.watch(PATH, &version).await?;
        while let Some(event) = watch.next().await? {
            let before = views.clone();
            let namespace = take(&mut views, &event);
            version = version_of(namespace).unwrap_or(version);
            if views != before {
                tell(&views)?;
            }
        }
    }
}

/// Notes what has happened; to which namespace.
fn take<'a>(views: &mut NamespaceViews, event: &'a Event) -> &'a Value {
    match event {
        Event::Added(namespace) | Event::Modified(namespace) => {
            note(views, namespace, true);
            namespace
        }
        // Also one that has lost its label.
        Event::Deleted(namespace) => {
            note(views, namespace, false);
            namespace
        }
        Event::Bookmark(object) | Event::Error(object) => object,
    }
}

fn note(views: &mut NamespaceViews, namespace: &Value, is_there: bool) {
    let metadata = &namespace["metadata"];
    let Some(name) = metadata["name"].as_str() else { return };
    match metadata["labels"][api::Policy::VIEW].as_str() {
        Some(view) if is_there => drop(views.views.insert(name.to_owned(), view.to_owned())),
        _ => drop(views.views.remove(name)),
    }
}

fn version_of(object: &Value) -> Option<String> {
    object["metadata"]["resourceVersion"].as_str().map(str::to_owned)
}

fn write(path: &std::path::Path, views: &NamespaceViews) -> anyhow::Result<()> {
    files::replace(path, &serde_json::to_vec(views)?, 0o644).map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace(name: &str, view: Option<&str>) -> Value {
        json!({ "metadata": { "name": name, "resourceVersion": "9", "labels": { "resview.dev/view": view } } })
    }

    #[test]
    fn the_file_follows_what_happens() {
        let mut views = NamespaceViews::default();
        let mut happens = |event: Event| {
            assert_eq!(version_of(take(&mut views, &event)).as_deref(), Some("9"));
            views.views.iter().map(|(name, view)| format!("{name}={view}")).collect::<Vec<_>>()
        };
        assert_eq!(happens(Event::Added(namespace("red", Some("on")))), ["red=on"]);
        assert_eq!(happens(Event::Added(namespace("blue", Some("off")))), ["blue=off", "red=on"]);
        assert_eq!(
            happens(Event::Modified(namespace("red", Some("off")))),
            ["blue=off", "red=off"]
        );
        assert_eq!(happens(Event::Modified(namespace("red", None))), ["blue=off"]);
        assert_eq!(happens(Event::Deleted(namespace("blue", Some("off")))), [""; 0]);
        assert_eq!(happens(Event::Bookmark(namespace("blue", Some("off")))), [""; 0]);
    }

    #[test]
    fn what_is_no_namespace_changes_nothing() {
        let mut views = NamespaceViews::default();
        take(&mut views, &Event::Added(json!({ "metadata": { "name": 3 } })));
        take(&mut views, &Event::Added(Value::Null));
        assert_eq!(views, NamespaceViews::default());
        assert_eq!(version_of(&Value::Null), None);
    }

    #[test]
    fn the_plugin_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("namespaces.json");
        let mut views = NamespaceViews::default();
        note(&mut views, &namespace("red", Some("on")), true);
        write(&path, &views).unwrap();
        assert_eq!(NamespaceViews::parse(&std::fs::read(&path).unwrap()).unwrap(), views);
    }
}
