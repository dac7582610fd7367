//! The formulas behind the main quantities, with this container's numbers put in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cgroup::{Controller, Group, Version};
use procfmt::limit::Limit;
use procfmt::meminfo::Totals;
use procfmt::units::{Bytes, Kib};
use view::input::{MemoryInput, MemoryLevel, SwapLevel};

use super::sources::{Source, read};

/// How a number comes about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formula {
    /// With the numbers put in.
    pub(super) text: String,
    /// The file that decided, or that it is the host.
    pub(super) decided_by: Option<String>,
    /// The files of the container's cgroup and of each above it.
    pub(super) ancestry: Vec<Source>,
}

/// What decides where no limit does.
pub(super) const HOST: &str = "the host";

/// The memory controller's files and values, level by level.
struct Ladder {
    version: Version,
    directories: Vec<PathBuf>,
    input: MemoryInput,
}

/// The formula of one of the lines of meminfo that limits decide; `None`: another line, or no
/// memory controller holds for the container.
pub(super) fn meminfo(group: &Group, host: &Totals, line: &str) -> anyhow::Result<Option<Formula>> {
    let (Some(input), Some(version)) = (group.memory()?, group.version(Controller::Memory)) else {
        return Ok(None);
    };
    let directories = group.directories(Controller::Memory)?;
    let ladder = Ladder { version, directories, input };
    Ok(match line {
        "MemTotal" | "LowTotal" => Some(ladder.total(host)),
        "MemFree" | "LowFree" => Some(ladder.room(host, false)),
        "MemAvailable" => Some(ladder.room(host, true)),
        "SwapTotal" => Some(ladder.swap_total(host)),
        "SwapFree" => Some(ladder.swap_free()),
        _ => None,
    })
}

impl Ladder {
    fn levels(&self) -> impl Iterator<Item = (&Path, &MemoryLevel)> {
        self.directories.iter().map(PathBuf::as_path).zip(&self.input.levels)
    }

    /// These files of every level, those by which the memory controller goes.
    fn files(&self, v1: &[&str], v2: &[&str]) -> Vec<Source> {
        let names = if self.version == Version::V1 { v1 } else { v2 };
        let paths = self.directories.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
        paths.filter_map(|path| read(path, None)).collect()
    }

    /// min(the host's, every limit).
    fn total(&self, host: &Totals) -> Formula {
        let name = self.limit_file(false);
        let mut text = format!("min({} kB of the host", host.mem_total.0);
        let mut least = (host.mem_total, HOST.to_owned());
        for (dir, level) in self.levels() {
            let Limit::Value(limit) = level.limit else { continue };
            let _ = write!(text, ", {} kB", limit.kib().0);
            if limit.kib() < least.0 {
                least = (limit.kib(), shown(&dir.join(name)));
            }
        }
        let _ = write!(text, ") = {} kB", least.0.0);
        let ancestry = self.files(&["memory.limit_in_bytes"], &["memory.max"]);
        Formula { text, decided_by: Some(least.1), ancestry }
    }

