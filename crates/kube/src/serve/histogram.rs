//! A histogram of durations, in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper ends of the buckets; a last one has no end.
const ENDS: [Duration; 12] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// How many durations fell into which bucket.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// As many as [`ENDS`]; what is longer is only in the count.
    buckets: [AtomicU64; 12],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Histogram {
    pub(super) fn add(&self, duration: Duration) {
        let place = ENDS.iter().zip(&self.buckets).find(|(end, _)| duration <= **end);
        if let Some((_, bucket)) = place {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn print(&self, name: &str, text: &mut String) {
        let mut below = 0_u64;
        for (end, bucket) in ENDS.iter().zip(&self.buckets) {
            below = below.saturating_add(bucket.load(Ordering::Relaxed));
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {below}", end.as_secs_f64());
        }
        // Another thread may have counted in between: the last bucket is never below the others.
        let count = self.count.load(Ordering::Relaxed).max(below);
        let sum = Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum {sum}");
        let _ = writeln!(text, "{name}_count {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_below_their_ends() {
        let histogram = Histogram::default();
        for micros in [1, 100, 101, 4_000, 7_000_000] {
            histogram.add(Duration::from_micros(micros));
        }
        let mut text = String::new();
        histogram.print("x_seconds", &mut text);
        for line in [
            "x_seconds_bucket{le=\"0.0001\"} 2\n",
            "x_seconds_bucket{le=\"0.00025\"} 3\n",
            "x_seconds_bucket{le=\"0.005\"} 4\n",
            "x_seconds_bucket{le=\"1\"} 4\n",
            "x_seconds_bucket{le=\"+Inf\"} 5\n",
            "x_seconds_sum 7.004202\n",
            "x_seconds_count 5\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
