//! What a plugin is told.

use std::sync::Arc;

use crate::error::Error;
use crate::messages::{Container, PodSandbox};

/// What somebody wants to do when containers come and go.
///
/// No method can refuse anything: whatever happens in it, the runtime is told that all is well,
/// since containerd does not start a container whose plugin answers with an error. A method may
/// take its time: when it takes too long for the runtime ([`Config::deadline`](crate::Config)), the
/// runtime is answered without waiting for the end, and the method goes on. A panic is logged.
///
/// Methods are called by several threads at once, but those that name the same container one after
/// the other, in the order in which the runtime told. The runtime may tell the same twice, and a
/// plugin of the same name may do the same work beside this one: do what is not done yet.
pub trait Plugin: Send + Sync + 'static {
    /// All that the runtime has, once after each connection.
    ///
    /// Meant for what no container of the listing can tell: which known ones are gone. For each of
    /// `listing.containers` there is a call of [`Plugin::existing_container`] besides, before, while
    /// or after this one is at work. The runtime waits for this method, up to the deadline, and not
    /// for those.
    fn synchronize(&self, listing: &Listing);

    /// A container that was there when the runtime was connected to, in any state.
    fn existing_container(&self, target: &Target);

    /// The container's first process exists (`pid`, if the runtime tells), its namespaces and mounts
    /// are complete, and the user's program has not begun: it does when this returns, or at the
    /// deadline.
    fn start_container(&self, target: &Target);

    /// The container is about to be stopped. Also comes when creating or starting it has failed.
    fn stop_container(&self, _target: &Target) {}

    /// The container is gone.
    fn remove_container(&self, target: &Target);

    /// The connection has ended; another will be made. For logs and metrics: containers may start
    /// unseen until [`Plugin::synchronize`].
    fn disconnected(&self, _reason: &Error) {}
}

/// A container and its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who told.
    pub runtime: Arc<Runtime>,
    /// The container's pod. One that the runtime did not tell about has nothing but its id.
    pub pod: Arc<PodSandbox>,
    /// The container.
    pub container: Arc<Container>,
}

/// All that a runtime has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Who told.
    pub runtime: Arc<Runtime>,
    /// All pods.
    pub pods: Vec<Arc<PodSandbox>>,
    /// All containers with their pods, in the runtime's order. containerd lists created and running
    /// ones, CRI-O paused ones too.
    pub containers: Vec<Target>,
    /// Whether something was left out, since the listing was too long to be held.
    pub truncated: bool,
}

/// A container runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Such as `containerd` or `cri-o`; empty if it does not say.
    pub name: String,
    /// As it calls it itself, such as `2.1.9+unknown`.
    pub version: String,
}
