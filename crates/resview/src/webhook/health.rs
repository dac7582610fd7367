//! What the webhook says about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use kube::certificate::Shown;
use kube::serve::{Metrics, Page};

/// What is known of one process.
#[derive(Debug)]
pub(super) struct Health {
    metrics: Arc<Metrics>,
    shown: Arc<Shown>,
    /// API servers trust the certificate.
    is_settled: AtomicBool,
    /// The process is about to end.
    is_draining: AtomicBool,
}

impl Health {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            shown: Arc::default(),
            is_settled: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
        }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn shown(&self) -> &Arc<Shown> {
        &self.shown
    }

    /// From now on API servers trust what is shown; that stays so when it is renewed.
    pub(super) fn settled(&self) {
        if !self.is_settled.swap(true, Ordering::Relaxed) {
            tracing::info!("ready");
        }
    }

    /// From now on nobody should be sent here.
    pub(super) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// What is at a path.
    pub(super) fn page(&self, path: &str) -> Option<Page> {
        match path {
            "/healthz" => Some(Page::well("alive\n")),
            "/readyz" => Some(self.readiness()),
            "/metrics" => Some(Page::well(self.metrics.print(self.shown.expires()))),
            _ => None,
        }
    }

    fn readiness(&self) -> Page {
        if self.is_draining.load(Ordering::Relaxed) {
            Page::unwell("about to end\n")
        } else if self.shown.expires().is_none_or(|expires| expires <= SystemTime::now()) {
            Page::unwell("no certificate that holds\n")
        } else if !self.is_settled.load(Ordering::Relaxed) {
            Page::unwell("the API servers do not know the certificate yet\n")
        } else {
            Page::well("ready\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_a_webhook_without_a_certificate() {
        let health = Health::new(Arc::default());
        let is_well = |path: &str| health.page(path).map(|page| page.is_well);
        assert_eq!(is_well("/healthz"), Some(true), "restarting it would help nobody");
        health.settled();
        assert_eq!(is_well("/readyz"), Some(false));
        assert_eq!(is_well("/metrics"), Some(true));
        assert_eq!(is_well("/"), None);
    }
}
