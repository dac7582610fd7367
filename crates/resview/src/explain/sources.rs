//! The kernel's files that a page names, with what they say for this container.

use std::path::{Path, PathBuf};

use cgroup::{Controller, Group, Version};
use serde::Serialize;

use super::pages::Rule;

/// No more of a file than this is printed, in bytes.
const MOST: usize = 160;

/// A file, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    /// The line that counts, where the file has many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    pub(super) value: String,
}

/// The version of the hierarchy that a file of the catalogue is made from; v2 where there is none.
pub(super) fn version(group: &Group, file: &str) -> Version {
    let controller = match file {
        "meminfo" | "swaps" | "vmstat" | "zoneinfo" | "slabinfo" | "sys/devices/system/node" => {
            Controller::Memory
        }
        "stat" | "uptime" | "schedstat" => Controller::Cpuacct,
        "loadavg" => Controller::Pids,
        "diskstats" | "partitions" | "sys/block" | "sys/class/block" => Controller::Io,
        "pressure" => return Version::V2,
        _ => Controller::Cpuset,
    };
    group.version(controller).unwrap_or(Version::V2)
}

/// What the files that `rule` names say, of the container's own cgroup. Those that are not there
/// are left out.
pub(super) fn of_rule(group: &Group, version: Version, rule: &Rule, line: &str) -> Vec<Source> {
    let cell = if version == Version::V1 { rule.v1 } else { rule.v2 };
    let mut tokens: Vec<String> = cell
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(expanded)
        .filter(|token| !token.contains(' '))
        .collect();
    // One key for each line: the line's own is meant.
    if tokens.len() == rule.names.len()
        && let Some(index) = rule.names.iter().position(|name| *name == line)
    {
        tokens = tokens.into_iter().skip(index).take(1).collect();
    }
    if cell.starts_with("own keys") || cell.starts_with("the LRU keys") {
        tokens = vec![line.trim_start_matches("nr_").trim_start_matches("zone_").to_owned()];
    }
    let found: Vec<_> = tokens.iter().flat_map(|token| of_token(group, version, token)).collect();
    if found.is_empty() { key_of_stat(group, version, line).into_iter().collect() } else { found }
}

/// The container's own pressure file, which only a v2 hierarchy has.
pub(super) fn of_pressure(group: &Group, path: &str) -> Option<Source> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let hierarchies = group.layout().hierarchies().iter().zip(group.paths().iter());
    let mut unified = hierarchies.filter(|(hierarchy, _)| hierarchy.version() == Version::V2);
    let (hierarchy, path) = unified.next()?;
    let dir = hierarchy.mount_point().join(path.strip_prefix("/").unwrap_or(path));
    read(dir.join(format!("{name}.pressure")), None)
}

fn of_token(group: &Group, version: Version, token: &str) -> Vec<Source> {
    if let Some(sysctl) = token.strip_prefix("vm.") {
        return read(Path::new("/proc/sys/vm").join(sysctl), None).into_iter().collect();
    }
    let controller = match token.split('.').next().unwrap_or_default() {
        "memory" => Controller::Memory,
        // Every cgroup of v2 has cpu.stat, and cpu.pressure.
        "cpu" if version == Version::V2 && !token.ends_with(".max") => Controller::Cpuacct,
        "cpu" => Controller::Cpu,
        "cpuacct" => Controller::Cpuacct,
        "cpuset" => Controller::Cpuset,
        "io" | "blkio" => Controller::Io,
        "irq" => Controller::Cpuacct,
        "hugetlb" => Controller::Hugetlb,
        "cgroup" | "tasks" | "pids" => Controller::Pids,
        _ => return key_of_stat(group, version, token).into_iter().collect(),
    };
    let Some(dir) = own_directory(group, controller) else { return Vec::new() };
    files(&dir, token).into_iter().filter_map(|file| read(file, None)).collect()
}

/// The container's own cgroup, where a controller lives.
pub(super) fn own_directory(group: &Group, controller: Controller) -> Option<PathBuf> {
    group.directories(controller).ok()?.into_iter().next()
}

/// A bare name is a key of `memory.stat`; v1 has the sums over all below under `total_`.
fn key_of_stat(group: &Group, version: Version, key: &str) -> Option<Source> {
    let file = own_directory(group, Controller::Memory)?.join("memory.stat");
    if version == Version::V1 && !key.starts_with("total_") {
        return read(file.clone(), Some(&format!("total_{key}"))).or_else(|| read(file, Some(key)));
    }
    read(file, Some(key))
}

/// A file's value: of many lines, the one with `key`.
pub(super) fn read(file: PathBuf, key: Option<&str>) -> Option<Source> {
    let text = String::from_utf8(std::fs::read(&file).ok()?).ok()?;
    let value = match key {
        Some(key) => text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?,
        None => text.trim(),
    };
    let value = short(value);
    Some(Source { file, key: key.map(str::to_owned), value })
}

fn short(text: &str) -> String {
    let mut text = text.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    if text.len() > MOST {
        let cut = (0..=MOST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// `a.{b,c}` is `a.b` and `a.c`.
fn expanded(token: &str) -> Vec<String> {
    let parts = token.split_once('{').and_then(|(start, rest)| {
        let (inside, end) = rest.split_once('}')?;
        Some((start, inside, end))
    });
    let Some((start, inside, end)) = parts else { return vec![token.to_owned()] };
    inside.split(',').flat_map(|part| expanded(&format!("{start}{part}{end}"))).collect()
}

/// The files of a cgroup with this name, in which `*` and `<size>` stand for anything.
fn files(dir: &Path, token: &str) -> Vec<PathBuf> {
    let pattern = token.replace("<size>", "*");
    if !pattern.contains('*') {
        return vec![dir.join(pattern)];
    }
    let parts: Vec<&str> = pattern.split('*').collect();
    let (Some(start), Some(end)) = (parts.first(), parts.last()) else { return Vec::new() };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> =
        names.filter(|name| name.starts_with(start) && name.ends_with(end)).collect();
    names.sort_unstable();
    names.iter().map(|name| dir.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_and_stars_are_taken_apart() {
        assert_eq!(expanded("memory.{max,swap.max}"), ["memory.max", "memory.swap.max"]);
        assert_eq!(expanded("io.stat"), ["io.stat"]);
        let dir = tempfile::tempdir().unwrap();
        for name in ["blkio.throttle.io_serviced_recursive", "blkio.weight", "hugetlb.2MB.max"] {
            std::fs::write(dir.path().join(name), "1\n").unwrap();
        }
        let names = |token| files(dir.path(), token).len();
        assert_eq!([names("blkio.*io_serviced_recursive"), names("hugetlb.<size>.max")], [1, 1]);
        assert_eq!(names("blkio.*io_service_bytes_recursive"), 0);
    }

    #[test]
    fn one_line_of_many_is_found_by_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.stat");
        std::fs::write(&file, "file 1\nfile_dirty 4096\n").unwrap();
        let value = |key| read(file.clone(), key).map(|source| source.value);
        assert_eq!(value(Some("file")).as_deref(), Some("1"));
        assert_eq!(value(Some("file_dirty")).as_deref(), Some("4096"));
        assert_eq!(value(Some("shmem")), None);
        assert_eq!(value(None).as_deref(), Some("file 1; file_dirty 4096"));
        assert!(short(&"x".repeat(999)).len() < 200);
    }
}
