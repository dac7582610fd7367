//! The tasks in a cgroup: how many, which, and whether they are frozen.

use hostfs::{Dir, FileType};
use procfmt::keyed::flat_value;
use procfmt::num::{lines, parse_u64};

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::group::{Chain, Group};
use crate::level::present;

/// What tells tasks apart best: controllers by which container engines always make a cgroup.
const PREFERRED: [Controller; 6] = [
    Controller::Cpuacct,
    Controller::Cpu,
    Controller::Memory,
    Controller::Pids,
    Controller::Freezer,
    Controller::Io,
];

impl Group {
    /// How many tasks, threads counted singly, the container has: `pids.current`. `None` without
    /// the pids controller.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn task_count(&self) -> Result<Option<u64>, Error> {
        let read = |chain: &Chain| chain.own.number("pids.current", &mut Vec::new());
        Ok(self.walk(Controller::Pids, |chain, _| read(chain))?.flatten())
    }

    /// The thread ids of the container's cgroup and all cgroups below it, as the reader of the
    /// files sees them; at most `limit`. Threads come and go meanwhile.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, or why a file could not be read.
    pub fn threads(&self, limit: usize) -> Result<Vec<u32>, Error> {
        self.ids_of_tasks("cgroup.threads", "tasks", limit)
    }

    /// The process ids of the container's cgroup and all cgroups below it; at most `limit`.
    ///
    /// # Errors
    /// As [`Group::threads`].
    pub fn processes(&self, limit: usize) -> Result<Vec<u32>, Error> {
        self.ids_of_tasks("cgroup.procs", "cgroup.procs", limit)
    }

    /// Whether the container is frozen. Its tasks are no load then, whatever state they show.
    ///
    /// # Errors
    /// As [`Group::threads`].
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let frozen = self.walk(Controller::Freezer, |chain, _| {
            let mut buffer = Vec::new();
            Ok(match chain.version {
                Version::V1 => {
                    chain.own.read("freezer.state", &mut buffer)?
                        && buffer.trim_ascii() == b"FROZEN"
                }
                Version::V2 => {
                    chain.own.read("cgroup.events", &mut buffer)?
                        && flat_value(&buffer, b"frozen") == Some(1)
                }
            })
        })?;
        Ok(frozen.unwrap_or(false))
    }

    /// The directories of the container's cgroup and of all cgroups below it, if that is on v1:
    /// taskstats takes their descriptors. `None` on v2, and for more than `limit` of them.
    ///
    /// # Errors
    /// As [`Group::threads`].
    pub fn v1_directories(&self, limit: usize) -> Result<Option<Vec<Dir>>, Error> {
        let collect = |chain: &Chain| {
            if chain.version == Version::V2 {
                return Ok(None);
            }
            let mut all = vec![chain.own.dir()?];
            let mut seen = 0;
            while let Some(children) = all.get(seen).map(children).transpose()? {
                all.extend(children);
                seen += 1;
                if all.len() > limit {
                    return Ok(None);
                }
            }
            Ok(Some(all))
        };
        for controller in PREFERRED {
            if let Some(directories) = self.walk(controller, |chain, _| collect(chain))? {
                return Ok(directories);
            }
        }
        Ok(None)
    }

    fn ids_of_tasks(&self, v2: &str, v1: &str, limit: usize) -> Result<Vec<u32>, Error> {
        let collect = |chain: &Chain| {
            let file = if chain.version == Version::V2 { v2 } else { v1 };
            let (mut ids, mut buffer) = (Vec::new(), Vec::new());
            let dir = chain.own.dir()?;
            // An open file of v1 goes on to show the list of its first read, as long as it is read
            // again within a second.
            let is_there = match chain.version {
                Version::V1 => present(dir.read(file, &mut buffer))?,
                Version::V2 => chain.own.read_list(file, &mut buffer)?,
            };
            if is_there {
                add(&buffer, &mut ids);
            }
            below(&dir, file, limit, &mut ids, &mut buffer)?;
            ids.truncate(limit);
            Ok(ids)
        };
        for controller in PREFERRED {
            if let Some(ids) = self.walk(controller, |chain, _| collect(chain))? {
                return Ok(ids);
            }
        }
        let unified = self.walk_unified(|chain, _| collect(chain))?;
        Ok(unified.unwrap_or_default())
    }
}

