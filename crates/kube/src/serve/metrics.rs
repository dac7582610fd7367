//! What the webhook counts.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::histogram::Histogram;
use crate::review::{Misunderstanding, Reason, Verdict};

/// The counters of one process, from its start.
#[derive(Debug, Default)]
pub struct Metrics {
    patched: AtomicU64,
    skipped: [AtomicU64; Reason::ALL.len()],
    misunderstood: [AtomicU64; Misunderstanding::ALL.len()],
    /// Requests that are no reviews, or were not read to their end.
    refused: AtomicU64,
    failed_handshakes: AtomicU64,
    failed_renewals: AtomicU64,
    latency: Histogram,
}

impl Metrics {
    /// Counts a review and how long its answer took.
    pub fn reviewed(&self, verdict: Verdict, took: Duration) {
        let counter = match verdict {
            Verdict::Patched => Some(&self.patched),
            Verdict::Skipped(reason) => of(&Reason::ALL, &self.skipped, reason),
            Verdict::Misunderstood(why) => of(&Misunderstanding::ALL, &self.misunderstood, why),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.latency.add(took);
    }

    /// Counts a request that was no review.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a TLS handshake that failed: often an API server that does not trust the certificate.
    pub fn handshake_failed(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a look at the certificate that came to nothing.
    pub fn renewal_failed(&self) {
        self.failed_renewals.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it in Prometheus' text format.
    #[must_use]
    pub fn print(&self, certificate_expires: Option<SystemTime>) -> String {
        let mut text = String::new();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reviews = "resview_webhook_reviews_total";
        head(&mut text, reviews, "counter", "AdmissionReviews answered, by what they came to.");
        let _ = writeln!(text, "{reviews}{{result=\"patched\"}} {}", read(&self.patched));
        for (reason, counter) in Reason::ALL.iter().zip(&self.skipped) {
            let labels = format!("result=\"skipped\",reason=\"{}\"", reason.word());
            let _ = writeln!(text, "{reviews}{{{labels}}} {}", read(counter));
        }
        for (why, counter) in Misunderstanding::ALL.iter().zip(&self.misunderstood) {
            let labels = format!("result=\"misunderstood\",reason=\"{}\"", why.word());
            let _ = writeln!(text, "{reviews}{{{labels}}} {}", read(counter));
        }
        for (name, help, counter) in [
            (
                "resview_webhook_refused_requests_total",
                "Requests that are no reviews.",
                &self.refused,
            ),
            (
                "resview_webhook_failed_handshakes_total",
                "TLS handshakes that failed.",
                &self.failed_handshakes,
            ),
            (
                "resview_webhook_failed_renewals_total",
                "Looks at the certificate that came to nothing.",
                &self.failed_renewals,
            ),
        ] {
            head(&mut text, name, "counter", help);
            let _ = writeln!(text, "{name} {}", read(counter));
        }
        let seconds = "resview_webhook_review_seconds";
        head(&mut text, seconds, "histogram", "How long reviews took, from request to answer.");
        self.latency.print(seconds, &mut text);
        if let Some(expires) = certificate_expires {
            let name = "resview_webhook_certificate_expiry_timestamp_seconds";
            head(&mut text, name, "gauge", "When the served certificate expires, since 1970.");
            let at = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let _ = writeln!(text, "{name} {at}");
        }
        text
    }
}

fn of<'a, T: PartialEq>(all: &[T], counters: &'a [AtomicU64], wanted: T) -> Option<&'a AtomicU64> {
    all.iter().zip(counters).find(|(one, _)| **one == wanted).map(|(_, counter)| counter)
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_its_line() {
        let metrics = Metrics::default();
        let took = Duration::from_micros(300);
        metrics.reviewed(Verdict::Patched, took);
        metrics.reviewed(Verdict::Patched, took);
        metrics.reviewed(Verdict::Skipped(Reason::Windows), took);
        metrics.reviewed(Verdict::Misunderstood(Misunderstanding::NoPod), took);
        metrics.handshake_failed();
        let text = metrics.print(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(77)));
        for line in [
            "resview_webhook_reviews_total{result=\"patched\"} 2\n",
            "resview_webhook_reviews_total{result=\"skipped\",reason=\"windows\"} 1\n",
            "resview_webhook_reviews_total{result=\"skipped\",reason=\"policy\"} 0\n",
            "resview_webhook_reviews_total{result=\"misunderstood\",reason=\"no_pod\"} 1\n",
            "resview_webhook_failed_handshakes_total 1\n",
            "resview_webhook_review_seconds_count 4\n",
            "resview_webhook_certificate_expiry_timestamp_seconds 77\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_name_with_a_number() {
        for line in Metrics::default().print(None).lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("resview_webhook_"), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
