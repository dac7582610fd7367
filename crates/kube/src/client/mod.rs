//! A small client of the Kubernetes API: as much as the webhook and `resview node` need.
//!
//! The crate kube-client would bring k8s-openapi's types, a JSONPath parser, YAML, a regex engine and
//! some fifty crates more, for a handful of requests on objects of which two fields matter.
//!
//! Each request has a connection of its own and reads token and CA anew: both are replaced while the
//! process runs, and a few requests a minute are all there ever is.

mod address;
mod error;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use self::address::Address;
pub use self::error::ClientError;
use self::error::{Refusal, What};
pub use self::watch::{Event, Watch};
use crate::tls::provider;

/// How long one request may take; a watch, how long until its answer begins.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that is read. A list of 10 000 namespaces has some 20 MB.
const LONGEST_ANSWER_BYTES: usize = 64 << 20;
/// Where the kubelet puts a pod's token, CA and namespace.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the API server is, and who we are to it.
#[derive(Clone, Debug)]
pub struct Client {
    server: Address,
    ca: PathBuf,
    token: PathBuf,
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patch {
    /// RFC 6902: a list of operations. A `test` that fails is [`ClientError::is_conflict`].
    Json,
    /// RFC 7386: the object's new members; null removes, a list replaces a list.
    Merge,
    /// Kubernetes' own: lists are merged by their keys.
    StrategicMerge,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::StrategicMerge => "application/strategic-merge-patch+json",
        }
    }
}

impl Client {
    /// The client of a pod: the address from its environment (`KUBERNETES_SERVICE_HOST` and
    /// `KUBERNETES_SERVICE_PORT`), token and CA from its service account.
    ///
    /// # Errors
    /// This process is not in a pod.
    pub fn in_cluster() -> Result<Self, ClientError> {
        let variable = |name| std::env::var(name).map_err(|_| ClientError::NotInCluster(name));
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let server = Address::of(&host, &port)?;
        let below = |name: &str| PathBuf::from(SERVICE_ACCOUNT).join(name);
        Ok(Self::new(server, below("ca.crt"), below("token")))
    }

    /// A client of the API server at an address, with the files of the certificates (PEM) that it may
    /// have been signed by, and of the bearer token. Nothing is read yet.
    #[must_use]
    pub fn new(server: Address, ca: PathBuf, token: PathBuf) -> Self {
        Self { server, ca, token }
    }

    /// GET. The path begins with `/api` and has its query, if any: `/api/v1/namespaces?limit=500`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// POST of a new object to its collection.
    ///
    /// # Errors
    /// As [`ClientError`] says; [`ClientError::is_conflict`] if it exists.
    pub async fn create<T: DeserializeOwned>(
        &self,
        path: &str,
        object: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.ask(Method::POST, path, Some(("application/json", body(object)?))).await
    }

    /// PUT of a whole object, with the `resourceVersion` at which it was read.
    ///
    /// # Errors
    /// As [`ClientError`] says; [`ClientError::is_conflict`] if somebody else was faster.
    pub async fn replace<T: DeserializeOwned>(
        &self,
        path: &str,
        object: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.ask(Method::PUT, path, Some(("application/json", body(object)?))).await
    }

    /// PATCH of an object.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        kind: Patch,
        patch: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.ask(Method::PATCH, path, Some((kind.content_type(), body(patch)?))).await
    }

    /// WATCH of what happens to a collection after the version that its list had
    /// (`metadata.resourceVersion`). The path may have a query of its
    /// own: `?labelSelector=…`.
    ///
    /// # Errors
    /// As [`ClientError`] says; [`ClientError::is_gone`] if that version is too old.
    pub async fn watch(&self, path: &str, resource_version: &str) -> Result<Watch, ClientError> {
        let path = watch::path(path, resource_version);
        let what = What::new(&Method::GET, &path);
        let response = within(&what, self.send(Method::GET, &path, None)).await?;
        if !response.status().is_success() {
            return Err(self.refused(&what, response).await);
        }
        Ok(Watch::new(what, response.into_body()))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Option<(&'static str, Bytes)>,
    ) -> Result<T, ClientError> {
        let what = What::new(&method, path);
        within(&what, async {
            let response = self.send(method, path, content).await?;
            if !response.status().is_success() {
                return Err(self.refused(&what, response).await);
            }
            let answer = collect(&what, response.into_body()).await?;
            serde_json::from_slice(&answer)
                .map_err(|error| ClientError::Answer { what: what.clone(), error })
        })
        .await
    }

    async fn refused(&self, what: &What, response: Response<Incoming>) -> ClientError {
        let code = response.status().as_u16();
        let text = collect(what, response.into_body()).await.unwrap_or_default();
        ClientError::Refused { what: what.clone(), refusal: Refusal::read(code, &text) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<(&'static str, Bytes)>,
    ) -> Result<Response<Incoming>, ClientError> {
        let what = What::new(&method, path);
        let request = self.request(method, path, content)?;
        let stream = TokioIo::new(self.connect().await?);
        let broken = |error| ClientError::Http { what: what.clone(), error };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
        // Ends with the answer's body, whose errors are told there.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(broken)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content: Option<(&'static str, Bytes)>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let token = read(&self.token)?;
        let token = String::from_utf8_lossy(&token);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.server.authority())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("resview/", env!("CARGO_PKG_VERSION")))
            .header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        if let Some((kind, _)) = &content {
            request = request.header(CONTENT_TYPE, *kind);
        }
        let body = content.map(|(_, body)| body).unwrap_or_default();
        request.body(Full::new(body)).map_err(ClientError::Request)
    }

    async fn connect(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
        let failed = |error| ClientError::Connect { server: self.server.clone(), error };
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        let name = ServerName::try_from(self.server.host().to_owned())
            .map_err(|_| ClientError::Address(self.server.authority()))?;
        let stream =
            TcpStream::connect((self.server.host(), self.server.port())).await.map_err(failed)?;
        connector.connect(name, stream).await.map_err(failed)
    }

    fn tls(&self) -> Result<ClientConfig, ClientError> {
        let mut roots = RootCertStore::empty();
        let pem = read(&self.ca)?;
        roots
            .add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        if roots.is_empty() {
            return Err(ClientError::NoCa(self.ca.clone()));
        }
        Ok(ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

fn body(object: &impl Serialize) -> Result<Bytes, ClientError> {
    serde_json::to_vec(object).map(Bytes::from).map_err(ClientError::Object)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| ClientError::File { path: path.clone(), error })
}

async fn collect(what: &What, body: Incoming) -> Result<Bytes, ClientError> {
    let answer = Limited::new(body, LONGEST_ANSWER_BYTES).collect().await;
    Ok(answer.map_err(|error| ClientError::Body { what: what.clone(), error })?.to_bytes())
}

async fn within<T>(
    what: &What,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(TIME_LIMIT, work).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::TimedOut { what: what.clone(), after: TIME_LIMIT }),
    }
}
