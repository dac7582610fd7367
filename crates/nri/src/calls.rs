//! What the runtime calls, and what becomes of it.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;

use crate::config::Config;
use crate::handle::Handle;
use crate::inventory::{self, Inventory};
use crate::lanes::{Cause, Lanes};
use crate::messages::{
    ConfigureRequest, ConfigureResponse, Container, ContainerRequest, PodSandbox, StateChangeEvent,
    SynchronizeMore, SynchronizeRequest, SynchronizeResponse,
};
use crate::plugin::{Plugin, Runtime};
use crate::reply::Reply;
use crate::ttrpc::Request;

const SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";

/// The numbers of events in a `StateChange`.
const START_CONTAINER: i32 = 6;
const STOP_CONTAINER: i32 = 10;
const REMOVE_CONTAINER: i32 = 11;
/// The events that are asked for: those, and `CreateContainer` (4), a bit each. Nothing at all would
/// mean everything, and an event that the runtime does not know would end the connection; these are
/// known to all.
const EVENTS: i32 = 0x628;

/// The lane of what is about no single container. No container has this id.
const NO_CONTAINER: &str = "";

/// Whether a call is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// It has its answer.
    Answered,
    /// Its answer comes when a method of the plugin has returned, or is due.
    Waits,
}

/// What a container has come to.
#[derive(Clone, Copy, Debug)]
enum Event {
    Start,
    Stop,
    Remove,
}

/// The calls of one connection.
pub(crate) struct Calls<'a, P> {
    plugin: &'a Arc<P>,
    handle: &'a Handle,
    lanes: &'a Lanes,
    deadline: Duration,
    runtime: Arc<Runtime>,
    inventory: Inventory,
    synchronized: Option<Instant>,
    dropped: u64,
}

impl<'a, P: Plugin> Calls<'a, P> {
    pub(crate) fn new(
        config: &Config,
        plugin: &'a Arc<P>,
        handle: &'a Handle,
        lanes: &'a Lanes,
    ) -> Self {
        Self {
            plugin,
            handle,
            lanes,
            deadline: config.deadline,
            runtime: Arc::default(),
            inventory: Inventory::default(),
            synchronized: None,
            dropped: 0,
        }
    }

    /// When the listing was complete.
    pub(crate) fn synchronized(&self) -> Option<Instant> {
        self.synchronized
    }

    /// How many events were dropped because too many waited.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How long a call may wait for its answer, when the caller waits `timeout_nano` (0: unknown).
    pub(crate) fn patience(&self, timeout_nano: i64) -> Duration {
        match u64::try_from(timeout_nano) {
            Ok(nanoseconds @ 1..) => self.deadline.min(Duration::from_nanos(nanoseconds / 2)),
            _ => self.deadline,
        }
    }

    /// Does what is asked, or has it done.
    pub(crate) fn take(&mut self, request: &Request, reply: &Arc<Reply>) -> Call {
        let (method, payload) = (request.method.as_str(), request.payload.as_slice());
        if request.service != SERVICE {
            reply.unimplemented(&format!("{}/{method}", request.service));
            return Call::Answered;
        }
        tracing::trace!(method, bytes = payload.len(), "called");
        match method {
            "Configure" => self.configure(payload, reply),
            "Synchronize" => self.synchronize(payload, reply),
            "StartContainer" => self.container(Event::Start, payload, reply),
            "StopContainer" => self.container(Event::Stop, payload, reply),
            "RemoveContainer" => self.container(Event::Remove, payload, reply),
            "StateChange" => self.state_change(payload, reply),
            "CreateContainer" | "UpdateContainer" | "Shutdown" => {
                reply.ok();
                Call::Answered
            }
            _ => {
                reply.unimplemented(method);
                Call::Answered
            }
        }
    }

    fn configure(&mut self, payload: &[u8], reply: &Reply) -> Call {
        let configuration: ConfigureRequest = understand("Configure", payload).unwrap_or_default();
        if let Ok(milliseconds @ 1..) = u64::try_from(configuration.request_timeout) {
            self.deadline = self.deadline.min(Duration::from_millis(milliseconds) / 2);
        }
        self.runtime = Arc::new(Runtime {
            name: configuration.runtime_name,
            version: configuration.runtime_version,
        });
        reply.with(&ConfigureResponse { events: EVENTS });
        Call::Answered
    }

