//! Prometheus's node_exporter, which reads many files at once and none by system call but the host's
//! name, and is what most clusters watch their machines with.

use anyhow::{Context, Result, ensure};

use super::consumers::printed;
use super::memory::MIB;
use crate::tree::Tree;

/// Serves its numbers to itself alone, in a network namespace of the container's own.
const SCRIPT: &str = "
exec unshare -n sh -c \"
    ip link set lo up
    prometheus-node-exporter --web.listen-address=127.0.0.1:9100 >/dev/null 2>&1 &
    exec /usr/bin/python3 -I -S -\" <<\"EOF\"
import time, urllib.request
for _ in range(200):
    try:
        with urllib.request.urlopen('http://127.0.0.1:9100/metrics') as answer:
            print(answer.read().decode())
            break
    except OSError:
        time.sleep(0.1)
EOF";

pub(super) fn node_exporter_reports_the_container(tree: &Tree) -> Result<()> {
    let text = printed(tree, "prometheus-node-exporter", SCRIPT)?;
    let value = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let line = line.with_context(|| format!("no {name} in what it serves"))?;
        line.parse().with_context(|| format!("{name} is {line}"))
    };
    let total = value("node_memory_MemTotal_bytes")?;
    ensure!(total.to_string() == (512 * MIB).to_string(), "MemTotal is {total}");
    let available = value("node_memory_MemAvailable_bytes")?;
    ensure!(available <= total, "MemAvailable is {available} of {total}");
    let cpus = text.lines().filter(|line| {
        line.starts_with("node_cpu_seconds_total{") && line.contains("mode=\"idle\"")
    });
    ensure!(cpus.count() == 1, "node_cpu_seconds_total has more than the container's CPU");
    for name in ["node_context_switches_total", "node_intr_total"] {
        let count = value(name)?;
        ensure!(count < 1e4, "{name} is {count}, the host's");
    }
    let failed: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("node_scrape_collector_success{") && line.ends_with(" 0"))
        .filter(|line| FILES.iter().any(|name| line.contains(&format!("\"{name}\""))))
        .collect();
    ensure!(failed.is_empty(), "collectors that failed: {failed:?}");
    Ok(())
}

/// Its collectors of files that a tree has.
const FILES: [&str; 7] = ["cpu", "diskstats", "loadavg", "meminfo", "pressure", "stat", "vmstat"];
