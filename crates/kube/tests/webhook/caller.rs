//! A caller of the webhook, as the API server is one: it verifies name and certificate by a caBundle.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom a caller trusts, and where it calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) port: u16,
    name: String,
    connector: TlsConnector,
}

impl Caller {
    /// One that trusts a caBundle, and expects the Service's name.
    pub(crate) fn new(port: u16, name: &str, ca_bundle: &Value, protocol: &str) -> Self {
        let pem = BASE64_STANDARD.decode(ca_bundle.as_str().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Self { port, name: name.to_owned(), connector: TlsConnector::from(Arc::new(config)) }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        self.connector.connect(name, stream).await
    }

    /// Sends one request over a connection of its own; the answer's status and text.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Vec<u8>) {
        let stream = self.connect().await.unwrap();
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let response = if is_http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    /// Posts a review; the answer's `response`.
    pub(crate) async fn review(&self, path: &str, text: impl Into<Bytes>) -> Value {
        let (status, body) = self.send(post(path, text)).await;
        assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["response"]["allowed"], true);
        answer["response"].clone()
    }
}

/// A POST as the API server makes it.
pub(crate) fn post(path: &str, text: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = format!("https://webhook{path}?timeout=3s");
    let request =
        Request::post(uri).header("host", "webhook").header("content-type", "application/json");
    request.body(Full::new(text.into())).unwrap()
}