    fn synchronize(&mut self, payload: &[u8], reply: &Arc<Reply>) -> Call {
        let more = match understand::<SynchronizeRequest>("Synchronize", payload) {
            Some(part) => {
                let more = part.more;
                self.inventory.add(part, payload.len());
                more
            }
            None => {
                self.inventory.truncate();
                SynchronizeMore::decode(payload).is_ok_and(|part| part.more)
            }
        };
        if more {
            reply.with(&SynchronizeResponse { more });
            return Call::Answered;
        }
        let listing = std::mem::take(&mut self.inventory).finish(&self.runtime);
        let registration = self.registered(listing.containers.len());
        for target in &listing.containers {
            let (plugin, target) = (Arc::clone(self.plugin), target.clone());
            let id = target.container.id.clone();
            let work =
                move || shielded("existing_container", || plugin.existing_container(&target));
            if !self.lanes.put(&id, Cause::Listing, Box::new(work)) {
                self.count_dropped();
            }
        }
        let (plugin, handle) = (Arc::clone(self.plugin), self.handle.clone());
        self.put(NO_CONTAINER, reply, "synchronize", move || {
            plugin.synchronize(&listing);
            handle.update(|status| {
                // By now it may be another connection's.
                if status.registrations == registration && status.runtime.is_some() {
                    status.synchronized = true;
                }
            });
        })
    }

    /// Returns which registration this is.
    fn registered(&mut self, containers: usize) -> u64 {
        let Runtime { name, version } = self.runtime.as_ref();
        tracing::info!(runtime = %name, %version, containers, "registered with the container runtime");
        self.synchronized = Some(Instant::now());
        self.handle.update(|status| {
            status.runtime = Some(Arc::clone(&self.runtime));
            status.registrations += 1;
            status.registrations
        })
    }

    fn container(&mut self, event: Event, payload: &[u8], reply: &Arc<Reply>) -> Call {
        match understand::<ContainerRequest>("the request", payload) {
            Some(ContainerRequest { pod, container: Some(container) }) => {
                self.event(event, pod, container, reply)
            }
            _ => self.not_for_us(reply),
        }
    }

    fn state_change(&mut self, payload: &[u8], reply: &Arc<Reply>) -> Call {
        let change: StateChangeEvent = understand("StateChange", payload).unwrap_or_default();
        let event = match change.event {
            START_CONTAINER => Event::Start,
            STOP_CONTAINER => Event::Stop,
            REMOVE_CONTAINER => Event::Remove,
            _ => return self.not_for_us(reply),
        };
        match change.container {
            Some(container) => self.event(event, change.pod, container, reply),
            None => self.not_for_us(reply),
        }
    }

    fn not_for_us(&self, reply: &Reply) -> Call {
        reply.ok();
        Call::Answered
    }

    fn event(
        &mut self,
        event: Event,
        pod: Option<PodSandbox>,
        container: Container,
        reply: &Arc<Reply>,
    ) -> Call {
        let target = inventory::target(&self.runtime, pod.map(Arc::new), container);
        let (plugin, id) = (Arc::clone(self.plugin), target.container.id.clone());
        tracing::debug!(?event, container = %id, pid = target.container.pid, "container event");
        self.handle.update(|status| status.events += 1);
        let method = match event {
            Event::Start => P::start_container,
            Event::Stop => P::stop_container,
            Event::Remove => P::remove_container,
        };
        if !matches!(event, Event::Start) {
            // Nothing is gained by having the whole node wait: the runtime makes one call at a time.
            reply.ok();
        }
        self.put(&id, reply, "the method for an event", move || method(&plugin, &target))
    }

    fn put(
        &mut self,
        lane: &str,
        reply: &Arc<Reply>,
        what: &'static str,
        method: impl FnOnce() + Send + 'static,
    ) -> Call {
        let (answer, handle) = (Arc::clone(reply), self.handle.clone());
        let waited_for = !reply.is_given();
        let taken = Instant::now();
        let id = lane.to_owned();
        let work = move || {
            shielded(what, method);
            if !answer.ok() && waited_for {
                handle.update(|status| status.late += 1);
                let took = taken.elapsed();
                tracing::warn!(container = %id, ?took, "{what} took longer than the runtime waits");
            }
        };
        if !self.lanes.put(lane, Cause::Event, Box::new(work)) {
            self.count_dropped();
            reply.ok();
        }
        if reply.is_given() { Call::Answered } else { Call::Waits }
    }

    fn count_dropped(&mut self) {
        self.dropped += 1;
        self.handle.update(|status| status.dropped += 1);
    }
}

/// A message, if it is one. What cannot be understood is not the runtime's fault alone, and no
/// reason to refuse a container.
fn understand<M: Message + Default>(what: &str, payload: &[u8]) -> Option<M> {
    match M::decode(payload) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::warn!(%error, bytes = payload.len(), "cannot understand {what} of the runtime");
            None
        }
    }
}

/// Calls a method of the plugin. Whatever becomes of it, the runtime is told that all is well.
pub(crate) fn shielded(what: &str, method: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(method)).is_err() {
        tracing::error!("{what} of the plugin panicked");
    }
}
