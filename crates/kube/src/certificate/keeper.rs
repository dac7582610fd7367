//! Makes, shares, publishes and renews the webhook's own certificate.
//!
//! Every replica does the same, at its own pace and without a leader: look at the Secret; if there is
//! nothing that can be served or it is due, put a new pair there, which succeeds for one of them; see
//! to it that the configuration trusts the CA; and show the new leaf when the API servers have had
//! time to hear of that. As the CA before stays in the bundle, replicas may change over at different
//! moments, and no handshake fails.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::CertificateDer;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{CertificateError, Names, Pair, Shown, Stored};
use crate::client::{Client, ClientError, Patch};

/// The objects in the cluster that are used.
#[derive(Clone, Debug)]
pub struct Objects {
    /// The Secret that the replicas share; it must exist, and may be empty.
    pub secret: String,
    /// The MutatingWebhookConfiguration.
    pub configuration: String,
    /// The Service through which the API server calls; Secret and Service are in one namespace.
    pub names: Names,
}

impl Objects {
    fn secret_path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.names.namespace(), self.secret)
    }

    fn configuration_path(&self) -> String {
        let all = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        format!("{all}/{}", self.configuration)
    }
}

/// How fast things go, which follows from a certificate's life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// How long a certificate holds. It is renewed when two thirds of that are over.
    pub life: Duration,
    /// How often to look.
    pub interval: Duration,
    /// How long API servers have to hear of a new CA before its leaf is shown.
    pub settle: Duration,
}

impl Pace {
    /// For a certificate's life: every 15 s a look and 10 s to settle, and less if the life is a matter
    /// of minutes.
    #[must_use]
    pub fn of(life: Duration) -> Self {
        let second = Duration::from_secs(1);
        Self {
            life,
            interval: (life / 60).clamp(second, 15 * second),
            settle: (life / 30).clamp(second, 10 * second),
        }
    }
}

/// Why a look came to nothing. The next one may be better.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The API server is not reachable, or did not let us.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A new certificate cannot be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The configuration is somebody else's.
    #[error("configuration {configuration} has no webhook that calls Service {service}")]
    NotOurs {
        /// The MutatingWebhookConfiguration.
        configuration: String,
        /// The Service, with its namespace.
        service: String,
    },
}

/// What a look came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// The leaf in the Secret is the one that is shown.
    Shown,
    /// There is a new leaf, and its CA has been published too recently to show it.
    Settling,
    /// Another replica changed something at the same moment: look again at once.
    Again,
}

/// One replica's part in it.
#[derive(Debug)]
pub struct Keeper {
    client: Client,
    objects: Objects,
    pace: Pace,
    shown: Arc<Shown>,
    /// The CA of the leaf in the Secret, and since when it is known to be published.
    published: Option<(CertificateDer<'static>, Instant)>,
}

impl Keeper {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(client: Client, objects: Objects, pace: Pace, shown: Arc<Shown>) -> Self {
        Self { client, objects, pace, shown, published: None }
    }

    /// Looks once, and does what is needed.
    ///
    /// # Errors
    /// As [`KeeperError`] says. What is shown goes on being shown.
    pub async fn look(&mut self, now: SystemTime) -> Result<Look, KeeperError> {
        // The configuration first: a patch made from an older Secret then fails, since whoever wrote
        // the newer one has changed the configuration after this.
        let configuration: Value = self.client.get(&self.objects.configuration_path()).await?;
        let secret: Value = self.client.get(&self.objects.secret_path()).await?;
        let stored = match Stored::read(&secret, &self.objects.names, now) {
            Ok(stored) if !stored.is_due(now) => stored,
            found => {
                match found {
                    Ok(_) => tracing::info!("two thirds of the certificate's life are over"),
                    Err(error) => tracing::info!(%error, "the Secret has no certificate to serve"),
                }
                match self.renew(secret, now).await? {
                    Some(stored) => stored,
                    None => return Ok(Look::Again),
                }
            }
        };
        if !self.publish(&configuration, &stored).await? {
            return Ok(Look::Again);
        }
        Ok(self.settle(stored, now))
    }

