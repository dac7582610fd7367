//! Whom a selector means.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use procfmt::num::parse_u64;

use crate::mountinfo::{self, Mount};

/// So many cgroups below the one that was named are looked through for a process.
const MOST_CGROUPS: usize = 1000;

/// What a selector means: processes of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As typed.
    pub(crate) selector: String,
    /// Processes, of which each can tell whose they are. Never empty.
    pub(crate) pids: Vec<u32>,
}

/// Finds the processes that a selector means: a pid (`4711`), a cgroup's path, from the root of its
/// hierarchy (`/docker/4f2a…`) or as it is mounted (`/sys/fs/cgroup/memory/docker/4f2a…`), or a
/// container's name, id, or the beginning of an id.
///
/// # Errors
/// There is no such process, cgroup or container, the cgroup is empty, or several are meant.
pub(crate) fn resolve(selector: &str) -> anyhow::Result<Target> {
    let pids = if selector.starts_with('/') {
        in_cgroup(&mountinfo::read()?, Path::new(selector))?
    } else {
        match parse_u64(selector.as_bytes()).map(process) {
            Some(Ok(pid)) => vec![pid],
            // An id may begin with digits alone.
            Some(Err(error)) => vec![named(selector).map_err(|_| error)?],
            None => vec![named(selector)?],
        }
    };
    Ok(Target { selector: selector.to_owned(), pids })
}

/// The first process of a container with this name or id.
fn named(name: &str) -> anyhow::Result<u32> {
    let proc = hostfs::Dir::open("/proc").context("cannot look for containers")?;
    Ok(runtimes::find::Finder::new("/", proc).inventory().by_name(name)?.pid)
}

fn process(pid: u64) -> anyhow::Result<u32> {
    let known = u32::try_from(pid).ok().filter(|pid| Path::new(&format!("/proc/{pid}")).exists());
    known.with_context(|| format!("there is no process {pid}"))
}

fn in_cgroup(mounts: &[Mount], path: &Path) -> anyhow::Result<Vec<u32>> {
    let directories = directories(mounts, path);
    if directories.is_empty() {
        bail!("no cgroup hierarchy has {}; see /proc/PID/cgroup", path.display());
    }
    let pids = directories.into_iter().map(processes).find(|pids| !pids.is_empty());
    pids.with_context(|| {
        format!("there is no process in the cgroup {} nor below it", path.display())
    })
}

/// Where the cgroup is mounted: once for each hierarchy that has it.
fn directories(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    let hierarchies = mounts.iter().filter(|mount| {
        matches!(mount.fs_type.as_str(), "cgroup" | "cgroup2") && mount.root == Path::new("/")
    });
    let candidates = hierarchies.map(|mount| match path.strip_prefix(&mount.mount_point) {
        Ok(_) => path.to_owned(),
        Err(_) => mount.mount_point.join(path.strip_prefix("/").unwrap_or(path)),
    });
    candidates.filter(|dir| dir.join("cgroup.procs").exists()).collect()
}

/// The processes of a cgroup; of an empty one, those of the first below it that has any.
fn processes(dir: PathBuf) -> Vec<u32> {
    let mut waiting = VecDeque::from([dir]);
    for _ in 0..MOST_CGROUPS {
        let Some(dir) = waiting.pop_front() else { break };
        let text = std::fs::read(dir.join("cgroup.procs")).unwrap_or_default();
        let pids = procfmt::num::lines(&text).filter_map(|line| parse_u64(line.trim_ascii()));
        // 0: a process of a pid namespace that is not below ours.
        let pids = pids.filter_map(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let pids: Vec<_> = pids.collect();
        if !pids.is_empty() {
            return pids;
        }
        let below = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let is_dir = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        waiting.extend(below.filter(is_dir).map(|entry| entry.path()));
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(dir: &Path) -> Vec<Mount> {
        let line = format!("41 31 0:4 / {} rw - cgroup2 none rw\n", dir.display());
        mountinfo::parse(line.as_bytes())
    }

    #[test]
    fn a_cgroup_is_found_from_its_root_and_as_it_is_mounted() {
        let top = tempfile::tempdir().unwrap();
        let below = top.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(top.path().join("a/cgroup.procs"), "").unwrap();
        std::fs::write(below.join("cgroup.procs"), "0\n12\n13\n").unwrap();
        let mounts = hierarchy(top.path());
        assert_eq!(in_cgroup(&mounts, Path::new("/a")).unwrap(), [12, 13]);
        assert_eq!(in_cgroup(&mounts, &below).unwrap(), [12, 13]);
        let missing = in_cgroup(&mounts, Path::new("/x")).unwrap_err();
        assert!(missing.to_string().contains("no cgroup hierarchy has /x"), "{missing}");
        std::fs::write(below.join("cgroup.procs"), "").unwrap();
        let empty = in_cgroup(&mounts, Path::new("/a")).unwrap_err();
        assert!(empty.to_string().contains("no process"), "{empty}");
    }

    #[test]
    fn selectors_that_mean_nothing_are_refused() {
        assert_eq!(resolve(&std::process::id().to_string()).unwrap().pids, [std::process::id()]);
        for (selector, words) in [
            ("no-such-web", "no running container has the name or id \"no-such-web\""),
            ("4294967296", "there is no process 4294967296"),
        ] {
            let error = resolve(selector).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
