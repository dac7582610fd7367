//! A controller that is not there: which, and how to get it.

use std::path::{Path, PathBuf};

/// A controller, by the names that v1 and v2 have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) v1: &'static str,
    pub(super) v2: &'static str,
    /// What of a container is unknown, or not to be limited, without it.
    what: &'static str,
    /// The kernel's build option.
    config: &'static str,
}

pub(super) const MEMORY: Controller =
    Controller { v1: "memory", v2: "memory", what: "memory and swap", config: "CONFIG_MEMCG" };
pub(super) const CPU: Controller =
    Controller { v1: "cpu", v2: "cpu", what: "CPU time limits", config: "CONFIG_CGROUP_SCHED" };
pub(super) const CPUSET: Controller =
    Controller { v1: "cpuset", v2: "cpuset", what: "the choice of CPUs", config: "CONFIG_CPUSETS" };
const IO: Controller =
    Controller { v1: "blkio", v2: "io", what: "disk statistics", config: "CONFIG_BLK_CGROUP" };
const PIDS: Controller =
    Controller { v1: "pids", v2: "pids", what: "task counts", config: "CONFIG_CGROUP_PIDS" };

/// Every controller that a limit or the view makes use of.
pub(super) const ALL: [Controller; 5] = [MEMORY, CPU, CPUSET, IO, PIDS];

/// What is known of the v2 hierarchy where the controller was looked for.
#[derive(Debug)]
pub(super) struct V2Parent {
    /// The cgroup in which ours was made.
    pub(super) dir: PathBuf,
    /// Its `cgroup.controllers`.
    pub(super) controllers: String,
    /// Controllers that it did not hand down when told to, and why not.
    pub(super) refused: Vec<(&'static str, String)>,
}

/// That a controller is missing, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cgroup controller {name:?} is missing ({what} depend on it): {how}")]
pub(super) struct Missing {
    name: &'static str,
    what: &'static str,
    how: String,
}

impl Controller {
    /// Says what to do about this controller not being there, from `/proc/cgroups` (absent since
    /// 6.17 for controllers that only v2 has) and what v2 said.
    pub(super) fn missing(self, proc_cgroups: &str, v2: Option<&V2Parent>) -> Missing {
        let Self { v1, config, .. } = self;
        let how = if let Some((parent, reason)) = v2.and_then(|v2| self.refusal(v2)) {
            format!(
                "{} did not hand it down ({reason}); if it has processes of its own, move them \
                 into a cgroup below it, then: echo +{} > {0}/cgroup.subtree_control",
                parent.display(),
                self.v2
            )
        } else {
            match state(proc_cgroups, v1) {
                State::Off => format!(
                    "it is switched off; boot with cgroup_enable={v1} and without \
                     cgroup_disable={v1} on the kernel's command line"
                ),
                State::InV1 => format!(
                    "a v1 hierarchy has it that is not mounted here: mkdir -p /sys/fs/cgroup/{v1} \
                     && mount -t cgroup -o {v1} cgroup /sys/fs/cgroup/{v1}"
                ),
                State::Free => self.free(v2),
                State::Unknown => format!("this kernel was built without it ({config})"),
            }
        };
        Missing { name: v1, what: self.what, how }
    }

    fn refusal<'a>(&self, v2: &'a V2Parent) -> Option<(&'a Path, &'a str)> {
        let (_, reason) = v2.refused.iter().find(|(name, _)| *name == self.v2)?;
        Some((&v2.dir, reason))
    }

    fn free(&self, v2: Option<&V2Parent>) -> String {
        let Self { v1, v2: name, .. } = self;
        match v2 {
            Some(parent) => format!(
                "{} was not given it: echo +{name} > cgroup.subtree_control in every cgroup above \
                 it, from the root down",
                parent.dir.display()
            ),
            None => format!(
                "it is not mounted: mkdir -p /sys/fs/cgroup/{v1} && mount -t cgroup -o {v1} cgroup \
                 /sys/fs/cgroup/{v1}"
            ),
        }
    }
}

enum State {
    /// `cgroup_disable=`.
    Off,
    /// Bound to a v1 hierarchy.
    InV1,
    /// Bound to v2 or to none.
    Free,
    /// Not compiled in.
    Unknown,
}

/// Lines of `/proc/cgroups`: name, hierarchy number (0: v2 or none), cgroups, enabled.
fn state(proc_cgroups: &str, controller: &str) -> State {
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let line = proc_cgroups
        .lines()
        .map(fields)
        .find(|fields| fields.first().is_some_and(|name| name == controller));
    match line.as_deref() {
        Some([_, _, _, enabled, ..]) if enabled == "0" => State::Off,
        Some([_, hierarchy, ..]) if hierarchy != "0" => State::InV1,
        Some(_) => State::Free,
        None => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CGROUPS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                           cpuset\t3\t1\t1\nmemory\t0\t1\t0\ncpu\t0\t1\t1\n";

    fn parent(refused: Vec<(&'static str, String)>) -> V2Parent {
        V2Parent { dir: "/sys/fs/cgroup/a".into(), controllers: "io\n".to_owned(), refused }
    }

    #[test]
    fn each_reason_has_its_remedy() {
        fn text(controller: Controller, v2: Option<&V2Parent>) -> String {
            controller.missing(CGROUPS, v2).to_string()
        }
        assert!(text(MEMORY, None).contains("cgroup_enable=memory"));
        assert!(text(CPUSET, None).contains("mount -t cgroup -o cpuset"));
        assert!(text(CPU, None).contains("mount -t cgroup -o cpu cgroup"));
        assert!(text(CPU, Some(&parent(vec![]))).contains("echo +cpu > cgroup.subtree_control"));
        assert!(text(PIDS, None).contains("CONFIG_CGROUP_PIDS"));
        let refused = parent(vec![("cpu", "Device or resource busy".to_owned())]);
        let message = text(CPU, Some(&refused));
        assert!(message.contains("busy") && message.contains("/sys/fs/cgroup/a/cgroup.subtree"));
        assert!(message.starts_with("the cgroup controller \"cpu\" is missing"), "{message}");
    }
}
