//! What a server's processes take of the machine. Source: proc(5).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// One process. Memory is in KiB, as proc(5) counts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Process {
    /// What it is of the server: `worker`, or the program's name.
    pub(crate) role: String,
    pub(crate) rss_kib: u64,
    /// Of the resident set, what is nobody else's and no file's.
    pub(crate) anon_kib: u64,
    /// The resident set, with each page divided by how many share it.
    pub(crate) pss_kib: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// How often its threads have gone to sleep, and hence were woken up, since it began.
    pub(crate) sleeps: u64,
}

impl Process {
    /// As it is now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let status = text(&dir.join("status"))?;
        let command_line = text(&dir.join("cmdline"))?;
        let tasks: Vec<_> = std::fs::read_dir(dir.join("task"))?.flatten().collect();
        // A thread may end meanwhile.
        let statuses = tasks.iter().filter_map(|task| text(&task.path().join("status")).ok());
        Ok(Self {
            role: role(&command_line),
            rss_kib: field(&status, "VmRSS:"),
            anon_kib: field(&status, "RssAnon:"),
            pss_kib: field(&text(&dir.join("smaps_rollup"))?, "Pss:"),
            descriptors: std::fs::read_dir(dir.join("fd"))?.count(),
            threads: tasks.len(),
            sleeps: statuses.map(|status| field(&status, "voluntary_ctxt_switches:")).sum(),
        })
    }

    /// Several processes, the largest first; those that end meanwhile are left out.
    pub(crate) fn of_all(pids: &[u32]) -> Vec<Self> {
        let mut all: Vec<_> = pids.iter().filter_map(|pid| Self::of(*pid).ok()).collect();
        all.sort_by_key(|process| std::cmp::Reverse(process.rss_kib));
        all
    }
}

/// The CPU time of all threads of this name, in nanoseconds: the first number of `schedstat`.
pub(crate) fn thread_cpu_ns(pids: &[u32], name: &str) -> u64 {
    let tasks = pids.iter().filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).ok());
    let tasks = tasks.flatten().flatten().map(|task| task.path());
    let named = tasks.filter(|task| text(&task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let times = named.filter_map(|task| text(&task.join("schedstat")).ok());
    times.filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok()).sum()
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Our processes say by their first argument what they are.
fn role(command_line: &str) -> String {
    let mut words = command_line.split('\0');
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    match words.next() {
        Some("daemon") => "supervisor".to_owned(),
        Some(word) if word.starts_with("__") => word.trim_start_matches('_').to_owned(),
        _ => program.to_owned(),
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.rss_kib >= own.anon_kib && own.anon_kib > 0, "{own:?}");
        assert!(own.pss_kib > 0 && own.descriptors >= 3 && own.threads >= 1, "{own:?}");
    }

    #[test]
    fn roles_come_from_the_command_line() {
        assert_eq!(role("/usr/bin/resview\0__worker\0daemon\0"), "worker");
        assert_eq!(role("/usr/bin/resview\0daemon\0"), "supervisor");
        assert_eq!(role("/usr/bin/lxcfs\0-f\0"), "lxcfs");
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "nonvoluntary_ctxt_switches:\t3\nvoluntary_ctxt_switches:\t17\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), 17);
    }
}
