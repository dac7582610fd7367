//! Big programs that read the files: only asked for what they take from files. What they ask the
//! kernel for by system call, such as the JVM its memory and its CPUs, no tree of files decides.

use anyhow::{Result, ensure};

use super::memory::MIB;
use crate::container::Container;
use crate::not_applicable;
use crate::tree::Tree;

/// What a command prints in a container of 512 MiB with CPU 0 alone.
fn printed(tree: &Tree, program: &str, command: &str) -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return not_applicable(format!("{program} is not installed"));
    }
    let mut container = Container::limited(tree, |cgroup| {
        cgroup.set_memory(512 * MIB);
        cgroup.set_cpuset("0");
    })?;
    container.sh(command)
}

pub(super) fn node_os_agrees(tree: &Tree) -> Result<()> {
    let text = printed(
        tree,
        "node",
        "node -e \"const os = require(\\\"os\\\");
            console.log(os.totalmem(), os.cpus().length, os.uptime(), ...os.loadavg(),
                os.freemem() <= os.totalmem())\"",
    )?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [total, cpus, uptime, loads @ .., adds_up] = words.as_slice() else {
        anyhow::bail!("node printed {text:?}");
    };
    ensure!(*total == (512 * MIB).to_string(), "os.totalmem() is {total}");
    ensure!(*cpus == "1", "os.cpus().length is {cpus}");
    ensure!(uptime.parse::<f64>()? < 60.0, "os.uptime() is {uptime}");
    ensure!(*adds_up == "true", "os.freemem() > os.totalmem()");
    for load in loads {
        ensure!(load.parse::<f64>()? <= 15.0, "os.loadavg() has {load}");
    }
    Ok(())
}

pub(super) fn python_os_counts_the_cpus(tree: &Tree) -> Result<()> {
    let text =
        printed(tree, "python3", "/usr/bin/python3 -c \"import os; print(os.cpu_count())\"")?;
    ensure!(text.trim() == "1", "os.cpu_count() is {text}");
    Ok(())
}

pub(super) fn busybox_top_shows_the_limit(tree: &Tree) -> Result<()> {
    let text = printed(tree, "busybox", "busybox top -bn1 | head -n 1")?;
    let mut sum = 0;
    for word in text.split([' ', ',']).filter_map(|word| word.strip_suffix('K')).take(2) {
        sum += word.parse::<u64>()?;
    }
    ensure!(sum == (512 * MIB) >> 10, "used and free are {sum} kB: {text}");
    Ok(())
}
