//! A listing as it comes, in one part or several.

use std::collections::HashMap;
use std::sync::Arc;

use crate::messages::{Container, PodSandbox, SynchronizeRequest};
use crate::plugin::{Listing, Runtime, Target};

/// The most that a listing may take on the wire, in bytes: some 24 000 pods of one container each.
const BYTES: usize = 64 << 20;

/// The parts of a listing.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pods: Vec<PodSandbox>,
    containers: Vec<Container>,
    bytes: usize,
    truncated: bool,
}

impl Inventory {
    /// Takes a part that was `bytes` long on the wire.
    pub(crate) fn add(&mut self, part: SynchronizeRequest, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > BYTES {
            self.truncate();
        } else {
            self.pods.extend(part.pods);
            self.containers.extend(part.containers);
        }
    }

    /// A part could not be understood, or is too much.
    pub(crate) fn truncate(&mut self) {
        self.truncated = true;
    }

    /// The whole listing. Pods and containers may have come in different parts.
    pub(crate) fn finish(self, runtime: &Arc<Runtime>) -> Listing {
        let pods: Vec<_> = self.pods.into_iter().map(Arc::new).collect();
        let by_id: HashMap<&str, _> = pods.iter().map(|pod| (pod.id.as_str(), pod)).collect();
        let target = |container: Container| {
            let pod = by_id.get(container.pod_sandbox_id.as_str()).map(|pod| Arc::clone(pod));
            target(runtime, pod, container)
        };
        let containers = self.containers.into_iter().map(target).collect();
        drop(by_id);
        let runtime = Arc::clone(runtime);
        Listing { runtime, pods, containers, truncated: self.truncated }
    }
}

/// A container and the pod that the runtime told with it, or nothing of that but the id.
pub(crate) fn target(
    runtime: &Arc<Runtime>,
    pod: Option<Arc<PodSandbox>>,
    container: Container,
) -> Target {
    let unknown =
        || Arc::new(PodSandbox { id: container.pod_sandbox_id.clone(), ..PodSandbox::default() });
    let pod = pod.unwrap_or_else(unknown);
    Target { runtime: Arc::clone(runtime), pod, container: Arc::new(container) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(pods: &[&str], containers: &[(&str, &str)]) -> SynchronizeRequest {
        let pods =
            pods.iter().map(|id| PodSandbox { id: (*id).into(), pid: 7, ..PodSandbox::default() });
        let containers = containers.iter().map(|(id, pod)| Container {
            id: (*id).into(),
            pod_sandbox_id: (*pod).into(),
            ..Container::default()
        });
        SynchronizeRequest { pods: pods.collect(), containers: containers.collect(), more: false }
    }

    #[test]
    fn containers_find_their_pods_across_parts() {
        let mut inventory = Inventory::default();
        inventory.add(part(&["p1"], &[("c2", "p2")]), 1);
        inventory.add(part(&["p2"], &[("c1", "p1"), ("orphan", "p3")]), 1);
        let listing = inventory.finish(&Arc::default());
        let found: Vec<_> = listing
            .containers
            .iter()
            .map(|target| (target.container.id.as_str(), target.pod.id.as_str(), target.pod.pid))
            .collect();
        assert_eq!(found, [("c2", "p2", 7), ("c1", "p1", 7), ("orphan", "p3", 0)]);
        assert_eq!(listing.pods.len(), 2);
        assert!(!listing.truncated);
    }

    #[test]
    fn a_listing_without_end_is_cut_and_says_so() {
        let mut inventory = Inventory::default();
        inventory.add(part(&["p1"], &[]), BYTES);
        inventory.add(part(&["p2"], &[]), 1);
        inventory.add(part(&["p3"], &[]), usize::MAX);
        let listing = inventory.finish(&Arc::default());
        assert_eq!(listing.pods.len(), 1);
        assert!(listing.truncated);
    }
}
