//! A container as another process may find it again.

use std::path::PathBuf;
use std::sync::Arc;

use cgroup::{CgroupPaths, Group};

use crate::container::{Anchor, AnchorKind, Container, ContainerKey};
use crate::error::Error;
use crate::identify::Identifier;

/// What is needed to find a container again, in another process and until the next boot, and to
/// tell it from every other that has the same process id or cgroup by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its key.
    pub key: ContainerKey,
    /// The process that stands for it.
    pub anchor: Anchor,
    /// Where its cgroups are, as [`CgroupPaths::iter`] has them. Empty with an init, which says
    /// itself where it is.
    pub cgroups: Vec<PathBuf>,
}

impl Identity {
    /// Whether both are of one container. Which of its processes is the oldest may change, and its
    /// init may move to another cgroup.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match self.anchor.kind {
            AnchorKind::Init => self.anchor == other.anchor,
            AnchorKind::Oldest => {
                other.anchor.kind == AnchorKind::Oldest
                    && self.key == other.key
                    && self.cgroups == other.cgroups
            }
        }
    }
}

impl Container {
    /// What is needed to find it again.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let anchor = *self.anchor();
        let cgroups = match anchor.kind {
            AnchorKind::Init => Vec::new(),
            AnchorKind::Oldest => self.paths().iter().map(PathBuf::from).collect(),
        };
        Identity { key: self.key(), anchor, cgroups }
    }
}

impl Identifier {
    /// The container that another process has known; `None` if it has ended, whoever may have its
    /// process id or its cgroup's path by now.
    ///
    /// # Errors
    /// As [`Identifier::identify`], but for those that say that it has ended; [`Error::Stuck`] if
    /// its init cannot be looked at.
    pub fn find_again(&self, identity: &Identity) -> Result<Option<Arc<Container>>, Error> {
        let found = match identity.anchor.kind {
            AnchorKind::Init => self.at_init(&identity.anchor),
            AnchorKind::Oldest => self.at_cgroups(identity),
        };
        match found {
            Ok(found) => Ok(found.filter(|found| found.identity().is_same(identity))),
            Err(Error::Ended { .. } | Error::NoInit { .. }) => Ok(None),
            Err(Error::Cgroup(error)) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn at_cgroups(&self, identity: &Identity) -> Result<Option<Arc<Container>>, Error> {
        let paths = CgroupPaths::of_parts(self.layout(), &identity.cgroups);
        let Some(paths) = paths.filter(|paths| !paths.is_root()) else { return Ok(None) };
        let group = Group::new(self.layout(), paths);
        Ok(Some(Arc::new(Container::new(identity.anchor, group)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, HOST_PID};

    /// A container with an init, 20, and a process of the host's pid namespace, 40.
    fn machine() -> Fake {
        let fake = Fake::new(&["/c", "/shared", "/other"]);
        fake.process(20, "20 1", 9, "/c");
        fake.namespaces(20, &[("pid", 100), ("mnt", 200), ("time", 2)]);
        fake.process(40, "40", 9, "/shared");
        fake.namespaces(40, &[("pid", HOST_PID), ("mnt", 1), ("time", 2)]);
        fake
    }

    fn identity(fake: &Fake, tid: u32) -> Identity {
        fake.identifier().identify(tid).unwrap().unwrap().identity()
    }

    #[test]
    fn a_container_is_found_again() {
        let fake = machine();
        for tid in [20, 40] {
            let identity = identity(&fake, tid);
            let found = fake.identifier().find_again(&identity).unwrap().unwrap();
            assert_eq!((found.key(), found.identity()), (identity.key, identity));
        }
    }

    #[test]
    fn an_init_that_has_moved_is_still_the_same() {
        let fake = machine();
        let before = identity(&fake, 20);
        fake.file(20, "cgroup", "0::/other\n");
        let found = fake.identifier().find_again(&before).unwrap().unwrap();
        assert_eq!(found.key(), before.key);
        assert!(found.identity().is_same(&before));
    }

    #[test]
    fn a_reused_process_id_is_another_container() {
        for (start, namespace) in [(999, 100), (200, 101)] {
            let fake = machine();
            let before = identity(&fake, 20);
            fake.end(20);
            assert_eq!(fake.identifier().find_again(&before).unwrap().map(|one| one.key()), None);
            fake.process(20, "20 1", 9, "/c");
            fake.namespaces(20, &[("pid", namespace), ("mnt", 200), ("time", 2)]);
            let stat = format!("20 (sh) S 9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 {start} 0\n");
            fake.file(20, "stat", &stat);
            let found = fake.identifier().find_again(&before).unwrap();
            assert!(found.is_none(), "start {start}, namespace {namespace}");
        }
    }

    #[test]
    fn a_reused_process_id_on_the_host_is_no_container() {
        let fake = machine();
        let before = identity(&fake, 20);
        fake.namespaces(20, &[("pid", HOST_PID)]);
        fake.file(20, "status", "Tgid:\t20\nPPid:\t9\nNSpid:\t20\n");
        assert!(fake.identifier().find_again(&before).unwrap().is_none());
    }

    #[test]
    fn a_cgroup_outlives_its_oldest_process_but_not_its_removal() {
        let fake = machine();
        let before = identity(&fake, 40);
        fake.end(40);
        assert!(fake.identifier().find_again(&before).unwrap().is_some());
        fake.replace_cgroup("/shared");
        assert!(fake.identifier().find_again(&before).unwrap().is_none(), "another at its path");
        fake.remove_cgroup("/shared");
        assert!(fake.identifier().find_again(&before).unwrap().is_none());
    }

    #[test]
    fn nonsense_leads_to_no_container() {
        let fake = machine();
        let shared = identity(&fake, 40);
        for cgroups in
            [vec![], vec!["/"], vec!["/shared", "/shared"], vec!["shared"], vec!["/c/../shared"]]
        {
            let cgroups = cgroups.into_iter().map(PathBuf::from).collect();
            let identity = Identity { cgroups, ..shared.clone() };
            assert!(fake.identifier().find_again(&identity).unwrap().is_none());
        }
        let other = Identity { cgroups: vec!["/other".into()], ..shared };
        assert!(fake.identifier().find_again(&other).unwrap().is_none(), "another's cgroup");
    }
}
