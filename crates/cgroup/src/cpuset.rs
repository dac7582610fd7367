//! The cpuset controller: the CPUs and memory nodes that the kernel really lets the container use.

use procfmt::cpulist::CpuSet;

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::group::{Chain, Group};

/// The effective set, and what kernels before v1 had one call the only one.
pub(crate) const CPUS: [&str; 3] =
    ["cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"];
const MEMS: [&str; 3] = ["cpuset.mems.effective", "cpuset.effective_mems", "cpuset.mems"];

impl Group {
    /// The CPUs: the effective set, not the one that was asked for. The kernel keeps it inside the
    /// parent's, and takes CPUs out that go offline.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn cpuset(&self) -> Result<Option<CpuSet>, Error> {
        self.effective(CPUS)
    }

    /// The NUMA nodes from which the container may get memory.
    ///
    /// # Errors
    /// As [`Group::cpuset`].
    pub fn mems(&self) -> Result<Option<CpuSet>, Error> {
        self.effective(MEMS)
    }

    fn effective(&self, files: [&'static str; 3]) -> Result<Option<CpuSet>, Error> {
        let found = self.walk(Controller::Cpuset, |chain, _| {
            Ok(nearest(chain, files, &mut Vec::new())?.map(|(_, _, set)| set))
        })?;
        Ok(found.flatten())
    }
}

/// The set of the nearest level that has one, with the level and the file. On v2 a cgroup without
/// the controller has its ancestor's set; on v1 a set may not have been filled in.
pub(crate) fn nearest(
    chain: &Chain,
    [v2, v1, old]: [&'static str; 3],
    buffer: &mut Vec<u8>,
) -> Result<Option<(usize, &'static str, CpuSet)>, Error> {
    let files: &[_] = if chain.version == Version::V2 { &[v2] } else { &[v1, old] };
    for (index, level) in chain.levels.iter().enumerate() {
        for file in files {
            let parse = |text: &[u8]| CpuSet::parse_list(text).ok();
            let set = level.parse(file, "a list such as 0-3,8", buffer, parse)?;
            if let Some(set) = set.filter(|set| !set.is_empty()) {
                return Ok(Some((index, file, set)));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, V1, V2};

    fn set(text: &str) -> Option<CpuSet> {
        CpuSet::parse_list(text.as_bytes()).ok()
    }

    #[test]
    fn effective_cpuset_not_the_requested() {
        let cases: [(_, _, &[(&str, &str)], &str); 4] = [
            (V2, "unified", &[("cpuset.cpus", "0-3\n"), ("cpuset.cpus.effective", "0-1\n")], "0-1"),
            (V1, "cpuset", &[("cpuset.cpus", "0-3\n"), ("cpuset.effective_cpus", "0-1\n")], "0-1"),
            (V1, "cpuset", &[("cpuset.cpus", "0-3\n")], "0-3"),
            (V1, "cpuset", &[("cpuset.effective_cpus", "\n"), ("cpuset.cpus", "\n")], "5"),
        ];
        for (layout, hierarchy, files, expected) in cases {
            let fake = Fake::new(layout);
            let parent = [("cpuset.cpus.effective", "5\n"), ("cpuset.effective_cpus", "5\n")];
            fake.files(&format!("{hierarchy}/p"), &parent);
            fake.files(&format!("{hierarchy}/p/a"), files);
            assert_eq!(fake.group("/p/a").cpuset().unwrap(), set(expected), "{files:?}");
        }
    }

    #[test]
    fn cpuset_unreadable_is_not_an_empty_set() {
        let fake = Fake::new(V2);
        fake.files("unified/p", &[("cpuset.cpus.effective", "1,3\n")]);
        fake.files("unified/p/a", &[]);
        assert_eq!(fake.group("/p/a").cpuset().unwrap(), set("1,3"), "the nearest ancestor's");
        fake.files("unified/p/a", &[("cpuset.cpus.effective", "3-1\n")]);
        assert!(matches!(fake.group("/p/a").cpuset().unwrap_err(), Error::Unexpected { .. }));
        assert_eq!(fake.group("/p").mems().unwrap(), None);
        fake.files("unified/p", &[("cpuset.mems.effective", "0\n")]);
        assert_eq!(fake.group("/p").mems().unwrap(), set("0"));
    }
}
