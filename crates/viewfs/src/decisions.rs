//! What is decided about the view: by the operator for all containers, and with its registration
//! for a single one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use container::registry::{self, Id, Registered, Registration, Registry, Target, View};
use container::{Container, ContainerKey, Identifier};
use hostfs::HostFs;
use view::catalogue::FilePolicy;
use view::policy::{CpuCount, Policy};

/// For how long registrations need not be looked at again: a tick.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How often registered containers are looked for again whose processes may be in another one of
/// ours by now: those known by their cgroup, and those that were not there.
const AGAIN: Duration = Duration::from_secs(1);

/// What is decided about one container, or about all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    policy: Policy,
    /// Whether it gets a view at all.
    has_view: bool,
}

impl Decision {
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What becomes of a file or directory of the catalogue.
    pub(crate) fn of_file(&self, name: &str) -> FilePolicy {
        match (self.policy.of_file(name), self.has_view) {
            (FilePolicy::Virtual, false) => FilePolicy::Host,
            (policy, _) => policy,
        }
    }

    /// The operator's decision, but for what the registration decides.
    fn with(&self, registration: &Registration) -> Self {
        let registry::Policy { view, cpu_count, files } = &registration.policy;
        let mut policy = self.policy.clone();
        if let Some(count) = cpu_count {
            policy.cpu_count = match count {
                registry::CpuCount::Cpuset => CpuCount::Cpuset,
                registry::CpuCount::Quota => CpuCount::Quota,
                registry::CpuCount::QuotaFloor => CpuCount::QuotaFloor,
                registry::CpuCount::Shares => CpuCount::Shares,
            };
        }
        for (file, choice) in files {
            let choice = match choice {
                registry::FilePolicy::Virtual => FilePolicy::Virtual,
                registry::FilePolicy::Host => FilePolicy::Host,
                registry::FilePolicy::Absent => FilePolicy::Absent,
            };
            let name = file.strip_prefix("proc/").unwrap_or(file);
            if let Err(error) = policy.files.set(name, choice) {
                tracing::warn!(container = %registration.id, "{error}");
            }
        }
        Self { policy, has_view: *view == View::On }
    }
}

/// All decisions.
#[derive(Debug)]
pub(crate) struct Decisions {
    of_all: Arc<Decision>,
    registry: Option<Registry>,
    host: Arc<HostFs>,
    identifier: Arc<Identifier>,
    single: Mutex<Single>,
}

/// Decisions about single containers.
#[derive(Debug, Default)]
struct Single {
    /// What they were made from.
    registered: Arc<Registered>,
    made_at: Option<Instant>,
    made: HashMap<Id, Made>,
    by_container: HashMap<ContainerKey, Arc<Decision>>,
}

#[derive(Debug)]
struct Made {
    registration: Arc<Registration>,
    decision: Arc<Decision>,
    /// `None`: it was not there.
    container: Option<ContainerKey>,
}

impl Single {
    fn is_due(&self, registered: &Arc<Registered>) -> bool {
        let is_old = || self.made_at.is_none_or(|made_at| made_at.elapsed() > AGAIN);
        let is_unclear = || !self.made.values().all(Made::is_certain);
        !Arc::ptr_eq(&self.registered, registered) || (is_old() && is_unclear())
    }
}

impl Made {
    /// Whether it will be the same container for good.
    fn is_certain(&self) -> bool {
        self.container.is_some() && matches!(self.registration.target, Target::Init(_))
    }
}

impl Decisions {
    pub(crate) fn new(
        policy: Policy,
        registry: Option<Registry>,
        host: Arc<HostFs>,
        identifier: Arc<Identifier>,
    ) -> Self {
        let of_all = Arc::new(Decision { policy, has_view: true });
        Self { of_all, registry, host, identifier, single: Mutex::default() }
    }

    /// What holds for containers about which nothing else is decided.
    pub(crate) fn of_all(&self) -> &Decision {
        &self.of_all
    }

    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// What holds for this container, or held a tick ago.
    pub(crate) fn of(&self, container: &Container) -> Arc<Decision> {
        let Some(registry) = &self.registry else { return Arc::clone(&self.of_all) };
        let registered = registry.within(TICK);
        // Whatever a panic has left is made anew with the next change.
        let mut single = self.single.lock().unwrap_or_else(PoisonError::into_inner);
        if single.is_due(&registered) {
            self.make(&mut single, registered);
        }
        Arc::clone(single.by_container.get(&container.key()).unwrap_or(&self.of_all))
    }

    /// Makes the decisions about those that are registered with any. Most are registered without,
    /// and need not even be looked for.
    fn make(&self, single: &mut Single, registered: Arc<Registered>) {
        let mut before = std::mem::take(&mut single.made);
        let decided = registered.iter().filter(|one| one.policy != registry::Policy::default());
        for registration in decided {
            let known = before.remove(&registration.id);
            let known = known.filter(|made| Arc::ptr_eq(&made.registration, registration));
            let made = known.filter(Made::is_certain).unwrap_or_else(|| Made {
                decision: Arc::new(self.of_all.with(registration)),
                container: self.container(registration),
                registration: Arc::clone(registration),
            });
            single.made.insert(registration.id.clone(), made);
        }
        let made = single.made.values();
        let of = made.filter_map(|made| Some((made.container?, Arc::clone(&made.decision))));
        single.by_container = of.collect();
        single.registered = registered;
        single.made_at = Some(Instant::now());
    }

    fn container(&self, registration: &Registration) -> Option<ContainerKey> {
        let found = registry::find(&self.host, &self.identifier, &registration.target);
        found
            .inspect_err(|error| tracing::warn!(container = %registration.id, %error))
            .ok()
            .flatten()
            .map(|found| found.container.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_decides_only_what_it_names() {
        let mut policy = Policy { swap: false, ..Policy::default() };
        policy.files.set("stat", FilePolicy::Host).unwrap();
        let of_all = Decision { policy, has_view: true };
        let decide = |policy: serde_json::Value| {
            let text = serde_json::json!({
                "version": 1, "id": "a", "target": { "cgroup": "/a" }, "policy": policy,
            });
            of_all.with(&serde_json::from_value(text).unwrap())
        };
        assert_eq!(decide(serde_json::json!({})), of_all);
        let decided = decide(serde_json::json!({
            "cpu_count": "cpuset",
            "files": { "proc/swaps": "absent", "sys/block": "host", "proc/nonsense": "host" },
        }));
        assert_eq!((decided.policy().cpu_count, decided.policy().swap), (CpuCount::Cpuset, false));
        for (file, expected) in [
            ("swaps", FilePolicy::Absent),
            ("sys/block", FilePolicy::Host),
            ("stat", FilePolicy::Host),
            ("meminfo", FilePolicy::Virtual),
        ] {
            assert_eq!(decided.of_file(file), expected, "{file}");
        }
        let off = decide(serde_json::json!({ "view": "off", "files": { "proc/swaps": "absent" } }));
        assert_eq!(off.of_file("meminfo"), FilePolicy::Host);
        assert_eq!(off.of_file("swaps"), FilePolicy::Absent);
    }
}
