//! The results: as tables, and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::processes::Process;

/// Everything that a run has measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    files: Vec<String>,
    /// Whether our containers have a tree each.
    container_tree: bool,
    pub(crate) rows: Vec<Row>,
}

/// One server with so many containers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) server: String,
    pub(crate) containers: usize,
    /// In each of them.
    pub(crate) tasks: u32,
    /// Of all files by all containers.
    pub(crate) reads: u64,
    /// Of each file, the median over the containers of each one's.
    pub(crate) p50_ns: Vec<u64>,
    pub(crate) reading: Load,
    /// All wake up as often, and read nothing.
    pub(crate) stirring: Load,
    /// All sleep.
    pub(crate) idle: Load,
    /// The server's, at the end of the reading.
    pub(crate) processes: Vec<Process>,
    /// What is charged to its cgroup, the kernel's memory for its open files included.
    pub(crate) charged_kib: u64,
}

/// What a server has used in some time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Load {
    pub(crate) seconds: f64,
    pub(crate) cpu_ns: u64,
    /// Of it, what our load sampler's thread has.
    pub(crate) sampler_ns: u64,
}

impl Load {
    /// Percent of one core.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a benchmark are far below 2^52")]
    fn percent(self, ns: u64) -> f64 {
        ns as f64 / self.seconds.max(1e-9) / 1e7
    }
}

impl Row {
    fn sum(&self, of: impl Fn(&Process) -> u64) -> u64 {
        self.processes.iter().map(of).sum()
    }

    /// Microseconds of the server's CPU time for each read.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a benchmark are far below 2^52")]
    fn us_per_read(&self) -> f64 {
        self.reading.cpu_ns as f64 / self.reads.max(1) as f64 / 1000.0
    }

    fn descriptors(&self) -> usize {
        self.processes.iter().map(|process| process.descriptors).sum()
    }

    /// Its line of the table.
    pub(crate) fn line(&self) -> String {
        let p50: Vec<_> = self.p50_ns.iter().map(|ns| ns.div_ceil(1000).to_string()).collect();
        let percent = |load: Load| {
            let (all, sampler) = (load.percent(load.cpu_ns), load.percent(load.sampler_ns));
            if sampler > 0.0 { format!("{all:.2} ({sampler:.2})") } else { format!("{all:.2}") }
        };
        format!(
            "| {} | {} | {} | {:.2} | {:.1} | {} | {} | {} | {}, {}, {} | {} |\n",
            self.server,
            self.containers,
            self.tasks,
            self.reading.percent(self.reading.cpu_ns),
            self.us_per_read(),
            p50.join(", "),
            percent(self.stirring),
            percent(self.idle),
            mib(self.sum(|one| one.rss_kib)),
            mib(self.sum(|one| one.pss_kib)),
            mib(self.charged_kib),
            self.descriptors(),
        )
    }
}

/// A target, the figure, and whether it is met.
struct Target {
    what: String,
    measured: String,
    is_met: bool,
}

impl Results {
    pub(crate) fn new<const N: usize>(files: [&str; N], container_tree: bool) -> Self {
        Self { files: files.map(str::to_owned).to_vec(), container_tree, rows: Vec::new() }
    }

    /// All tables, with a heading each.
    pub(crate) fn markdown(&self) -> String {
        let tree = if self.container_tree { "each its own tree" } else { "the shared tree" };
        let mut text = format!("### {} once a second in each container, {tree}\n\n", {
            self.files.join(", ")
        });
        text.push_str(
            "| server | containers | tasks each | CPU, % of a core | µs CPU per read | p50 in µs \
             | awake, no reads: CPU % (load sampler) | all asleep: CPU % (load sampler) | RSS, PSS, with the kernel's \
             for it, in MiB | descriptors |\n|---|---|---|---|---|---|---|---|---|---|\n",
        );
        self.rows.iter().for_each(|row| text.push_str(&row.line()));
        text.push_str("\n### Memory of each process, in KiB\n\n");
        text.push_str("| server | containers | tasks each | process: RSS, of it its own, PSS |\n");
        text.push_str("|---|---|---|---|\n");
        self.rows.iter().for_each(|row| memory(row, &mut text));
        text.push_str("\n### Targets\n\n| target | measured | met |\n|---|---|---|\n");
        for Target { what, measured, is_met } in self.targets() {
            let met = if is_met { "yes" } else { "no" };
            let _ = writeln!(text, "| {what} | {measured} | {met} |");
        }
        text
    }

