//! From a request to its answer.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::body::{Read, read};
use super::{Limits, Metrics};
use crate::policy::Policy;
use crate::review::{self, Answer, NamespaceLabel, Settings};

/// The longest review that is read. The API server takes objects of up to 3 MiB, a review may have an
/// old and a new one, and JSON is longer than what came in.
pub const LONGEST_REVIEW_BYTES: usize = 8 << 20;

/// What answers reviews: all that a running webhook shares between its connections.
#[derive(Debug)]
pub struct Webhook {
    settings: Settings,
    policy: RwLock<Arc<Policy>>,
    metrics: Arc<Metrics>,
    limits: Limits,
    /// One permit for each review that may be in memory.
    reviews: Semaphore,
}

impl Webhook {
    /// With a first policy.
    #[must_use]
    pub fn new(settings: Settings, policy: Policy, metrics: Arc<Metrics>, limits: Limits) -> Self {
        let reviews = Semaphore::new(limits.reviews);
        Self { settings, policy: RwLock::new(Arc::new(policy)), metrics, limits, reviews }
    }

    /// Decides by another policy from now on.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never: whatever comes has an answer.
    pub async fn answer<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let begin = Instant::now();
        let Some(label) = namespace_label(request.uri().path()) else {
            self.metrics.refused();
            return Ok(plain(StatusCode::NOT_FOUND, "reviews are answered at /mutate\n"));
        };
        if request.method() != Method::POST {
            self.metrics.refused();
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "reviews are posted\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return Ok(response);
        }
        // Nobody closes the semaphore; without it the review is answered all the same.
        let _permit = self.reviews.acquire().await.ok();
        let reading = read(request.into_body(), LONGEST_REVIEW_BYTES);
        let answer = match tokio::time::timeout(self.limits.body, reading).await {
            Ok(Ok(Read::Whole(text))) => self.review(&text, label),
            Ok(Ok(Read::Beginning(text))) => review::answer_to_beginning(&text),
            Ok(Err(_)) => {
                self.metrics.refused();
                return Ok(plain(StatusCode::BAD_REQUEST, "the request broke off\n"));
            }
            Err(_) => {
                self.metrics.refused();
                return Ok(plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n"));
            }
        };
        self.metrics.reviewed(answer.verdict, begin.elapsed());
        Ok(json(answer))
    }

    fn review(&self, text: &[u8], label: NamespaceLabel) -> Answer {
        let policy = Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner));
        review::answer(text, label, &self.settings, &policy)
    }
}

/// The paths of reviews: one for each value of the namespace's label, as the API server does not send
/// that, and an entry of the configuration can select namespaces by it.
fn namespace_label(path: &str) -> Option<NamespaceLabel> {
    match path {
        "/mutate" => Some(NamespaceLabel::Missing),
        "/mutate/on" => Some(NamespaceLabel::On),
        "/mutate/off" => Some(NamespaceLabel::Off),
        _ => None,
    }
}

fn json(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
