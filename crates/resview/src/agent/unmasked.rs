//! Containers whose `/proc` nobody masks, such as privileged ones.
//!
//! They can mount a `/proc` of their own in a user namespace, and a file of ours would end that unless
//! their procfs is mounted once more beside it (see [`attach::Nesting`]). That is possible only in
//! the container's own root, so such a container is attached a moment after its hook: when its
//! runtime has changed the root. That is before its first instruction as long as the engine makes
//! and starts containers in two steps, as Docker, Podman and containerd do.

use std::path::Path;
use std::time::{Duration, Instant};

use api::Created;
use serde_json::Value;

use crate::mountinfo;

/// How long a runtime may take between its hook and the change of the root.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often to look.
const LOOK: Duration = Duration::from_millis(1);

/// Whether the container is one of those and does not have its root yet.
pub(super) fn has_to_wait(created: &Created) -> bool {
    created.root.is_some() && is_unmasked(created)
}

/// Whether the container's description masks nothing. One that cannot be read counts as masked:
/// most are.
fn is_unmasked(created: &Created) -> bool {
    let read = |bundle: &Path| {
        let text = std::fs::read(bundle.join("config.json")).ok()?;
        serde_json::from_slice::<Value>(&text).ok()
    };
    let Some(config) = created.bundle.as_deref().and_then(read) else { return false };
    let masked = config["linux"]["maskedPaths"].as_array();
    masked.is_none_or(Vec::is_empty)
}

/// Calls `body` on a thread of its own when the process has another root than now; not at all if it
/// ends before.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn when_it_has_its_root(
    pid: u32,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let before = root_of(pid);
    let thread = std::thread::Builder::new().name("unmasked".to_owned());
    let wait = move || {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match root_of(pid) {
                None => return,
                now if now != before => return body(),
                _ => std::thread::sleep(LOOK),
            }
        }
        tracing::warn!(pid, "its runtime does not change its root; it is not attached");
    };
    thread.spawn(wait).map(drop)
}

/// The mount that is the process's root, by its number; `None`: the process has ended.
fn root_of(pid: u32) -> Option<u64> {
    let text = std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    mountinfo::at(&mountinfo::parse(&text), Path::new("/")).map(|mount| mount.id)
}

/// What the engine is told meanwhile.
pub(super) const REASON: &str = "nothing masks its /proc: it gets the view once its runtime has \
                                 changed its root, so that it can still mount a /proc of its own";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_without_masks_is_unmasked() {
        let dir = tempfile::tempdir().unwrap();
        let created = |bundle: Option<&Path>| Created {
            pid: 1,
            root: Some("/r".into()),
            id: "c".to_owned(),
            bundle: bundle.map(Path::to_owned),
            ..Created::default()
        };
        assert!(!is_unmasked(&created(None)) && !is_unmasked(&created(Some(dir.path()))));
        for (text, unmasked) in [
            (r#"{"linux":{"maskedPaths":["/proc/keys"]}}"#, false),
            (r#"{"linux":{"maskedPaths":[]}}"#, true),
            (r#"{"linux":{}}"#, true),
            ("{", false),
        ] {
            std::fs::write(dir.path().join("config.json"), text).unwrap();
            assert_eq!(is_unmasked(&created(Some(dir.path()))), unmasked, "{text}");
        }
    }

    #[test]
    fn it_is_waited_for_a_change_of_the_root_and_not_for_one_that_has_ended() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        when_it_has_its_root(child.id(), move || sender.send(()).unwrap()).unwrap();
        assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        // The thread ends, and with it the sender.
        let ended = receiver.recv_timeout(Duration::from_secs(60));
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}
