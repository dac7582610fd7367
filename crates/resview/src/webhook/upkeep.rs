//! What goes on beside the answers: the certificate and the policy are looked at again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use kube::certificate::{Files, Keeper};
use kube::policy::Policy;
use kube::serve::Webhook;

use super::FILES_INTERVAL;
use super::health::Health;

/// Tells of a trouble once, not at each look while it lasts.
#[derive(Debug, Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn tell(&mut self, what: &str, error: &dyn std::fmt::Display) {
        let message = error.to_string();
        if self.0.as_ref() != Some(&message) {
            tracing::warn!("{what}: {message}");
            self.0 = Some(message);
        }
    }

    fn is_over(&mut self, what: &str) {
        if self.0.take().is_some() {
            tracing::info!("{what} again");
        }
    }
}

/// Keeps a certificate of our own, for ever.
pub(super) async fn keep_certificate(mut keeper: Keeper, health: Arc<Health>) {
    let mut trouble = Trouble::default();
    loop {
        let look = keeper.look(SystemTime::now()).await;
        match &look {
            Ok(_) => trouble.is_over("the certificate is looked after"),
            Err(error) => {
                health.metrics().renewal_failed();
                trouble.tell("the certificate cannot be looked after", error);
            }
        }
        if keeper.is_settled() {
            health.settled();
        }
        tokio::time::sleep(keeper.pause(look.as_ref().copied())).await;
    }
}

/// Reads given files of a certificate again, for ever.
pub(super) async fn refresh_certificate(mut files: Files, health: Arc<Health>) {
    let mut trouble = Trouble::default();
    loop {
        tokio::time::sleep(FILES_INTERVAL).await;
        match files.refresh(health.shown()) {
            Ok(true) => {
                tracing::info!("the certificate in the files has changed, and is shown");
                trouble.is_over("the certificate is read");
            }
            Ok(false) => {}
            Err(error) => {
                health.metrics().renewal_failed();
                trouble.tell("the certificate in the files cannot be used", &error);
            }
        }
    }
}

/// The file of the policy, and what was in it.
#[derive(Debug)]
pub(super) struct PolicyFile {
    path: Option<PathBuf>,
    seen: Vec<u8>,
}

impl PolicyFile {
    /// Without a path, the policy that holds without a file.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, seen: Vec::new() }
    }

    /// The policy that is in it.
    pub(super) fn read(&mut self) -> anyhow::Result<Policy> {
        let Some(path) = &self.path else { return Ok(Policy::default()) };
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let policy =
            Policy::parse(&text).with_context(|| format!("{} is no policy", path.display()))?;
        self.seen = text;
        Ok(policy)
    }

    /// The policy, if the file has changed.
    fn changed(&mut self) -> anyhow::Result<Option<Policy>> {
        let Some(path) = &self.path else { return Ok(None) };
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if text == self.seen { Ok(None) } else { self.read().map(Some) }
    }
}

/// Reads the policy again, for ever. One that is not understood changes nothing.
pub(super) async fn refresh_policy(mut file: PolicyFile, webhook: Arc<Webhook>) {
    let mut trouble = Trouble::default();
    loop {
        tokio::time::sleep(FILES_INTERVAL).await;
        match file.changed() {
            Ok(Some(policy)) => {
                webhook.set_policy(policy);
                tracing::info!("the policy has changed");
                trouble.is_over("the policy is read");
            }
            Ok(None) => {}
            Err(error) => trouble.tell("the policy stays as it was", &format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use api::View;

    use super::*;

    #[test]
    fn a_policy_that_changes_is_read_and_a_broken_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        std::fs::write(&path, r#"{"version":1,"default":"off"}"#).unwrap();
        let mut file = PolicyFile::new(Some(path.clone()));
        assert_eq!(file.read().unwrap().default, View::Off);
        assert!(file.changed().unwrap().is_none());
        std::fs::write(&path, r#"{"version":1,"defualt":"on"}"#).unwrap();
        assert!(file.changed().is_err());
        std::fs::write(&path, r#"{"version":1,"default":"on"}"#).unwrap();
        assert_eq!(file.changed().unwrap().unwrap().default, View::On);
        assert!(file.changed().unwrap().is_none());
        assert_eq!(PolicyFile::new(None).read().unwrap(), Policy::default());
    }
}
