//! What a worker hears of, from several threads, one after the other.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use control::orphan::{self, Successor};
use control::{Channel, ChannelError, Held, Holdings, Role, ToWorker};
use fuse::{Ended, ServeHandle};
use serde_json::Value;

/// What can happen.
#[derive(Debug)]
pub(super) enum Event {
    /// The supervisor says something.
    Message(ToWorker),
    /// It is dead, or talks nonsense.
    SupervisorGone,
    /// A session's threads have ended.
    Ended { role: Role, how: Ended },
    /// Another daemon takes over.
    Successor(Successor),
}

/// Where events arrive.
#[derive(Debug)]
pub(super) struct Events {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

impl Events {
    /// Listens to the supervisor.
    pub(super) fn start(supervisor: Arc<Channel>) -> anyhow::Result<Self> {
        let (sender, receiver) = channel();
        let events = Self { sender, receiver };
        events.on_thread("supervisor", move |sender| {
            loop {
                let event = match supervisor.receive(None) {
                    Ok(message) => Event::Message(message),
                    Err(error) => {
                        if !matches!(error, ChannelError::Closed) {
                            tracing::error!(%error, "the supervisor cannot be understood");
                        }
                        Event::SupervisorGone
                    }
                };
                let was_last = matches!(event, Event::SupervisorGone);
                if sender.send(event).is_err() || was_last {
                    return;
                }
            }
        })?;
        Ok(events)
    }

    /// Waits for the next.
    pub(super) fn next(&self) -> anyhow::Result<Event> {
        self.receiver.recv().context("all threads are gone")
    }

    /// As [`next`](Self::next), for a limited time.
    pub(super) fn next_within(&self, limit: Duration) -> Option<Event> {
        self.receiver.recv_timeout(limit).ok()
    }

    /// Listens for the end of a session.
    pub(super) fn watch(&self, role: Role, handle: ServeHandle) -> anyhow::Result<()> {
        self.on_thread("ended", move |sender| {
            // Nobody listens when the worker ends first.
            let _ = sender.send(Event::Ended { role, how: handle.wait() });
        })
    }

    /// Listens on the control socket. `report` is asked for each time.
    pub(super) fn listen(
        &self,
        holdings: &Holdings,
        report: impl Fn() -> Value + Send + 'static,
    ) -> anyhow::Result<()> {
        let holdings = duplicate(holdings)?;
        self.on_thread("control", move |sender| match orphan::answer(&holdings, report) {
            Ok(successor) => drop(sender.send(Event::Successor(successor))),
            Err(error) => tracing::error!(%error, "nobody can take over from this worker"),
        })
    }

    fn on_thread(
        &self,
        name: &str,
        body: impl FnOnce(Sender<Event>) + Send + 'static,
    ) -> anyhow::Result<()> {
        let sender = self.sender.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || body(sender)).with_context(|| format!("cannot start {name:?}"))?;
        Ok(())
    }
}

fn duplicate(holdings: &Holdings) -> anyhow::Result<Holdings> {
    let copy = |fd: &OwnedFd| fd.try_clone().context("cannot duplicate a descriptor");
    let held = |held: &Held| -> anyhow::Result<Held> {
        Ok(Held {
            state: held.state.clone(),
            device: copy(&held.device)?,
            journal: copy(&held.journal)?,
            mount: held.mount.as_ref().map(copy).transpose()?,
        })
    };
    Ok(Holdings {
        connections: holdings.connections.iter().map(held).collect::<Result<_, _>>()?,
        keep: copy(&holdings.keep)?,
        listener: copy(&holdings.listener)?,
        guard: holdings.guard.as_ref().map(copy).transpose()?,
        virtual_: holdings.virtual_,
    })
}
