//! What must never be closed while the view is to live: descriptors, by name.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::message::{ConnectionState, Estate, Role};

/// One FUSE connection: what is known of it, and its descriptors.
#[derive(Debug)]
pub struct Held {
    /// What is known.
    pub state: ConnectionState,
    /// `/dev/fuse`. The one descriptor of the connection: when its last copy is closed, the view is
    /// dead.
    pub device: OwnedFd,
    /// The memfd into which workers read requests.
    pub journal: OwnedFd,
    /// The mount, while it is not in its place and anybody has it.
    pub mount: Option<OwnedFd>,
}

/// Everything that outlives a worker, and a supervisor.
#[derive(Debug)]
pub struct Holdings {
    /// The connections, the shared tree's first.
    pub connections: Vec<Held>,
    /// The memfd of open handles. Empty before the first worker.
    pub keep: OwnedFd,
    /// The control socket that listens.
    pub listener: OwnedFd,
    /// The end for writing of the guard's pipe. Never written to: when all are closed, the guard
    /// knows that nobody holds the connections any more.
    pub guard: Option<OwnedFd>,
    /// Whether containers get their own content.
    pub virtual_: bool,
}

/// A descriptor is missing.
#[derive(Debug, thiserror::Error)]
#[error("the descriptor {0:?} was not handed over")]
pub struct IncompleteError(pub String);

impl Holdings {
    /// The name of [`listener`](Self::listener).
    pub const LISTENER: &str = "listener";

    /// All of it that is not a descriptor.
    #[must_use]
    pub fn estate(&self) -> Estate {
        let connections = self.connections.iter().map(|held| held.state.clone()).collect();
        Estate { connections, virtual_: self.virtual_ }
    }

    /// As [`estate`](Self::estate), for a worker: mounts that lie in nobody's tree are in their place
    /// before a worker is let go, so that is none of its business.
    #[must_use]
    pub fn estate_for_worker(&self) -> Estate {
        let mut estate = self.estate();
        for state in &mut estate.connections {
            state.attached |= state.role.lies_in().is_none();
        }
        estate
    }

    /// The descriptors that belong to [`estate_for_worker`](Self::estate_for_worker).
    #[must_use]
    pub fn descriptors_for_worker(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let mut list = self.descriptors();
        let states = self.connections.iter().map(|held| held.state.role);
        let others = states.filter(|role| role.lies_in().is_none()).map(|role| name(role, MOUNT));
        let others: Vec<String> = others.collect();
        list.retain(|(descriptor, _)| !others.contains(descriptor));
        list
    }

    /// The descriptors for a service manager to keep while nobody runs. Not the listener: nobody
    /// must seem to listen then. And no mount: the manager looks at what it keeps with fstat(2),
    /// which never returns for a mount that nobody serves. A mount that is nowhere ends with us.
    #[must_use]
    pub fn descriptors_for_store(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let mut list = self.descriptors();
        list.retain(|(name, _)| name != Self::LISTENER && name.rsplit('.').next() != Some(MOUNT));
        list
    }

    /// The names of all descriptors that belong to a role.
    #[must_use]
    pub fn names(role: Role) -> [String; 3] {
        [DEVICE, JOURNAL, MOUNT].map(|what| name(role, what))
    }

    /// The descriptors with their names.
    #[must_use]
    pub fn descriptors(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let mut list = Vec::new();
        for held in &self.connections {
            let name = |what| name(held.state.role, what);
            list.push((name(DEVICE), held.device.as_fd()));
            list.push((name(JOURNAL), held.journal.as_fd()));
            list.extend(held.mount.as_ref().map(|mount| (name(MOUNT), mount.as_fd())));
        }
        list.push((KEEP.to_owned(), self.keep.as_fd()));
        list.push((Self::LISTENER.to_owned(), self.listener.as_fd()));
        list.extend(self.guard.as_ref().map(|guard| (GUARD.to_owned(), guard.as_fd())));
        list
    }

    /// Puts together what another process had. Descriptors with other names are closed.
    ///
    /// # Errors
    /// One is missing.
    pub fn assemble(
        estate: Estate,
        descriptors: impl IntoIterator<Item = (String, OwnedFd)>,
    ) -> Result<Self, IncompleteError> {
        let mut by_name: BTreeMap<String, OwnedFd> = descriptors.into_iter().collect();
        let mut connections = Vec::with_capacity(estate.connections.len());
        for state in estate.connections {
            let mut needed = |what| take(&mut by_name, &name(state.role, what));
            let (device, journal) = (needed(DEVICE)?, needed(JOURNAL)?);
            // A service manager does not keep it: then the connection is dead.
            let mount = needed(MOUNT).ok().filter(|_| !state.attached);
            connections.push(Held { state, device, journal, mount });
        }
        Ok(Self {
            connections,
            keep: take(&mut by_name, KEEP)?,
            listener: take(&mut by_name, Self::LISTENER)?,
            guard: by_name.remove(GUARD),
            virtual_: estate.virtual_,
        })
    }

