//! The load sampler: counts the tasks of the containers that somebody asks about, off the read
//! path, every five seconds.
//!
//! A history is kept when nobody asks any longer, and written down for the next daemon after each
//! sample; the load of a time without samples is taken from the CPU time used meanwhile.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use container::{Container, ContainerKey};
use hostfs::HostFs;
use procfmt::units::Usec;
use view::{LoadHistory, Tasks};

use crate::clocks::{boottime, monotonic};
use crate::gather::started;
use crate::store::{Kind, StateDir, Store};
use crate::tasks::{Counted, count_tasks};
use crate::taskstats::Taskstats;

/// The kernel's own interval for load averages.
const INTERVAL: Duration = Duration::from_secs(5);
/// A container is sampled for this long after it was last asked about.
const INTEREST: Usec = Usec(900_000_000);
/// So many histories are kept; beyond that, those go that were not sampled for longest.
const MOST: usize = 16_384;

/// The sampler and its thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Sampler {
    shared: Arc<Shared>,
    _stop: Sender<()>,
}

#[derive(Debug)]
struct Shared {
    host: Arc<HostFs>,
    histories: Mutex<HashMap<ContainerKey, Kept>>,
    store: Option<Store>,
}

#[derive(Debug)]
struct Kept {
    history: LoadHistory,
    /// `None`: not sampled, because nobody has asked for long, or not yet asked this daemon.
    watch: Option<Watch>,
}

/// A container that is sampled.
#[derive(Clone, Debug)]
struct Watch {
    container: Arc<Container>,
    asked_at: Usec,
    counted: Counted,
}

impl Sampler {
    /// Starts the thread, with the histories that the last daemon left in `state`.
    pub(crate) fn start(host: Arc<HostFs>, state: Option<&StateDir>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::open(host, state));
        let (stop, stopped) = channel();
        let sampling = Arc::clone(&shared);
        std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let taskstats = Taskstats::open();
            let mut next = Instant::now() + INTERVAL;
            loop {
                let wait = next.saturating_duration_since(Instant::now());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                sampling.sample_all(taskstats.as_ref());
                // On an absolute clock; intervals that were missed are made up for by the history.
                let late = Instant::now().saturating_duration_since(next).as_secs();
                next += INTERVAL * u32::try_from(late / INTERVAL.as_secs() + 1).unwrap_or(1);
            }
        })?;
        Ok(Self { shared, _stop: stop })
    }

    /// The container's tasks as of the last sample; the first question takes one.
    pub(crate) fn tasks(
        &self,
        container: &Arc<Container>,
        user_hz: u64,
    ) -> Result<Tasks, cgroup::Error> {
        if let Some(kept) = self.shared.histories().get_mut(&container.key())
            && let Some(watch) = &mut kept.watch
        {
            watch.asked_at = monotonic();
            // It may have been moved to another cgroup meanwhile.
            watch.container = Arc::clone(container);
            return Ok(kept.history.tasks());
        }
        let counted = count_tasks(&self.shared.host, container, None, None)?;
        let age = boottime().saturating_sub(started(container, user_hz));
        Ok(self.shared.watch(container, counted, age))
    }
}

impl Shared {
    fn open(host: Arc<HostFs>, state: Option<&StateDir>) -> Self {
        let kind = Kind { name: "load-histories", version: 1, most: LoadHistory::SAVED_BYTES };
        let (store, saved) = StateDir::store_of(state, kind);
        let histories = saved.iter().filter_map(|(key, record)| {
            let history = LoadHistory::restore(record)?;
            Some((*key, Kept { history, watch: None }))
        });
        Self { host, histories: Mutex::new(histories.collect()), store }
    }

    /// Has the container sampled from now on: from where its history ended, if it has one.
    fn watch(&self, container: &Arc<Container>, counted: Counted, age: Usec) -> Tasks {
        let (now, busy) = (monotonic(), counted.busy());
        let mut histories = self.histories();
        self.make_room(&mut histories);
        let kept = histories
            .entry(container.key())
            .and_modify(|kept| kept.history.resume(counted.sample, now, busy))
            .or_insert_with(|| {
                let history = LoadHistory::first(counted.sample, now, age, busy);
                Kept { history, watch: None }
            });
        kept.watch = Some(Watch { container: Arc::clone(container), asked_at: now, counted });
        self.write_down(container.key(), &kept.history);
        kept.history.tasks()
    }

    fn sample_all(&self, taskstats: Option<&Taskstats>) {
        for (key, watch) in self.of_interest() {
            // No lock is held while tasks are counted.
            let counted =
                count_tasks(&self.host, &watch.container, taskstats, Some(&watch.counted));
            let mut histories = self.histories();
            match counted {
                Ok(counted) => self.book(&mut histories, key, counted),
                Err(error) => {
                    if !error.is_gone() {
                        tracing::warn!(%error, "cannot count a container's tasks");
                    }
                    histories.remove(&key);
                    self.store.iter().for_each(|store| store.forget(key));
                }
            }
        }
    }

    fn book(&self, histories: &mut HashMap<ContainerKey, Kept>, key: ContainerKey, new: Counted) {
        let Some(kept) = histories.get_mut(&key) else { return };
        kept.history.sample(new.sample, monotonic(), new.busy());
        if let Some(watch) = &mut kept.watch {
            watch.counted = new;
        }
        self.write_down(key, &kept.history);
    }

    /// The containers to sample; those that nobody has asked about for long are left to rest.
    fn of_interest(&self) -> Vec<(ContainerKey, Watch)> {
        let now = monotonic();
        let mut histories = self.histories();
        for kept in histories.values_mut() {
            kept.watch.take_if(|watch| now >= watch.asked_at + INTEREST);
        }
        let watched = histories.iter().filter_map(|(key, kept)| Some((*key, kept.watch.clone()?)));
        watched.collect()
    }

    fn make_room(&self, histories: &mut HashMap<ContainerKey, Kept>) {
        if histories.len() < MOST {
            return;
        }
        let oldest = histories.iter().min_by_key(|(_, kept)| kept.history.sampled_at());
        if let Some(oldest) = oldest.map(|(key, _)| *key) {
            histories.remove(&oldest);
            self.store.iter().for_each(|store| store.forget(oldest));
        }
    }

    /// Under the lock, so that an older record never comes after a newer one.
    fn write_down(&self, key: ContainerKey, history: &LoadHistory) {
        if let Some(store) = &self.store {
            let mut record = Vec::new();
            history.save(&mut record);
            store.put(key, &record);
        }
    }

    fn histories(&self) -> MutexGuard<'_, HashMap<ContainerKey, Kept>> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
