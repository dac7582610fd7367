//! The webhook's own certificate: made, shared, published, renewed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::certificate::{Keeper, KeeperError, Look, Names, Objects, Pace, Shown, Stored};
use rustls::ServerConfig;
use rustls::crypto::ring;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::api_server::ApiServer;
use crate::caller::Caller;
use crate::run;

const SECRET: &str = "/api/v1/namespaces/resview/secrets/tls";
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/resview";
const NAME: &str = "resview-webhook.resview.svc";
const DAY: Duration = Duration::from_secs(24 * 3600);

const PACE: Pace = Pace {
    life: Duration::from_secs(90 * 24 * 3600),
    interval: Duration::ZERO,
    settle: Duration::ZERO,
};

fn names() -> Names {
    Names::new("resview-webhook", "resview").unwrap()
}

/// A replica, and what it shows.
struct Replica {
    keeper: Keeper,
    shown: Arc<Shown>,
}

impl Replica {
    fn new(server: &ApiServer, pace: Pace) -> Self {
        let objects = Objects {
            secret: "tls".to_owned(),
            configuration: "resview".to_owned(),
            names: names(),
        };
        let shown = Arc::<Shown>::default();
        Self { keeper: Keeper::new(server.client(), objects, pace, Arc::clone(&shown)), shown }
    }

    /// Looks until nobody else was in the way.
    async fn look(&mut self, now: SystemTime) -> Look {
        loop {
            match self.keeper.look(now).await.unwrap() {
                Look::Again => {}
                look => return look,
            }
        }
    }

    /// Whether a caller that trusts the bundle gets a connection.
    async fn is_trusted_by(&self, ca_bundle: &Value) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.shown) as _);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move { acceptor.accept(listener.accept().await.unwrap().0).await });
        Caller::new(port, NAME, ca_bundle, "http/1.1").connect().await.is_ok()
    }
}

/// An API server with an empty Secret, and a configuration with two entries of ours and one of others.
async fn cluster() -> ApiServer {
    let server = ApiServer::start().await;
    server.put(
        SECRET,
        json!({ "metadata": { "name": "tls", "labels": { "a": "b" } }, "type": "Opaque" }),
    );
    server.put(CONFIGURATION, configuration());
    server
}

fn configuration() -> Value {
    let ours = json!({ "service": { "name": "resview-webhook", "namespace": "resview", "path": "/mutate" } });
    let theirs =
        json!({ "service": { "name": "other", "namespace": "resview" }, "caBundle": "Cg==" });
    json!({ "metadata": { "name": "resview" }, "webhooks": [
        { "name": "pods.resview.dev", "clientConfig": ours },
        { "name": "other", "clientConfig": theirs },
        { "name": "labelled.resview.dev", "clientConfig": ours },
    ] })
}

fn bundle(server: &ApiServer, index: usize) -> Value {
    server.get(CONFIGURATION)["webhooks"][index]["clientConfig"]["caBundle"].clone()
}

fn ca_count(ca_bundle: &Value) -> usize {
    let pem = BASE64_STANDARD.decode(ca_bundle.as_str().unwrap()).unwrap();
    String::from_utf8(pem).unwrap().matches("BEGIN CERTIFICATE").count()
}

#[test]
fn an_empty_secret_is_filled_and_the_api_server_told() {
    run(async {
        let server = cluster().await;
        let mut replica = Replica::new(&server, PACE);
        assert!(!replica.is_trusted_by(&"".into()).await, "nothing is shown yet");
        assert_eq!(replica.look(SystemTime::now()).await, Look::Shown);
        let secret = server.get(SECRET);
        assert_eq!(secret["metadata"]["labels"], json!({ "a": "b" }));
        for key in ["ca.crt", "tls.crt", "tls.key"] {
            assert!(secret["data"][key].is_string(), "{secret}");
        }
        assert_eq!(bundle(&server, 0), secret["data"]["ca.crt"]);
        assert_eq!(bundle(&server, 2), secret["data"]["ca.crt"]);
        assert_eq!(bundle(&server, 1), "Cg==", "somebody else's");
        assert!(replica.is_trusted_by(&bundle(&server, 0)).await);
        // And then nothing is written any more.
        let written = server.count("PUT") + server.count("PATCH");
        assert_eq!(replica.look(SystemTime::now()).await, Look::Shown);
        assert_eq!(server.count("PUT") + server.count("PATCH"), written);
    });
}

#[test]
fn the_key_of_the_ca_is_nowhere() {
    run(async {
        let server = cluster().await;
        Replica::new(&server, PACE).look(SystemTime::now()).await;
        let data = server.get(SECRET)["data"].clone();
        let texts = data.as_object().unwrap().values().map(|value| {
            String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
        });
        let text: String = texts.collect();
        assert_eq!(text.matches("PRIVATE KEY-----").count(), 2, "one key, from BEGIN to END");
    });
}

#[test]
fn replicas_that_start_at_once_share_one_certificate() {
    run(async {
        let server = cluster().await;
        let mut replicas: Vec<_> = (0..5).map(|_| Replica::new(&server, PACE)).collect();
        let now = SystemTime::now();
        let mut looks = tokio::task::JoinSet::new();
        for mut replica in replicas.drain(..) {
            looks.spawn(async move {
                // Whoever was overtaken after writing sees the other's at the next look.
                replica.look(now).await;
                replica
            });
        }
        let mut replicas = looks.join_all().await;
        let secret = server.get(SECRET);
        for replica in &mut replicas {
            assert_eq!(replica.look(now).await, Look::Shown);
            assert!(replica.is_trusted_by(&bundle(&server, 0)).await);
        }
        assert_eq!(server.get(SECRET), secret, "it was decided at once");
        assert_eq!(ca_count(&bundle(&server, 0)), 1);
    });
}