/// Adds the tasks of the cgroups below `top`. One that vanishes meanwhile has none.
fn below(
    top: &Dir,
    file: &str,
    limit: usize,
    ids: &mut Vec<u32>,
    buffer: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut pending = children(top)?;
    while let Some(dir) = pending.pop() {
        if ids.len() >= limit {
            break;
        }
        match present(dir.read(file, buffer)) {
            Ok(true) => add(buffer, ids),
            Ok(false) => {}
            Err(error) if error.is_gone() => continue,
            Err(error) => return Err(error),
        }
        pending.extend(children(&dir)?);
    }
    Ok(())
}

fn children(dir: &Dir) -> Result<Vec<Dir>, Error> {
    // Its own entry, its `.`, and the `..` of each cgroup in it: most have none, and listing costs
    // four times as much as this. File systems that count otherwise never say 2.
    let links = match dir.stat(".") {
        Ok(stat) => stat.stx_nlink,
        Err(error) if error.is_absent() || error.is_gone() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if links == 2 {
        return Ok(Vec::new());
    }
    let entries = match dir.list(".") {
        Ok(entries) => entries,
        Err(error) if error.is_absent() || error.is_gone() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let names = entries.into_iter().filter(|entry| entry.kind == FileType::Directory);
    let mut dirs = Vec::new();
    for name in names {
        match dir.open_dir(&name.name) {
            Ok(child) => dirs.push(child),
            Err(error) if error.is_absent() || error.is_gone() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dirs)
}

fn add(text: &[u8], ids: &mut Vec<u32>) {
    ids.extend(lines(text).filter_map(|line| u32::try_from(parse_u64(line)?).ok()));
}

#[cfg(test)]
mod tests {
    use crate::fake::{Fake, V1, V2};

    #[test]
    fn cgroups_deeper_than_three_count() {
        let fake = Fake::new(V2);
        fake.write("unified/a/cgroup.threads", "1\n2\n");
        fake.write("unified/a/b/cgroup.threads", "");
        fake.write("unified/a/b/c/d/e/cgroup.threads", "77\n");
        fake.write("unified/other/cgroup.threads", "9\n");
        let mut threads = fake.group("/a").threads(100).unwrap();
        threads.sort_unstable();
        assert_eq!(threads, [1, 2, 77]);
        assert_eq!(fake.group("/a").threads(1).unwrap().len(), 1);
        let v1 = Fake::new(V1);
        v1.write("cpu,cpuacct/a/tasks", "5\n");
        v1.write("cpu,cpuacct/a/cgroup.procs", "6\n");
        assert_eq!(v1.group("/a").threads(10).unwrap(), [5]);
        assert_eq!(v1.group("/a").processes(10).unwrap(), [6]);
    }

    #[test]
    fn directories_are_those_of_v1_only() {
        let v1 = Fake::new(V1);
        for cgroup in ["a", "a/b", "a/b/c/d", "other"] {
            v1.files(&format!("cpu,cpuacct/{cgroup}"), &[]);
        }
        let found = v1.group("/a").v1_directories(10).unwrap().unwrap();
        let mut names: Vec<_> = found.iter().map(|dir| dir.path().file_name().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c", "d"]);
        assert!(v1.group("/a").v1_directories(3).unwrap().is_none());
        let v2 = Fake::new(V2);
        v2.files("unified/a", &[]);
        assert!(v2.group("/a").v1_directories(10).unwrap().is_none());
    }

    #[test]
    fn task_count_is_of_the_pids_controller() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("pids.current", "12\n")]);
        fake.files("unified/b", &[]);
        assert_eq!(fake.group("/a").task_count().unwrap(), Some(12));
        assert_eq!(fake.group("/b").task_count().unwrap(), None);
    }

    #[test]
    fn frozen_is_no_load() {
        let v2 = Fake::new(V2);
        v2.files("unified/a", &[("cgroup.events", "populated 1\nfrozen 1\n")]);
        v2.files("unified/b", &[("cgroup.events", "populated 1\nfrozen 0\n")]);
        let v1 = Fake::new(V1);
        v1.files("freezer/a", &[("freezer.state", "FROZEN\n")]);
        v1.files("freezer/b", &[("freezer.state", "FREEZING\n")]);
        for fake in [v1, v2] {
            assert!(fake.group("/a").is_frozen().unwrap());
            assert!(!fake.group("/b").is_frozen().unwrap());
            assert!(!fake.group("/").is_frozen().unwrap());
        }
    }
}
