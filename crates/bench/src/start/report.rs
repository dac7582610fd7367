//! The results: as tables.

use std::fmt::Write as _;

use serde::Serialize;

use crate::scale::processes::Process;

/// Everything that a run has measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
}

/// One server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) server: String,
    pub(crate) stripped_bytes: u64,
    /// From its start to its first answer, each time.
    pub(crate) ready_ns: Vec<u64>,
    pub(crate) idle: Vec<Idle>,
}

/// A server of which nobody wants anything.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    /// That it knows.
    pub(crate) containers: usize,
    pub(crate) seconds: u64,
    /// In that time, of all its threads.
    pub(crate) wake_ups: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) processes: Vec<Process>,
}

#[allow(clippy::cast_precision_loss, reason = "figures of a benchmark are far below 2^52")]
fn ratio(of: u64, by: u64) -> f64 {
    of as f64 / by.max(1) as f64
}

impl Row {
    fn ready_ms(&self) -> f64 {
        let mut sorted = self.ready_ns.clone();
        sorted.sort_unstable();
        ratio(sorted.get(sorted.len() / 2).copied().unwrap_or_default(), 1_000_000)
    }

    fn mib(&self) -> f64 {
        ratio(self.stripped_bytes, 1 << 20)
    }
}

impl Idle {
    fn mib(&self, of: impl Fn(&Process) -> u64) -> f64 {
        ratio(self.processes.iter().map(of).sum(), 1024)
    }

    fn wake_ups_per_second(&self) -> f64 {
        ratio(self.wake_ups, self.seconds)
    }
}

impl Results {
    /// All tables, with a heading each.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "### Start\n\n".to_owned();
        text.push_str("| server | ready after, median (of) | program, stripped |\n|---|---|---|\n");
        for row in &self.rows {
            let (ready, times, mib) = (row.ready_ms(), row.ready_ns.len(), row.mib());
            let _ = writeln!(text, "| {} | {ready:.1} ms ({times}) | {mib:.2} MiB |", row.server);
        }
        text.push_str(
            "\n### Doing nothing\n\n| server | containers known | wake-ups per second | CPU, % of a \
             core | RSS, own, PSS in MiB | process: RSS, of it its own, PSS in KiB |\n\
             |---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            row.idle.iter().for_each(|idle| line(&row.server, idle, &mut text));
        }
        text.push_str("\n### Targets\n\n| target | measured | met |\n|---|---|---|\n");
        if let Some(ours) = self.rows.first() {
            targets(ours, &mut text);
        }
        text
    }
}

fn line(server: &str, idle: &Idle, text: &mut String) {
    let processes = idle.processes.iter();
    let processes = processes
        .map(|one| format!("{}: {}, {}, {}", one.role, one.rss_kib, one.anon_kib, one.pss_kib));
    let _ = writeln!(
        text,
        "| {server} | {} | {:.2} | {:.3} | {:.1}, {:.1}, {:.1} | {} |",
        idle.containers,
        idle.wake_ups_per_second(),
        ratio(idle.cpu_ns, idle.seconds * 10_000_000),
        idle.mib(|one| one.rss_kib),
        idle.mib(|one| one.anon_kib),
        idle.mib(|one| one.pss_kib),
        processes.collect::<Vec<_>>().join("; "),
    );
}

fn targets(ours: &Row, text: &mut String) {
    let mut target = |what: &str, measured: f64, most: f64, unit: &str| {
        let met = if measured <= most { "yes" } else { "no" };
        let _ = writeln!(text, "| {what} ≤ {most} {unit} | {measured:.2} {unit} | {met} |");
    };
    target("ready in", ours.ready_ms(), 50.0, "ms");
    target("program, stripped,", ours.mib(), 8.0, "MiB");
    for idle in &ours.idle {
        let with = format!("with {} containers", idle.containers);
        target(&format!("RSS of all processes {with}"), idle.mib(|one| one.rss_kib), 10.0, "MiB");
        let what = format!("wake-ups {with}");
        target(&what, idle.wake_ups_per_second(), 1.0, "per second");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_missed_says_so() {
        let idle = |wake_ups| Idle {
            containers: 0,
            seconds: 10,
            wake_ups,
            cpu_ns: 0,
            processes: Vec::new(),
        };
        let row = Row {
            server: "resview".to_owned(),
            stripped_bytes: 9 << 20,
            ready_ns: vec![10_000_000, 20_000_000, 90_000_000],
            idle: vec![idle(5), idle(50)],
        };
        let text = Results { rows: vec![row] }.markdown();
        assert!(text.contains("| ready in ≤ 50 ms | 20.00 ms | yes |"), "{text}");
        assert!(text.contains("| program, stripped, ≤ 8 MiB | 9.00 MiB | no |"), "{text}");
        assert!(text.contains("| 0.50 per second | yes |"), "{text}");
        assert!(text.contains("| 5.00 per second | no |"), "{text}");
    }
}
