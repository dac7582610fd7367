//! A few pages of an API server: objects with versions, over TLS.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::client::{Address, Client};
use rustls::ServerConfig;
use rustls::crypto::ring;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the client must say.
pub(crate) const TOKEN: &str = "let-me-in";

/// A running one; it ends with its runtime.
pub(crate) struct ApiServer {
    dir: TempDir,
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    objects: Mutex<BTreeMap<String, Value>>,
    requests: Mutex<Vec<String>>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.crt"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&state)));
        Self { dir, port, state }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn client(&self) -> Client {
        let address: Address = format!("https://127.0.0.1:{}", self.port).parse().unwrap();
        Client::new(address, self.file("ca.crt"), self.file("token"))
    }

    /// Puts an object at a path, at version 1.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        object["metadata"]["resourceVersion"] = "1".into();
        self.state.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.state.objects.lock().unwrap()[path].clone()
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.objects.lock().unwrap().remove(path);
    }

    /// How many requests with this method there were.
    pub(crate) fn count(&self, method: &str) -> usize {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|request| request.as_str() == method).count()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.answer(request).await) }
            });
            let io = TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        self.requests.lock().unwrap().push(head.method.to_string());
        let said = head.headers.get("authorization").and_then(|value| value.to_str().ok());
        if said != Some(&format!("Bearer {TOKEN}")) {
            return refusal(StatusCode::UNAUTHORIZED, "Unauthorized");
        }
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path();
        if head.uri.query().is_some_and(|query| query.contains("watch=true")) {
            return self.watch(head.uri.query().unwrap());
        }
        let mut objects = self.objects.lock().unwrap();
        if head.method == Method::POST {
            let object: Value = serde_json::from_slice(&body).unwrap();
            let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
            if objects.contains_key(&path) {
                return refusal(StatusCode::CONFLICT, "AlreadyExists");
            }
            objects.insert(path, object.clone());
            return ok(&object);
        }
        let Some(object) = objects.get_mut(path) else {
            return refusal(StatusCode::NOT_FOUND, "NotFound");
        };
        let version = object["metadata"]["resourceVersion"].clone();
        let mut new = object.clone();
        match head.method.as_str() {
            "GET" => return ok(object),
            "PUT" => {
                new = serde_json::from_slice(&body).unwrap();
                if new["metadata"]["resourceVersion"] != version {
                    return refusal(StatusCode::CONFLICT, "Conflict");
                }
            }
            "PATCH" if head.headers["content-type"] == "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_slice(&body).unwrap();
                if json_patch::patch(&mut new, &patch).is_err() {
                    return refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
                }
            }
            "PATCH" => json_patch::merge(&mut new, &serde_json::from_slice(&body).unwrap()),
            _ => return refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
        let next = version.as_str().unwrap().parse::<u64>().unwrap() + 1;
        new["metadata"]["resourceVersion"] = next.to_string().into();
        *object = new;
        ok(object)
    }

    /// All objects as new ones, then a bookmark, then the end; or that the version is too old.
    fn watch(&self, query: &str) -> Response<Full<Bytes>> {
        if query.ends_with("resourceVersion=0") {
            let status =
                json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" });
            return text(json!({ "type": "ERROR", "object": status }).to_string() + "\n");
        }
        let objects = self.objects.lock().unwrap();
        let added = objects.values().map(|object| json!({ "type": "ADDED", "object": object }));
        let bookmark =
            json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": "9" } } });
        text(added.chain([bookmark]).map(|event| event.to_string() + "\n").collect())
    }
}

fn text(text: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(text)))
}

fn ok(object: &Value) -> Response<Full<Bytes>> {
    text(object.to_string())
}

fn refusal(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    let said =
        json!({ "kind": "Status", "code": status.as_u16(), "reason": reason, "message": "no" });
    let mut response = ok(&said);
    *response.status_mut() = status;
    response
}
