//! What was aimed at, and how near this run has come. Nothing fails that misses a target: times
//! depend on the machine, and the reader judges.

use serde::Serialize;

use super::table::short;
use super::{Comparison, Measure};
use crate::trees::Kind;

/// A target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Target {
    target: String,
    /// The ratio, and of which file, if the worst of several.
    measured: String,
    met: bool,
}

/// A ratio that is not to be exceeded, or not to be fallen short of.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// How much of the kernel's own time FUSE alone may cost for a target that is a ratio to the kernel's.
/// The cheaper the kernel's own file, the more of the ratio is FUSE's: there, its time is the measure.
const FUSE_ALONE: f64 = 4.0;

/// Those that can be asked of this run.
pub(super) fn of(comparison: &Comparison) -> Vec<Target> {
    let (steady, anew) = (Measure::Steady(50), Measure::Anew(50));
    let mut targets = Vec::new();
    let mut add = |what: String, found: Option<(String, f64)>, bound: Bound| {
        targets.extend(found.map(|found| judged(&what, &found, bound)));
    };
    for file in ["meminfo", "stat"] {
        let only = |name: &str, _: &[Option<f64>]| name == file;
        let to_kernel = |measure| {
            let to = &Kind::Kernel;
            let found = comparison.worst(measure, &Kind::Container, to, only, Bound::AtMost(0.0));
            found.map(|(_, ratio)| (String::new(), ratio)) // the target names it
        };
        let bound = Bound::AtMost(0.6);
        add(format!("container tree, {file}, p50 ≤ 0.6 × the kernel's"), to_kernel(steady), bound);
        let bound = Bound::AtMost(8.0);
        let what = format!("container tree, {file}, rendered anew, p50 ≤ 8 × the kernel's");
        add(what, to_kernel(anew), bound);
    }
    let all = |_: &str, _: &[Option<f64>]| true;
    let alone = |row: &[Option<f64>]| comparison.ratio(row, &Kind::Alone, &Kind::Kernel);
    let dear = |_: &str, row: &[Option<f64>]| alone(row).is_some_and(|alone| alone <= FUSE_ALONE);
    let cheap = |_: &str, row: &[Option<f64>]| alone(row).is_some_and(|alone| alone > FUSE_ALONE);
    let bound = Bound::AtMost(6.0);
    let what = "shared tree, p50 ≤ 6 × the kernel's, files of which FUSE alone costs ≤ 4 ×";
    let found = comparison.worst(steady, &Kind::Shared, &Kind::Kernel, dear, bound);
    add(what.to_owned(), found, bound);
    let bound = Bound::AtMost(1.5);
    let found = comparison.worst(steady, &Kind::Shared, &Kind::Alone, cheap, bound);
    add("shared tree, p50 ≤ 1.5 × that of FUSE alone, the other files".to_owned(), found, bound);
    let Some(other) = comparison.other() else { return targets };
    let title = other.title();
    let mut against = |measure, what: &str, bound| {
        let found = comparison.worst(measure, &Kind::Shared, other, all, bound);
        add(format!("shared tree, every file, {what} that of {title}"), found, bound);
    };
    against(steady, "p50 ≤ 1/4 of", Bound::AtMost(0.25));
    against(anew, "p50 after a pause ≤ 1/4 of", Bound::AtMost(0.25));
    against(Measure::Rate(2), "reads per second of two clients ≥ 4 ×", Bound::AtLeast(4.0));
    against(Measure::Cpu(1), "CPU time of the server per read ≤ 1/4 of", Bound::AtMost(0.25));
    targets
}

fn judged(what: &str, (file, ratio): &(String, f64), bound: Bound) -> Target {
    let met = match bound {
        Bound::AtMost(most) => *ratio <= most,
        Bound::AtLeast(least) => *ratio >= least,
    };
    let ratio = short(*ratio);
    let measured = if file.is_empty() { ratio } else { format!("{ratio} ({file})") };
    Target { target: what.to_owned(), measured, met }
}

/// As rows of a table.
pub(super) fn rows(targets: &[Target]) -> Vec<Vec<String>> {
    let heading = ["target", "measured", "met"].map(str::to_owned).to_vec();
    let row = |target: &Target| {
        let met = if target.met { "yes" } else { "no" };
        vec![target.target.clone(), target.measured.clone(), met.to_owned()]
    };
    [heading].into_iter().chain(targets.iter().map(row)).collect()
}

impl Comparison {
    /// The file whose ratio is furthest on the wrong side of a bound, among those that count.
    fn worst(
        &self,
        measure: Measure,
        of: &Kind,
        to: &Kind,
        counts: impl Fn(&str, &[Option<f64>]) -> bool,
        bound: Bound,
    ) -> Option<(String, f64)> {
        let rows = self.table(measure)?.rows.iter().filter(|(file, row)| counts(file, row));
        let ratios = rows.filter_map(|(file, row)| Some((file.clone(), self.ratio(row, of, to)?)));
        let by_ratio = |a: &(String, f64), b: &(String, f64)| a.1.total_cmp(&b.1);
        match bound {
            Bound::AtMost(_) => ratios.max_by(by_ratio),
            Bound::AtLeast(_) => ratios.min_by(by_ratio),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    fn judgement(part: &str) -> (String, bool) {
        let targets = of(&example());
        let found: Vec<_> = targets.iter().filter(|one| one.target.contains(part)).collect();
        assert_eq!(found.len(), 1, "{targets:#?}");
        (found[0].measured.clone(), found[0].met)
    }

    #[test]
    fn the_worst_file_decides() {
        assert_eq!(judgement("p50 ≤ 1/4 of"), ("0.350 (stat)".to_owned(), false));
        assert_eq!(judgement("two clients"), ("8.00 (meminfo)".to_owned(), true));
        assert_eq!(judgement("CPU time"), ("0.200 (meminfo)".to_owned(), true));
        // Of meminfo and stat, FUSE alone costs no more than four times what the kernel does.
        assert_eq!(judgement("≤ 6 × the kernel's"), ("7.00 (stat)".to_owned(), false));
        assert_eq!(judgement("1.5 × that of FUSE alone"), ("1.22 (uptime)".to_owned(), true));
    }

    #[test]
    fn a_target_of_one_file_is_about_that_file() {
        assert_eq!(judgement("meminfo, p50 ≤ 0.6"), ("0.500".to_owned(), true));
        assert_eq!(judgement("stat, p50 ≤ 0.6"), ("0.700".to_owned(), false));
        assert_eq!(judgement("meminfo, rendered anew"), ("0.500".to_owned(), true));
    }

    #[test]
    fn without_another_tree_only_the_kernel_is_aimed_at() {
        let mut comparison = example();
        comparison.trees.pop();
        let targets = of(&comparison);
        assert_eq!(targets.len(), 6);
        assert!(targets.iter().all(|one| !one.target.contains("LXCFS")), "{targets:#?}");
    }
}
