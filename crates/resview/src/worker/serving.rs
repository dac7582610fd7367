//! The sessions of a worker: one for each connection that it was handed.

use std::mem::ManuallyDrop;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use control::{Holdings, Role};
use fuse::{Ended, Fairness, Filesystem, Journal, Recovery, Rings, Serve, Session, Stopper};
use viewfs::{ContainerTree, Contents, Keep, PressureTree, SharedTree};

use super::copy;
use super::events::{Event, Events};
use crate::Wrap;
use crate::serve::{PRESSURE_THREADS, ServeOptions};

/// How long a request in hand may take when the worker is to stop. The supervisor's watchdog would
/// not wait longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the sessions are about.
pub(super) struct Trees<'a> {
    pub(super) contents: Arc<Contents>,
    pub(super) keep: Arc<Keep>,
    pub(super) journals: Vec<(Role, Arc<Journal>)>,
    pub(super) options: &'a ServeOptions,
    /// See `--requests-per-second`.
    pub(super) requests_per_second: Option<NonZeroU32>,
    pub(super) wrap: Wrap,
}

/// Sessions at work.
pub(super) struct Serving {
    pub(super) contents: Arc<Contents>,
    /// Of the sessions that have not ended.
    stoppers: Vec<(Role, Stopper)>,
    /// Never dropped. The kernel takes some 10 ms to free each trigger; it may do so when this
    /// process ends, and the next worker serves already.
    _trees: ManuallyDrop<Vec<Arc<dyn Filesystem>>>,
}

impl Serving {
    /// Takes the connections over and starts their threads.
    pub(super) fn start(
        trees: &Trees<'_>,
        mut rings: Vec<(Role, Rings)>,
        holdings: &Holdings,
        recovery: Recovery,
        events: &Events,
    ) -> anyhow::Result<Self> {
        let (mut stoppers, mut kept) = (Vec::new(), ManuallyDrop::new(Vec::new()));
        for held in &holdings.connections {
            let session = Session::adopt(copy(&held.device)?, held.state.negotiated)?;
            let tree = trees.tree(held.state.role, &session)?;
            kept.push(Arc::clone(&tree));
            let how = trees.how(held.state.role, recovery);
            let of_role = rings.iter().position(|(role, _)| *role == held.state.role);
            let handle = match of_role.map(|index| rings.swap_remove(index)) {
                Some((_, rings)) => session.serve_over(rings, tree, how),
                None => session.serve(tree, how),
            };
            let handle = handle.with_context(|| {
                format!("cannot serve the {} connection", held.state.role.name())
            })?;
            stoppers.push((held.state.role, handle.stopper()));
            events.watch(held.state.role, handle)?;
        }
        Ok(Self { contents: Arc::clone(&trees.contents), stoppers, _trees: kept })
    }

    /// Stops at a request boundary; whether everything that was read has been answered.
    pub(super) fn stop(mut self, events: &Events) -> bool {
        self.stoppers.iter().for_each(|(_, stopper)| stopper.stop());
        let end = Instant::now() + PATIENCE;
        while !self.stoppers.is_empty() {
            match events.next_within(end.saturating_duration_since(Instant::now())) {
                Some(Event::Ended { role, how }) => {
                    tracing::debug!(?how, "a session has ended");
                    self.has_ended(role);
                    if matches!(how, Ended::Error(_)) {
                        return false;
                    }
                }
                Some(_) => {}
                None => return false,
            }
        }
        true
    }

    /// Notes that a session has ended by itself; there is nothing to stop any more.
    pub(super) fn has_ended(&mut self, role: Role) {
        self.stoppers.retain(|(of, _)| *of != role);
    }
}

impl Trees<'_> {
    fn tree(&self, role: Role, session: &Session) -> anyhow::Result<Arc<dyn Filesystem>> {
        let (contents, keep) = (Arc::clone(&self.contents), Arc::clone(&self.keep));
        let tree: Arc<dyn Filesystem> = match role {
            Role::Shared => Arc::new(SharedTree::new(contents, keep)),
            Role::Pressure => {
                let notifier = self.options.triggers.then(|| session.notifier());
                Arc::new(PressureTree::start(contents, notifier, keep)?)
            }
            Role::Containers => Arc::new(ContainerTree::new(contents, keep)),
        };
        Ok((self.wrap)(tree))
    }

    fn how(&self, role: Role, recovery: Recovery) -> Serve {
        let threads = match role {
            Role::Shared | Role::Containers => self.options.threads,
            Role::Pressure => PRESSURE_THREADS,
        };
        let journal = self.journals.iter().find(|(of, _)| *of == role);
        Serve {
            threads,
            journal: journal.map(|(_, journal)| Arc::clone(journal)),
            recovery,
            fairness: Fairness { per_second: self.requests_per_second, ..Fairness::default() },
        }
    }
}
