//! Small texts over plain HTTP: health and metrics.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::Limits;
use super::connections::{Connections, builder};

/// What is at a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Whether it is good news: 200, else 503.
    pub is_well: bool,
    /// The text.
    pub text: String,
}

impl Page {
    /// Good news.
    #[must_use]
    pub fn well(text: impl Into<String>) -> Self {
        Self { is_well: true, text: text.into() }
    }

    /// Bad news.
    #[must_use]
    pub fn unwell(text: impl Into<String>) -> Self {
        Self { is_well: false, text: text.into() }
    }
}

/// Serves what `pages` has at a path until `stop` is ready; 404 where it has nothing. It must not
/// block.
pub async fn plain(
    listener: TcpListener,
    pages: impl Fn(&str) -> Option<Page> + Send + Sync + 'static,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let connections = Connections::new(&limits);
    let builder = builder(&limits).http1_only();
    let pages = Arc::new(pages);
    tokio::pin!(stop);
    loop {
        let (stream, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = connections.accept(&listener) => accepted,
        };
        let (pages, builder) = (Arc::clone(&pages), builder.clone());
        let watcher = connections.graceful.watcher();
        tokio::spawn(async move {
            let _permit = permit;
            let service = service_fn(|request: Request<Incoming>| {
                let response = respond(&request, &*pages);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let _ = watcher.watch(connection).await;
        });
    }
    connections.farewell(limits.farewell).await;
}

fn respond<B>(
    request: &Request<B>,
    pages: &impl Fn(&str) -> Option<Page>,
) -> Response<Full<Bytes>> {
    let page = match *request.method() {
        Method::GET | Method::HEAD => pages(request.uri().path()),
        _ => None,
    };
    let status = match &page {
        Some(page) if page.is_well => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None => StatusCode::NOT_FOUND,
    };
    let text = page.map_or_else(|| "not here\n".to_owned(), |page| page.text);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