    /// The connection of that role.
    #[must_use]
    pub fn connection(&self, role: Role) -> Option<&Held> {
        self.connections.iter().find(|held| held.state.role == role)
    }

    /// Notes that mounts are in their place, and closes their descriptors.
    pub fn attached(&mut self, roles: &[Role]) {
        for held in self.connections.iter_mut().filter(|held| roles.contains(&held.state.role)) {
            held.state.attached = true;
            held.mount = None;
        }
    }

    /// Which mounts are in their place, or are not.
    #[must_use]
    pub fn roles(&self, attached: bool) -> Vec<Role> {
        let states = self.connections.iter().map(|held| &held.state);
        states.filter(|state| state.attached == attached).map(|state| state.role).collect()
    }
}

const DEVICE: &str = "device";
const JOURNAL: &str = "journal";
const MOUNT: &str = "mount";
const KEEP: &str = "keep";
const GUARD: &str = "guard";

fn name(role: Role, what: &str) -> String {
    format!("{}.{what}", role.name())
}

fn take(from: &mut BTreeMap<String, OwnedFd>, name: &str) -> Result<OwnedFd, IncompleteError> {
    from.remove(name).ok_or_else(|| IncompleteError(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn holdings() -> Holdings {
        // Written out: this is what another version of us reads.
        let connection = |role: &str, attached: bool| {
            serde_json::json!({
                "role": role, "mountpoint": "/run/view", "attached": attached,
                "negotiated": negotiated(),
            })
        };
        let connections = [connection("shared", true), connection("pressure", false)];
        let estate = serde_json::json!({ "connections": connections, "virtual": true });
        let names = ["shared.device", "shared.journal", "pressure.device", "pressure.journal"];
        let names = names.into_iter().chain(["pressure.mount", "keep", "listener", "else"]);
        let descriptors = names.map(|name| (name.to_owned(), fd()));
        Holdings::assemble(serde_json::from_value(estate).unwrap(), descriptors).unwrap()
    }

    fn negotiated() -> serde_json::Value {
        serde_json::json!({ "major": 7, "minor": 42, "flags": 0, "offered": 0, "max_write": 4096 })
    }

    fn names(descriptors: &[(String, BorrowedFd<'_>)]) -> Vec<String> {
        descriptors.iter().map(|(name, _)| name.clone()).collect()
    }

    #[test]
    fn what_is_handed_on_can_be_put_together_again() {
        let first = holdings();
        let copies = first.descriptors();
        let copies =
            copies.iter().map(|(name, fd)| (name.clone(), fd.try_clone_to_owned().unwrap()));
        let second = Holdings::assemble(first.estate(), copies.collect::<Vec<_>>()).unwrap();
        assert_eq!(second.estate(), first.estate());
        assert_eq!(names(&second.descriptors()), names(&first.descriptors()));
        assert_eq!(second.roles(false), [Role::Pressure]);
    }

    #[test]
    fn mounts_in_their_place_are_not_handed_on() {
        let mut holdings = holdings();
        holdings.attached(&[Role::Pressure]);
        assert!(!names(&holdings.descriptors()).contains(&"pressure.mount".to_owned()));
        assert_eq!(holdings.roles(true), [Role::Shared, Role::Pressure]);
    }

    #[test]
    fn shared_mount_is_none_of_a_workers_business() {
        let mut holdings = holdings();
        let shared = &mut holdings.connections[0];
        (shared.state.attached, shared.mount) = (false, Some(fd()));
        assert!(names(&holdings.descriptors()).contains(&"shared.mount".to_owned()));
        assert!(!names(&holdings.descriptors_for_worker()).contains(&"shared.mount".to_owned()));
        assert!(holdings.estate_for_worker().connections[0].attached);
        assert!(!holdings.estate().connections[0].attached);
    }

    #[test]
    fn mounts_and_the_listener_are_not_for_the_service_manager() {
        let kept = ["shared.device", "shared.journal", "pressure.device", "pressure.journal"];
        let kept = [&kept[..], &["keep"]].concat();
        assert_eq!(names(&holdings().descriptors_for_store()), kept);
    }

    #[test]
    fn missing_descriptor_is_named() {
        let estate = holdings().estate();
        let error = Holdings::assemble(estate, [("shared.device".to_owned(), fd())]).unwrap_err();
        assert_eq!(error.to_string(), "the descriptor \"shared.journal\" was not handed over");
    }
}