    /// What every limited level has left, and for MemAvailable what it would reclaim first.
    fn room(&self, host: &Totals, with_reclaimable: bool) -> Formula {
        let mut parts = Vec::new();
        let mut least: Option<(Bytes, PathBuf)> = None;
        let mut total = host.mem_total;
        for (dir, level) in self.levels() {
            total = level.limit.map(Bytes::kib).cap(total);
            let by_high = level.high < level.limit;
            let Limit::Value(limit) = level.limit.min(level.high) else { continue };
            let mut room = limit.saturating_sub(level.usage);
            let mut part = format!("{} − {}", limit.kib().0, level.usage.kib().0);
            if with_reclaimable {
                room = room + level.file + level.slab_reclaimable;
                let reclaimable = level.file + level.slab_reclaimable;
                let _ = write!(part, " + {}", reclaimable.kib().0);
            }
            parts.push(part);
            if least.as_ref().is_none_or(|(known, _)| room < *known) {
                least = Some((room, dir.join(self.limit_file(by_high))));
            }
        }
        let (own, bound) = if with_reclaimable {
            (host.mem_available, "the host's MemAvailable")
        } else {
            (host.mem_free, "the host's MemFree")
        };
        let most = total.min(host.mem_available);
        let ancestry = self.files(
            &["memory.limit_in_bytes", "memory.usage_in_bytes"],
            &["memory.max", "memory.high", "memory.current"],
        );
        let Some((room, file)) = least else {
            let text = format!("no limit: {bound}, {} kB, and no more than MemTotal", own.0);
            return Formula { text, decided_by: Some(HOST.to_owned()), ancestry };
        };
        let value = room.kib().min(most);
        let what = if with_reclaimable {
            "limit − usage + page cache and reclaimable slab of each limited level"
        } else {
            "limit − usage of each limited level"
        };
        let text = format!(
            "{what}: min({}, at most {} kB by MemTotal and the host's MemAvailable) = {} kB",
            parts.join(", "),
            most.0,
            value.0
        );
        let decided_by = if room.kib() <= most { shown(&file) } else { HOST.to_owned() };
        Formula { text, decided_by: Some(decided_by), ancestry }
    }

    fn limit_file(&self, by_high: bool) -> &'static str {
        match (self.version, by_high) {
            (Version::V1, _) => "memory.limit_in_bytes",
            (Version::V2, false) => "memory.max",
            (Version::V2, true) => "memory.high",
        }
    }

    fn swap_files(&self) -> Vec<Source> {
        self.files(
            &["memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"],
            &["memory.swap.max", "memory.swap.current"],
        )
    }

    /// v2 limits swap, v1 memory and swap together.
    fn swap_total(&self, host: &Totals) -> Formula {
        let ancestry = self.swap_files();
        let mut least: Limit<(Kib, PathBuf)> = Limit::Max;
        let mut memory = Limit::Max;
        for (dir, level) in self.levels() {
            memory = memory.min(level.limit);
            let (limit, name) = match level.swap {
                SwapLevel::Absent => continue,
                SwapLevel::Swap { max, .. } => (max, "memory.swap.max"),
                SwapLevel::MemoryPlusSwap { limit, .. } => (limit, "memory.memsw.limit_in_bytes"),
            };
            if let Limit::Value(limit) = limit {
                least = least.min(Limit::Value((limit.kib(), dir.join(name))));
            }
        }
        let own = host.swap_total;
        let Limit::Value((limit, file)) = least else {
            let text = match self.input.levels.first().map(|level| level.swap) {
                Some(SwapLevel::Absent) | None => {
                    "the kernel does not account swap for this cgroup: 0 kB".to_owned()
                }
                Some(_) => format!("no limit: the host's, {} kB", own.0),
            };
            return Formula { text, decided_by: Some(HOST.to_owned()), ancestry };
        };
        let (beyond, text) = match (self.version, memory) {
            (Version::V1, Limit::Value(memory)) => {
                let beyond = limit.saturating_sub(memory.kib());
                let text = format!("{} − {} of memory = {}", limit.0, memory.kib().0, beyond.0);
                (beyond, text)
            }
            _ => (limit, limit.0.to_string()),
        };
        let value = beyond.min(own);
        let text = format!("min({text}, {} of the host) = {} kB", own.0, value.0);
        let decided_by = if beyond < own { shown(&file) } else { HOST.to_owned() };
        Formula { text, decided_by: Some(decided_by), ancestry }
    }

    fn swap_free(&self) -> Formula {
        let text = match self.version {
            Version::V1 => "SwapTotal − total_swap of memory.stat, else memsw usage − usage",
            Version::V2 => {
                "the least of SwapTotal − memory.swap.current and what each level has left"
            }
        };
        let decided_by = self.swap_files().get(1).map(|source| shown(&source.file));
        Formula { text: text.to_owned(), decided_by, ancestry: self.swap_files() }
    }
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
