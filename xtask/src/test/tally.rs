//! What libtest and the tests themselves said: counts, names of what failed, reasons for skips.

use serde::{Deserialize, Serialize};

/// The results of the tests of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Tests that ran and passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that did not run, as they said themselves or as `#[ignore]` says.
    pub(crate) skipped: u64,
    /// The names of the tests that failed.
    pub(crate) failures: Vec<String>,
    /// The `SKIPPED <test>: <reason>` lines.
    pub(crate) skips: Vec<String>,
    /// The `FIGURES <test>: <what it measured>` lines.
    pub(crate) figures: Vec<String>,
}

/// How libtest shows a test that is no test but a process which other tests start.
const PART: &str = " ... ignored, the process that ";

impl Tally {
    /// Reads the output of test binaries, and the lines that [`testkit::skip`] and
    /// [`testkit::figures`] kept.
    ///
    /// libtest counts a test that skipped itself as passed; here it counts as skipped, unless
    /// `skips_fail`, when it has failed already.
    pub(crate) fn read(output: &str, kept: &str, skips_fail: bool) -> Self {
        let (mut tally, mut parts) = (Self::default(), 0_u64);
        for line in output.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                tally.passed = tally.passed.saturating_add(count(result, "passed"));
                tally.failed = tally.failed.saturating_add(count(result, "failed"));
                tally.skipped = tally.skipped.saturating_add(count(result, "ignored"));
            } else if line.starts_with("test ") && line.contains(PART) {
                parts = parts.saturating_add(1);
            } else if let Some(name) = line.strip_prefix("test ")
                && let Some(name) = name.strip_suffix(" ... FAILED")
            {
                tally.failures.push(name.to_owned());
            }
        }
        tally.skipped = tally.skipped.saturating_sub(parts);
        let of = |sort: &'static str| {
            kept.lines().filter(move |line| line.starts_with(sort)).map(str::to_owned)
        };
        tally.figures = of("FIGURES ").collect();
        tally.skips = of("SKIPPED ").collect();
        tally.skips.sort();
        // One test may find more than one reason.
        tally.skips.dedup_by_key(|line| line.split(':').next().map(str::to_owned));
        if !skips_fail {
            let skipped = tally.skips.len() as u64;
            tally.passed = tally.passed.saturating_sub(skipped);
            tally.skipped = tally.skipped.saturating_add(skipped);
        }
        tally
    }
}

/// The number before a word: `3` of `ok. 3 passed; 0 failed; …`.
fn count(result: &str, word: &str) -> u64 {
    let words: Vec<&str> = result.split([' ', ';']).collect();
    let pair = words.windows(2).find(|pair| pair[1] == word);
    pair.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 4 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ok\n\
        test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n\
        test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";

    #[test]
    fn results_add_up() {
        let tally = Tally::read(OUTPUT, "", false);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (42, 1, 1));
        assert_eq!(tally.failures, ["b"]);
    }

    #[test]
    fn a_process_of_other_tests_is_no_skipped_test() {
        let output = "test worker ... ignored, the process that serves in the other tests\n\
            test result: ok. 4 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Tally::read(output, "", false).skipped, 1);
    }

    #[test]
    fn a_skipped_test_did_not_pass() {
        let skips = "SKIPPED c: needs root\nSKIPPED c: needs /dev/fuse\n";
        let tally = Tally::read(OUTPUT, skips, false);
        assert_eq!((tally.passed, tally.skipped, tally.skips.len()), (41, 2, 1));
        assert_eq!(Tally::read(OUTPUT, skips, true).passed, 42);
    }

    #[test]
    fn figures_are_kept_and_skip_nothing() {
        let tally = Tally::read(OUTPUT, "FIGURES a: 3 reads\n", false);
        assert_eq!((tally.passed, tally.skipped), (42, 1));
        assert_eq!(tally.figures, ["FIGURES a: 3 reads"]);
    }
}
