//! The server: reviews, bad callers, many at once, the end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::certificate::{Files, Names, Pair, Shown};
use kube::policy::Policy;
use kube::review::{self, HostPathType, Settings, Source};
use kube::serve::{LONGEST_REVIEW_BYTES, Limits, Metrics, Page, Webhook, https, plain};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::caller::{Caller, post};
use crate::reviews::review;
use crate::run;

const NAME: &str = "hook.ns.svc";

/// A running webhook with a certificate from files.
struct Server {
    dir: TempDir,
    files: Files,
    shown: Arc<Shown>,
    metrics: Arc<Metrics>,
    port: u16,
    ca_bundle: Value,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shown = Arc::<Shown>::default();
        let mut files = Files::new(dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let ca_bundle = new_certificate(&dir);
        assert!(files.refresh(&shown).unwrap());
        let metrics = Arc::<Metrics>::default();
        let settings = Settings {
            files: review::Files::default(),
            source: Source {
                mountpoint: "/var/lib/resview".to_owned(),
                host_path_type: HostPathType::Checked,
            },
            id_mapped_mounts: false,
        };
        let webhook = Webhook::new(settings, Policy::default(), Arc::clone(&metrics), limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        let server = https(listener, Arc::new(webhook), Arc::clone(&shown), async {
            let _ = stopped.await;
        });
        let ended = tokio::spawn(async { server.await.unwrap() });
        Self { dir, files, shown, metrics, port, ca_bundle, stop: Some(stop), ended }
    }

    fn caller(&self, protocol: &str) -> Caller {
        Caller::new(self.port, NAME, &self.ca_bundle, protocol)
    }

    fn count(&self, line: &str) -> u64 {
        let text = self.metrics.print(None);
        let line = text.lines().find_map(|found| found.strip_prefix(line)).unwrap();
        line.trim().parse().unwrap()
    }
}

/// Writes a new certificate into a directory, and returns the caBundle to trust it by.
fn new_certificate(dir: &TempDir) -> Value {
    let names = Names::new("hook", "ns").unwrap();
    let now = SystemTime::now();
    let pair = Pair::make(&names, now, Duration::from_secs(3600)).unwrap();
    let data = kube::certificate::Stored::renew(pair, &Value::Null, &names, now).unwrap().data();
    for (file, key) in [("tls.crt", "tls.crt"), ("tls.key", "tls.key")] {
        std::fs::write(dir.path().join(file), decode(&data[key])).unwrap();
    }
    data["ca.crt"].clone()
}

fn decode(value: &Value) -> Vec<u8> {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn reviews_are_answered_over_both_versions_of_http() {
    run(async {
        let server = Server::start(Limits::default()).await;
        for protocol in ["h2", "http/1.1"] {
            let response = server.caller(protocol).review("/mutate", review("u").to_string()).await;
            assert_eq!(response["uid"], "u");
            let patch: Value = serde_json::from_slice(&decode(&response["patch"])).unwrap();
            assert!(patch.as_array().is_some_and(|operations| operations.len() > 10), "{patch}");
            let off = server.caller(protocol).review("/mutate/off", review("u").to_string()).await;
            assert!(off.get("patch").is_none());
            let on = server.caller(protocol).review("/mutate/on", review("u").to_string()).await;
            assert!(on.get("patch").is_some());
        }
        assert_eq!(server.count("resview_webhook_reviews_total{result=\"patched\"}"), 4);
        assert_eq!(server.count("resview_webhook_review_seconds_count"), 6);
    });
}

#[test]
fn bad_input_is_answered() {
    run(async {
        let server = Server::start(Limits::default()).await;
        let caller = server.caller("h2");
        let whole = review("u-7").to_string();
        let mut huge = whole.clone().into_bytes();
        huge.resize(LONGEST_REVIEW_BYTES + 1, b' ');
        for (text, uid) in [
            (Bytes::new(), ""),
            (Bytes::from_static(b"\x16\x03\x01"), ""),
            (Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() - 9]), "u-7"),
            (Bytes::from(huge), "u-7"),
        ] {
            let response = caller.review("/mutate", text).await;
            assert!(response["warnings"].is_array(), "{response}");
            assert!(response.get("patch").is_none());
            // Where it was read that far; Go writes the uid first, and this test the keys in their order.
            assert!(response["uid"] == uid || response["uid"] == "", "{response}");
        }
        assert_eq!(
            server.count(
                "resview_webhook_reviews_total{result=\"misunderstood\",reason=\"too_long\"}"
            ),
            1
        );
        let other = |request: Request<Full<Bytes>>| caller.send(request);
        let get = Request::get("https://webhook/mutate").body(Full::default()).unwrap();
        assert_eq!(other(get).await.0, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(other(post("/elsewhere", whole)).await.0, StatusCode::NOT_FOUND);
    });
}

/// Who breaks off, says nothing or speaks no TLS holds no place for long, and harms nobody else.
#[test]
fn callers_that_stop_talking_are_dropped() {
    run(async {
        let short = Duration::from_millis(300);
        let limits = Limits {
            handshake: short,
            header: short,
            body: short,
            connections: 2,
            ..Limits::default()
        };
        let server = Server::start(limits).await;
        let mut silent = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        let mut chatty = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        chatty.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        // Both places are taken: this one waits for them.
        let caller = server.caller("http/1.1");
        caller.review("/mutate", review("a").to_string()).await;
        let mut rest = Vec::new();
        // The end, or a reset: either says that the server has let go.
        let _ = silent.read_to_end(&mut rest).await;
        let _ = chatty.read_to_end(&mut rest).await;

        let mut header = caller.connect().await.unwrap();
        header.write_all(b"POST /mutate HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let _ = header.read_to_end(&mut rest).await;
        let mut body = caller.connect().await.unwrap();
        body.write_all(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            .await
            .unwrap();
        let mut said = [0; 12];
        body.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 408");
        let mut torn = caller.connect().await.unwrap();
        torn.write_all(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            .await
            .unwrap();
        drop((torn, body));
        caller.review("/mutate", review("b").to_string()).await;
        assert!(server.count("resview_webhook_failed_handshakes_total") >= 2);
    });
}

/// Limits of time that a busy machine does not reach.
fn patient() -> Limits {
    let patience = crate::PATIENCE;
    Limits { handshake: patience, header: patience, body: patience, ..Limits::default() }
}

#[test]
fn a_thousand_reviews_over_a_hundred_connections() {
    run(async {
        let server = Server::start(patient()).await;
        let took = a_thousand(&server, 100).await;
        tell(&server, "over 100 connections", &took);
    });
}

/// As the API server sends them.
#[test]
fn a_thousand_reviews_over_one_connection() {
    run(async {
        let server = Server::start(patient()).await;
        let took = a_thousand(&server, 1).await;
        tell(&server, "over one connection", &took);
    });
}

/// Sends a thousand reviews at once; how long each took its caller, the shortest first.
async fn a_thousand(server: &Server, connections: usize) -> Vec<Duration> {
    let mut senders = Vec::new();
    for _ in 0..connections {
        let stream = TokioIo::new(server.caller("h2").connect().await.unwrap());
        let executor = TokioExecutor::new();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
        tokio::spawn(connection);
        senders.push(sender);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let mut sender = senders[number % connections].clone();
        tasks.spawn(async move {
            let uid = format!("u-{number}");
            let request = post("/mutate", review(&uid).to_string());
            let begin = Instant::now();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let took = begin.elapsed();
            let answer: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(answer["response"]["uid"], uid);
            assert!(answer["response"]["patch"].is_string());
            took
        });
    }
    let mut took = tasks.join_all().await;
    took.sort_unstable();
    assert_eq!(server.count("resview_webhook_reviews_total{result=\"patched\"}"), 1000);
    took
}

/// How long callers waited, caller and server sharing a machine, and how long the server took, waiting
/// for its turn included.
fn tell(server: &Server, how: &str, took: &[Duration]) {
    let within = |seconds: &str| {
        server.count(&format!("resview_webhook_review_seconds_bucket{{le=\"{seconds}\"}}"))
    };
    let figures = format!(
        "1000 concurrent reviews, {how}: p50 {:?}, p99 {:?}; by the server's clock {} within 1 ms, {} within \
         10 ms, {} within 100 ms, {} within 1 s",
        took[500],
        took[990],
        within("0.001"),
        within("0.01"),
        within("0.1"),
        within("1")
    );
    testkit::figures("webhook", &figures);
}

#[test]
fn a_certificate_in_files_is_read_again_and_no_review_fails() {
    run(async {
        let mut server = Server::start(Limits::default()).await;
        let first = server.caller("http/1.1");
        first.review("/mutate", review("1").to_string()).await;
        assert!(!server.files.refresh(&server.shown).unwrap(), "nothing has changed");
        // Half of a change is not taken: the certificate without its key.
        let key = std::fs::read(server.dir.path().join("tls.key")).unwrap();
        let second = new_certificate(&server.dir);
        let new_key = std::fs::read(server.dir.path().join("tls.key")).unwrap();
        std::fs::write(server.dir.path().join("tls.key"), key).unwrap();
        let error = server.files.refresh(&server.shown).unwrap_err().to_string();
        assert!(error.contains("tls.crt"), "{error}");
        first.review("/mutate", review("2").to_string()).await;
        std::fs::write(server.dir.path().join("tls.key"), new_key).unwrap();
        assert!(server.files.refresh(&server.shown).unwrap());
        // Another caller of the same kind, as the first one resumes its session.
        assert!(server.caller("http/1.1").connect().await.is_err(), "it is another one now");
        let caller = Caller::new(server.port, NAME, &second, "h2");
        caller.review("/mutate", review("3").to_string()).await;
    });
}

#[test]
fn requests_in_flight_end_before_the_server_does() {
    run(async {
        let mut server = Server::start(Limits::default()).await;
        let caller = server.caller("http/1.1");
        let mut idle = caller.connect().await.unwrap();
        let mut busy = caller.connect().await.unwrap();
        let text = review("last").to_string();
        let head = format!(
            "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            text.len()
        );
        busy.write_all(head.as_bytes()).await.unwrap();
        // The server has read the head when it asks for the rest.
        let mut go_on = [0; 25];
        busy.read_exact(&mut go_on).await.unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100"));
        server.stop.take().unwrap().send(()).unwrap();
        let mut nothing = Vec::new();
        let _ = idle.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty(), "who asks for nothing is let go");
        busy.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = busy.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("\"uid\":\"last\""),
            "{answer}"
        );
        server.ended.await.unwrap();
        assert!(TcpStream::connect(("127.0.0.1", server.port)).await.is_err());
    });
}

#[test]
fn pages_are_served_over_plain_http() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = |path: &str| match path {
            "/healthz" => Some(Page::well("alive\n")),
            "/readyz" => Some(Page::unwell("wait\n")),
            _ => None,
        };
        tokio::spawn(plain(listener, pages, Limits::default(), std::future::pending()));
        for (request, status, text) in [
            ("GET /healthz", "200", "alive"),
            ("GET /readyz", "503", "wait"),
            ("GET /else", "404", "not here"),
            ("POST /healthz", "404", "not here"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert!(answer.contains(text), "{answer}");
        }
    });
}

#[test]
fn a_hostile_pod_is_answered() {
    run(async {
        let server = Server::start(Limits::default()).await;
        let mut hostile = review("h");
        hostile["request"]["object"]["spec"]["containers"] = (0..10_000)
            .map(|number| json!({ "name": format!("c{number}"), "volumeMounts": [{ "name": "x", "mountPath": "/proc/meminfo" }] }))
            .collect();
        let response = server.caller("h2").review("/mutate", hostile.to_string()).await;
        assert_eq!(response["uid"], "h");
        assert!(response.get("patch").is_none() && response["warnings"].is_array(), "{response}");
    });
}