    /// Puts a new pair into the Secret; `None`: another replica did.
    async fn renew(
        &self,
        mut secret: Value,
        now: SystemTime,
    ) -> Result<Option<Stored>, KeeperError> {
        let names = &self.objects.names;
        let pair = Pair::make(names, now, self.pace.life)?;
        let stored = Stored::renew(pair, &secret, names, now)?;
        secret["data"] = stored.data();
        match self.client.replace::<IgnoredAny>(&self.objects.secret_path(), &secret).await {
            Ok(_) => {
                tracing::info!(secret = self.objects.secret, "a new certificate is in the Secret");
                Ok(Some(stored))
            }
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sees to it that the configuration trusts the stored leaf; `false`: somebody changed it at the
    /// same moment.
    async fn publish(&self, configuration: &Value, stored: &Stored) -> Result<bool, KeeperError> {
        let webhooks = self.our_webhooks(configuration);
        if webhooks.is_empty() {
            return Err(KeeperError::NotOurs {
                configuration: self.objects.configuration.clone(),
                service: format!(
                    "{}/{}",
                    self.objects.names.namespace(),
                    self.objects.names.service()
                ),
            });
        }
        let is_trusted = |bundle: &&Value| stored.is_trusted_by(bundle);
        if webhooks.iter().map(|(_, bundle)| *bundle).all(|bundle| is_trusted(&bundle)) {
            return Ok(true);
        }
        let version = &configuration["metadata"]["resourceVersion"];
        let mut patch =
            vec![json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version })];
        patch.extend(webhooks.iter().map(|(index, _)| {
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            json!({ "op": "add", "path": path, "value": stored.ca_bundle() })
        }));
        let path = self.objects.configuration_path() + "?fieldManager=resview-webhook";
        match self.client.patch::<IgnoredAny>(&path, Patch::Json, &patch).await {
            Ok(_) => {
                tracing::info!(
                    configuration = self.objects.configuration,
                    "the API server is told of the CA"
                );
                Ok(true)
            }
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The webhooks of the configuration that call our Service: their place in the list, and whom they
    /// trust.
    fn our_webhooks<'a>(&self, configuration: &'a Value) -> Vec<(usize, &'a Value)> {
        let names = &self.objects.names;
        let is_ours = |webhook: &Value| {
            let service = &webhook["clientConfig"]["service"];
            service["name"] == names.service() && service["namespace"] == names.namespace()
        };
        let all = configuration["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ours = all.iter().enumerate().filter(|(_, webhook)| is_ours(webhook));
        ours.map(|(index, webhook)| (index, &webhook["clientConfig"]["caBundle"])).collect()
    }

    /// Shows the leaf of the Secret, if its CA has been published for long enough.
    fn settle(&mut self, stored: Stored, now: SystemTime) -> Look {
        let current = self.shown.current();
        let leaf = |identity: &super::Identity| identity.key.cert.first().cloned();
        if current.as_ref().is_some_and(|current| leaf(current) == leaf(&stored.identity)) {
            return Look::Shown;
        }
        let since = match &self.published {
            Some((ca, since)) if *ca == stored.ca => *since,
            _ => {
                let since = Instant::now();
                self.published = Some((stored.ca.clone(), since));
                since
            }
        };
        // Who has nothing else to show may as well show it: the handshake fails either way.
        let has_other = current.is_some_and(|current| current.holds(now));
        if has_other && since.elapsed() < self.pace.settle {
            return Look::Settling;
        }
        tracing::info!("the new certificate is shown from now on");
        self.shown.show(stored.identity);
        Look::Shown
    }

    /// Whether the CA of what is shown has been published for long enough that API servers trust it: no
    /// call should come before that.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.published.as_ref().is_some_and(|(_, since)| since.elapsed() >= self.pace.settle)
    }

    /// How long to wait before the next look.
    #[must_use]
    pub fn pause(&self, last: Result<Look, &KeeperError>) -> Duration {
        match last {
            Ok(Look::Again) => Duration::from_millis(100),
            Ok(Look::Settling) => self.pace.interval.min(Duration::from_secs(1)),
            Ok(Look::Shown) if !self.is_settled() => Duration::from_secs(1).min(self.pace.interval),
            Ok(Look::Shown) => self.pace.interval,
            Err(_) => self.pace.interval.min(Duration::from_secs(5)),
        }
    }
}
