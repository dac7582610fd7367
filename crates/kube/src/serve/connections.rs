//! Takes connections, with a limit on each thing that a caller could take too much of.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::{Limits, Webhook};
use crate::certificate::Shown;
use crate::tls::provider;

/// rustls does not like the configuration.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// Serves reviews over HTTPS until `stop` is ready; then takes no more connections and lets requests in
/// flight end.
///
/// # Errors
/// rustls cannot be set up. Connections that fail are none.
pub async fn https(
    listener: TcpListener,
    webhook: Arc<Webhook>,
    shown: Arc<Shown>,
    stop: impl Future<Output = ()>,
) -> Result<(), TlsError> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(shown)?));
    let connections = Connections::new(webhook.limits());
    let builder = builder(webhook.limits());
    tokio::pin!(stop);
    loop {
        let (stream, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = connections.accept(&listener) => accepted,
        };
        let acceptor = acceptor.clone();
        let (webhook, builder) = (Arc::clone(&webhook), builder.clone());
        let watcher = connections.graceful.watcher();
        tokio::spawn(async move {
            let _permit = permit;
            let handshake =
                tokio::time::timeout(webhook.limits().handshake, acceptor.accept(stream));
            let Ok(Ok(stream)) = handshake.await else {
                webhook.metrics().handshake_failed();
                return;
            };
            // By ALPN, so that nobody waits for a caller's first bytes without a time limit.
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
            let service = service_fn(|request| {
                let webhook = Arc::clone(&webhook);
                async move { webhook.answer(request).await }
            });
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // Whatever ends a connection is the caller's to know.
            let _ = watcher.watch(connection).await;
        });
    }
    connections.farewell(webhook.limits().farewell).await;
    Ok(())
}

fn tls(shown: Arc<Shown>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// How HTTP is spoken. Windows of HTTP/2 are small, as a caller may fill them before it is looked at.
pub(super) fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(limits.header)
        .keep_alive_timeout(limits.header);
    builder
}

/// The connections of one server: as many as are allowed, and a way to end them.
#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    pub(super) graceful: GracefulShutdown,
}

impl Connections {
    pub(super) fn new(limits: &Limits) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        Self { places, graceful: GracefulShutdown::new() }
    }

    /// Waits for a free place, then for a connection.
    pub(super) async fn accept(
        &self,
        listener: &TcpListener,
    ) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are small and written at once; a failure costs some milliseconds.
                    let _ = stream.set_nodelay(true);
                    return (stream, permit);
                }
                Err(error) => pause_after(&error).await,
            }
        }
    }

    /// Lets requests in flight end, for a while.
    pub(super) async fn farewell(self, limit: Duration) {
        // Those that are left are cut off with the process.
        let _ = tokio::time::timeout(limit, self.graceful.shutdown()).await;
    }
}

/// A caller that gave up is no reason to wait; a lack of descriptors is, else this would spin.
async fn pause_after(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "cannot take a connection");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
