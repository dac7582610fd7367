//! What the memory controller counts in the terms of `/proc/vmstat` and `/proc/slabinfo`.

use procfmt::keyed::{flat, flat_value};
use view::input::VmInput;

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::group::Group;

impl Group {
    /// Counters of page faults, reclaim and the like, cgroups below included. Where v2's controller
    /// is not switched on for the container itself, nothing was counted.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn vm(&self) -> Result<Option<VmInput>, Error> {
        self.walk(Controller::Memory, |chain, _| {
            let mut input = VmInput::default();
            let mut text = Vec::new();
            chain.own.read("memory.stat", &mut text)?;
            for line in flat(&text) {
                let Some((key, value)) = line else {
                    let expected = "a key and a number on each line";
                    return Err(Error::unexpected(
                        chain.own.path_of("memory.stat"),
                        expected,
                        &text,
                    ));
                };
                // v1's keys without the prefix count the cgroup without those below it.
                let key = match chain.version {
                    Version::V1 => key.strip_prefix(b"total_"),
                    Version::V2 => Some(key),
                };
                if let Some(key) = key {
                    input.counters.insert(key.into(), value);
                }
            }
            let events = match chain.version {
                Version::V1 => "memory.oom_control",
                Version::V2 => "memory.events",
            };
            if chain.own.read(events, &mut text)? {
                input.oom_kills = flat_value(&text, b"oom_kill").unwrap_or(0);
            }
            Ok(input)
        })
    }

    /// The container's slabs in the form of `/proc/slabinfo`: v1 before Linux 5.9. Empty where the
    /// kernel does not tell.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, or why the file could not be read.
    pub fn slabs(&self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        self.walk(Controller::Memory, |chain, _| {
            if chain.version == Version::V1 {
                chain.own.read_list("memory.kmem.slabinfo", &mut text)?;
            }
            Ok(())
        })?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, V1, V2};

    #[test]
    fn v2_counters_are_those_of_the_cgroup_itself() {
        let fake = Fake::new(V2);
        let files =
            [("memory.stat", "anon 5\npgfault 7\n"), ("memory.events", "oom 9\noom_kill 2\n")];
        fake.files("unified/a", &files);
        let vm = fake.group("/a").vm().unwrap().unwrap();
        assert_eq!(vm.counters.get(&b"pgfault"[..]), Some(&7));
        assert_eq!(vm.oom_kills, 2);
        fake.files("unified/a/leaf", &[]);
        assert_eq!(fake.group("/a/leaf").vm().unwrap(), Some(VmInput::default()));
        assert_eq!(fake.group("/").vm().unwrap(), None);
    }

    #[test]
    fn v1_counts_with_the_cgroups_below() {
        let fake = Fake::new(V1);
        let stat = "pgfault 1\npgpgin 2\ntotal_pgfault 30\n";
        let oom = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n";
        fake.files("memory/a", &[("memory.stat", stat), ("memory.oom_control", oom)]);
        let vm = fake.group("/a").vm().unwrap().unwrap();
        assert_eq!(vm.counters.into_iter().collect::<Vec<_>>(), [(b"pgfault"[..].into(), 30)]);
        assert_eq!(vm.oom_kills, 4);
    }

    #[test]
    fn slabs_of_old_kernels() {
        let fake = Fake::new(V1);
        fake.files("memory/a", &[("memory.kmem.slabinfo", "slabinfo - version: 2.1\n")]);
        fake.files("memory/b", &[]);
        assert_eq!(fake.group("/a").slabs().unwrap(), b"slabinfo - version: 2.1\n");
        assert_eq!(fake.group("/b").slabs().unwrap(), b"");
        assert_eq!(Fake::new(V2).group("/").slabs().unwrap(), b"");
    }

    #[test]
    fn garbage_is_an_error() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("memory.stat", "pgfault many\n")]);
        assert!(matches!(fake.group("/a").vm().unwrap_err(), Error::Unexpected { .. }));
    }
}
