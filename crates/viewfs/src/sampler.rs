//! The load sampler: counts the tasks of the containers that somebody asks about, off the read
//! path, every five seconds.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use container::{Container, ContainerKey};
use hostfs::HostFs;
use procfmt::units::Usec;
use view::{LoadHistory, Sample, Tasks};

use crate::clocks::{boottime, monotonic};
use crate::gather::started;
use crate::tasks::count_tasks;

/// The kernel's own interval for load averages.
const INTERVAL: Duration = Duration::from_secs(5);
/// A container is sampled for this long after it was last asked about.
const INTEREST: Usec = Usec(900_000_000);

/// The sampler and its thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Sampler {
    shared: Arc<Shared>,
    _stop: Sender<()>,
}

#[derive(Debug)]
struct Shared {
    host: Arc<HostFs>,
    watched: Mutex<HashMap<ContainerKey, Watched>>,
}

#[derive(Debug)]
struct Watched {
    container: Arc<Container>,
    history: LoadHistory,
    asked_at: Usec,
}

impl Sampler {
    pub(crate) fn start(host: Arc<HostFs>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { host, watched: Mutex::default() });
        let (stop, stopped) = channel();
        let sampling = Arc::clone(&shared);
        std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let mut next = Instant::now() + INTERVAL;
            loop {
                let wait = next.saturating_duration_since(Instant::now());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                sampling.sample_all();
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
        if let Some(watched) = self.shared.watched().get_mut(&container.key()) {
            watched.asked_at = monotonic();
            return Ok(watched.history.tasks());
        }
        let sample = count_tasks(&self.shared.host, container)?;
        let now = monotonic();
        let age = boottime().saturating_sub(started(container, user_hz));
        let used = container.group().cpu_time()?.unwrap_or_default();
        let history = LoadHistory::first(sample, now, age, used.user + used.system);
        let tasks = history.tasks();
        let watched = Watched { container: Arc::clone(container), history, asked_at: now };
        self.shared.watched().insert(container.key(), watched);
        Ok(tasks)
    }
}

impl Shared {
    fn sample_all(&self) {
        for (key, container) in self.of_interest() {
            // No lock is held while tasks are counted.
            let counted = count_tasks(&self.host, &container);
            let mut watched = self.watched();
            match counted {
                Ok(sample) => book(&mut watched, key, sample),
                Err(error) => {
                    if !error.is_gone() {
                        tracing::warn!(%error, "cannot count a container's tasks");
                    }
                    watched.remove(&key);
                }
            }
        }
    }

    fn of_interest(&self) -> Vec<(ContainerKey, Arc<Container>)> {
        let now = monotonic();
        let mut watched = self.watched();
        watched.retain(|_, one| now < one.asked_at + INTEREST);
        watched.iter().map(|(key, one)| (*key, Arc::clone(&one.container))).collect()
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<ContainerKey, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn book(watched: &mut HashMap<ContainerKey, Watched>, key: ContainerKey, sample: Sample) {
    if let Some(one) = watched.get_mut(&key) {
        one.history.sample(sample, monotonic());
    }
}
