//! The whole comparison.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::files::{candidates, chosen, shown};
use crate::protocol::{Order, Report};
use crate::report::{Comparison, Measure, Table};
use crate::trees::{Others, Titled, Tree, Trees, unexpected};

/// Longer than anything is remembered of a file: by us a millisecond (or twice what it took to
/// make), and by the kernel, of the container tree, two ticks of its clock.
const GAP: Duration = Duration::from_millis(25);

const CLIENTS: [u32; 3] = [1, 2, 8];

/// What to compare, and how long.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Our program
    #[arg(long, value_name = "FILE")]
    resview: PathBuf,
    /// An LXCFS to start and to compare with; the first is the one of the ratios
    #[arg(long, value_name = "TITLE=FILE")]
    lxcfs: Vec<Titled>,
    /// A mounted tree to compare with
    #[arg(long, value_name = "DIR")]
    against: Vec<PathBuf>,
    /// Only these files, as the tables call them
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    files: Vec<String>,
    /// A tenth of the time, which is enough to see powers of two
    #[arg(long)]
    quick: bool,
    /// How many rounds [default: 15; quick: 5]
    #[arg(long)]
    rounds: Option<u32>,
    /// How many reads of each file and tree in a round [default: 200; quick: 50]
    #[arg(long)]
    reads: Option<u32>,
    /// How long each measurement of a rate takes, in seconds [default: 0.25; quick: 0.05]
    #[arg(long)]
    seconds: Option<f64>,
    /// Where the results go: compare.json, compare.md and compare.svg
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// How long.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: u32,
    reads: u32,
    /// Reads in a round that each come after a pause, which makes them a thousand times as long.
    reads_anew: u32,
    /// Rounds of the measurements of rates.
    rate_rounds: u32,
    rate: Duration,
}

impl Options {
    fn effort(&self) -> Effort {
        let pick = |full, quick| if self.quick { quick } else { full };
        let rounds = self.rounds.unwrap_or(pick(15, 5)).max(1);
        let reads = self.reads.unwrap_or(pick(200, 50)).max(1);
        let seconds = self.seconds.unwrap_or(if self.quick { 0.05 } else { 0.25 });
        Effort {
            rounds,
            reads,
            reads_anew: reads.div_ceil(40),
            rate_rounds: rounds.div_ceil(5),
            rate: Duration::from_secs_f64(seconds),
        }
    }
}

/// Measures, prints, and writes it down.
pub(crate) fn compare(options: &Options) -> Result<()> {
    conformance::private_mounts()?;
    let (candidates, effort) = (candidates(), options.effort());
    let others = Others { lxcfs: &options.lxcfs, mounted: &options.against };
    let mut trees = Trees::new(&options.resview, &others, &candidates)?;
    let ours = trees.all.iter().filter(|tree| tree.is_ours());
    let view: Vec<String> = ours.flat_map(|tree| tree.files.clone()).collect();
    let files = chosen(&candidates, &options.files, &view);
    ensure!(!files.is_empty(), "no such file in the view: {}", options.files.join(", "));

    let mut comparison = Comparison {
        trees: trees.all.iter().map(|tree| tree.kind.clone()).collect(),
        tables: empty_tables(),
    };
    for (number, file) in files.iter().enumerate() {
        eprintln!("{} of {}: {}", number + 1, files.len(), shown(file));
        let mut row = |measure, values| comparison.add(measure, shown(file), values);
        let (p50, p99) = latency(&mut trees, file, effort.rounds, effort.reads, Duration::ZERO)?;
        row(Measure::Steady(50), p50);
        row(Measure::Steady(99), p99);
        let (p50, p99) = latency(&mut trees, file, effort.rounds, effort.reads_anew, GAP)?;
        row(Measure::Anew(50), p50);
        row(Measure::Anew(99), p99);
        for clients in CLIENTS {
            let (rates, costs) = rate(&mut trees, file, clients, effort)?;
            row(Measure::Rate(clients), rates);
            row(Measure::Cpu(clients), costs);
        }
    }
    print!("{}", comparison.markdown());
    comparison.write(&options.out)
}

/// In the order in which they are shown.
fn empty_tables() -> Vec<Table> {
    let times = [Measure::Steady(50), Measure::Steady(99), Measure::Anew(50), Measure::Anew(99)];
    let rates = CLIENTS.map(Measure::Rate).into_iter().chain(CLIENTS.map(Measure::Cpu));
    times.into_iter().chain(rates).map(|measure| Table { measure, rows: Vec::new() }).collect()
}

/// A value for each tree that has the file.
type Values = Vec<Option<f64>>;

/// p50 and p99 in microseconds.
fn latency(
    trees: &mut Trees,
    file: &str,
    rounds: u32,
    reads: u32,
    gap: Duration,
) -> Result<(Values, Values)> {
    let has = trees.all.iter().map(|tree| tree.has(file)).collect::<Vec<_>>();
    let roots = trees.all.iter().filter(|tree| tree.has(file)).map(|tree| tree.root.clone());
    let (roots, file) = (roots.collect(), file.to_owned());
    let order = Order::Latency { roots, file, rounds, reads, gap };
    let Report::Latency(found) = trees.container.order(&order)? else { return unexpected() };
    let mut found = found.into_iter();
    let cells = has.iter().map(|has| if *has { found.next() } else { None });
    let cells = cells.map(|cell| cell.map(|cell| (micros(cell.p50_ns), micros(cell.p99_ns))));
    Ok(cells.map(Option::unzip).unzip())
}

/// Reads per second, and what they cost the server, in microseconds each.
///
/// The rate is the median over the rounds, the cost that of all of them: a server does some of its
/// work later, or now and then.
fn rate(trees: &mut Trees, file: &str, clients: u32, effort: Effort) -> Result<(Values, Values)> {
    let mut rates = vec![Vec::new(); trees.all.len()];
    let mut costs = vec![None; trees.all.len()];
    for _ in 0..effort.rate_rounds {
        let columns = trees.all.iter().zip(rates.iter_mut().zip(&mut costs));
        for (tree, (rates, cost)) in columns.filter(|(tree, _)| tree.has(file)) {
            let before = trees.servers.cpu_ns(tree);
            let (root, file) = (tree.root.clone(), file.to_owned());
            let order = Order::Rate { root, file, clients, duration: effort.rate };
            let Report::Rate { per_second, reads } = trees.container.order(&order)? else {
                return unexpected();
            };
            rates.push(per_second);
            if let (Some(before), Some(after)) = (before, trees.servers.cpu_ns(tree)) {
                let (all, ns) = cost.unwrap_or_default();
                *cost = Some((all + reads, ns + after.saturating_sub(before)));
            }
        }
    }
    let per_read = |(reads, ns): (u64, u64)| (reads > 0).then(|| micros(ns) / real(reads));
    let costs = costs.into_iter().map(|cost| cost.and_then(per_read));
    Ok((rates.into_iter().map(median).collect(), costs.collect()))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn micros(ns: u64) -> f64 {
    real(ns) / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of a benchmark are far below 2^52")]
fn real(count: u64) -> f64 {
    count as f64
}

impl Tree {
    fn has(&self, file: &str) -> bool {
        self.files.iter().any(|name| name == file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_rates_is_one_that_was_measured() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn every_measure_has_a_table_and_each_only_one() {
        let tables = empty_tables();
        for (number, table) in tables.iter().enumerate() {
            let rest = tables.iter().skip(number + 1);
            assert!(rest.into_iter().all(|other| other.measure != table.measure));
        }
        assert_eq!(tables.len(), 10);
    }
}