#[test]
fn after_two_thirds_of_its_life_a_certificate_is_renewed_and_the_one_before_still_trusted() {
    run(async {
        let server = cluster().await;
        // The callers below live now, when the second certificate is made.
        let begin = SystemTime::now() - 61 * DAY;
        let (mut one, mut other) = (Replica::new(&server, PACE), Replica::new(&server, PACE));
        one.look(begin).await;
        other.look(begin).await;
        let first = server.get(SECRET);
        one.look(begin + 59 * DAY).await;
        assert_eq!(server.get(SECRET), first, "not due yet");

        one.look(begin + 61 * DAY).await;
        assert_ne!(server.get(SECRET)["data"]["tls.crt"], first["data"]["tls.crt"]);
        let new = bundle(&server, 0);
        assert_eq!(ca_count(&new), 2);
        // One shows the new leaf and the other still the one before; both are trusted.
        assert!(one.is_trusted_by(&new).await && other.is_trusted_by(&new).await);
        assert!(other.is_trusted_by(&first["data"]["ca.crt"]).await);
        assert!(!one.is_trusted_by(&first["data"]["ca.crt"]).await);
        other.look(begin + 61 * DAY).await;
        assert!(!other.is_trusted_by(&first["data"]["ca.crt"]).await, "now it is the new one");

        // The first CA has expired when the second is renewed.
        one.look(begin + 122 * DAY).await;
        assert_eq!(ca_count(&bundle(&server, 0)), 2);
    });
}

#[test]
fn a_new_leaf_is_not_shown_before_api_servers_can_have_heard_of_its_ca() {
    run(async {
        let server = cluster().await;
        let pace = Pace { settle: Duration::from_secs(3600), ..PACE };
        let mut replica = Replica::new(&server, pace);
        let begin = SystemTime::now();
        assert_eq!(replica.look(begin).await, Look::Shown, "there is nothing else to show");
        assert!(!replica.keeper.is_settled(), "but nobody should be sent here");
        let before = bundle(&server, 0);
        assert_eq!(replica.look(begin + 61 * DAY).await, Look::Settling);
        assert!(replica.is_trusted_by(&before).await, "the one before is shown");
        assert_eq!(ca_count(&bundle(&server, 0)), 2, "and the new one is published");
        assert_eq!(replica.look(begin + 91 * DAY).await, Look::Shown, "the one before has expired");
    });
}

#[test]
fn what_somebody_spoilt_is_put_right() {
    run(async {
        let server = cluster().await;
        let mut replica = Replica::new(&server, PACE);
        let now = SystemTime::now();
        replica.look(now).await;
        // Somebody applies the configuration as it was written.
        server.put(CONFIGURATION, configuration());
        replica.look(now).await;
        assert!(replica.is_trusted_by(&bundle(&server, 0)).await);
        // Somebody puts garbage into the Secret, or half of another one, or a key of another certificate.
        let good = server.get(SECRET)["data"].clone();
        let other = cluster().await;
        Replica::new(&other, PACE).look(now).await;
        let other_key = other.get(SECRET)["data"]["tls.key"].clone();
        for (key, value) in [
            ("tls.crt", json!("AAAA")),
            ("tls.key", json!("!")),
            ("tls.key", other_key),
            ("ca.crt", json!("")),
            ("ca.crt", Value::Null),
        ] {
            let mut data = good.clone();
            data[key] = value.clone();
            server.put(SECRET, json!({ "metadata": {}, "data": data }));
            replica.look(now).await;
            let secret = server.get(SECRET);
            assert!(Stored::read(&secret, &names(), now).is_ok(), "{key} {value}");
            assert!(replica.is_trusted_by(&bundle(&server, 2)).await);
        }
    });
}

#[test]
fn a_certificate_for_another_service_is_not_taken() {
    run(async {
        let server = cluster().await;
        let now = SystemTime::now();
        Replica::new(&server, PACE).look(now).await;
        let secret = server.get(SECRET);
        assert!(Stored::read(&secret, &names(), now).is_ok());
        let renamed = Names::new("webhook", "resview").unwrap();
        assert!(Stored::read(&secret, &renamed, now).is_err());
        assert!(Stored::read(&secret, &names(), now + 91 * DAY).is_err(), "expired");
        assert!(Stored::read(&secret, &names(), now - DAY).is_err(), "not yet");
        assert!(Names::new("a b", "c").is_err());
    });
}

#[test]
fn what_cannot_be_done_is_said_and_what_is_shown_stays() {
    run(async {
        let server = cluster().await;
        let mut replica = Replica::new(&server, PACE);
        let now = SystemTime::now();
        replica.look(now).await;
        let trusted = bundle(&server, 0);
        let mut foreign = configuration();
        foreign["webhooks"] = json!([foreign["webhooks"][1]]);
        server.put(CONFIGURATION, foreign);
        let error = replica.keeper.look(now).await.unwrap_err();
        assert!(matches!(error, KeeperError::NotOurs { .. }), "{error}");
        server.remove(SECRET);
        let error = replica.keeper.look(now).await.unwrap_err().to_string();
        assert!(error.contains(SECRET) && error.contains("404"), "{error}");
        assert!(replica.is_trusted_by(&trusted).await);
    });
}