    /// Of our server, with the most containers.
    fn targets(&self) -> Vec<Target> {
        let ours = self.rows.iter().filter(|row| row.server == "resview");
        let Some(most) = ours.clone().max_by_key(|row| row.containers) else { return Vec::new() };
        let least = ours.clone().min_by_key(|row| row.containers);
        let at = format!("with {} containers", most.containers);
        let busy = most.reading.percent(most.reading.cpu_ns);
        let rss = most.sum(|one| one.rss_kib);
        let stirring = most.stirring.percent(most.stirring.sampler_ns);
        let mut targets = vec![
            target(&format!("CPU ≤ 5 % of a core {at}"), format!("{busy:.2} %"), busy <= 5.0),
            target(&format!("RSS ≤ 64 MiB {at}"), format!("{} MiB", mib(rss)), rss <= 64 << 10),
            target(
                &format!("load averages ≤ 1 % of a core {at}"),
                format!("{stirring:.2} %"),
                stirring <= 1.0,
            ),
        ];
        if let Some(least) = least {
            let (one, many) = (least.us_per_read(), most.us_per_read());
            let what = format!("a read costs the same with {} containers", most.containers);
            targets.push(target(&what, format!("{one:.1} µs, {many:.1} µs"), many <= one * 1.25));
        }
        targets
    }

    /// Writes `scale.json` and `scale.md`.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        write(dir, "scale", &serde_json::to_string_pretty(self)?, &self.markdown())
    }
}

/// Writes both forms of some results below `dir`.
pub(crate) fn write(dir: &Path, name: &str, json: &str, markdown: &str) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (extension, text) in [("json", json), ("md", markdown)] {
        let path = dir.join(name).with_extension(extension);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("{}", path.display());
    }
    Ok(())
}

fn target(what: &str, measured: String, is_met: bool) -> Target {
    Target { what: what.to_owned(), measured, is_met }
}

fn memory(row: &Row, text: &mut String) {
    let processes = row
        .processes
        .iter()
        .map(|one| format!("{}: {}, {}, {}", one.role, one.rss_kib, one.anon_kib, one.pss_kib));
    let processes = processes.collect::<Vec<_>>().join("; ");
    let _ = writeln!(text, "| {} | {} | {} | {processes} |", row.server, row.containers, row.tasks);
}

#[allow(clippy::cast_precision_loss, reason = "memory of a process is far below 2^52 KiB")]
fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(containers: usize, cpu_ns: u64) -> Row {
        let load = Load { seconds: 10.0, cpu_ns, sampler_ns: 0 };
        Row {
            server: "resview".to_owned(),
            containers,
            tasks: 1,
            reads: 1000,
            p50_ns: vec![1500],
            reading: load,
            stirring: load,
            idle: load,
            processes: Vec::new(),
            charged_kib: 0,
        }
    }

    #[test]
    fn a_target_that_is_missed_says_so() {
        let mut results = Results::new(["meminfo"], false);
        results.rows = vec![row(1, 100_000_000), row(1000, 900_000_000)];
        let text = results.markdown();
        assert!(
            text.contains("| CPU ≤ 5 % of a core with 1000 containers | 9.00 % | no |"),
            "{text}"
        );
        assert!(
            text.contains("| load averages ≤ 1 % of a core with 1000 containers | 0.00 % | yes |")
        );
        assert!(
            text.contains(
                "| a read costs the same with 1000 containers | 100.0 µs, 900.0 µs | no |"
            )
        );
    }
}
