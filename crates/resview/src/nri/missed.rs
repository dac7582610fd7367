//! Containers that started unseen.
//!
//! Some runtimes let a container start between the list that they give a new plugin and the moment
//! from which they tell it of events. Nobody is ever told of such a container. So a second after a
//! list it is looked whether there are containers that neither list nor events had; if there still
//! are a second later, the plugin registers anew, and the next list has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtimes::find::Finder;

/// From a list to the first look, and from that to the second.
const WAIT: Duration = Duration::from_secs(1);
/// How often in succession the plugin registers anew.
const MOST: u32 = 3;
/// The annotations by which containerd and CRI-O tell the containers of pods from others.
const KINDS: [&str; 2] = ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"];

/// What is looked for after a list.
#[derive(Debug, Default)]
pub(super) struct Missed {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    at: Option<Instant>,
    suspects: BTreeSet<String>,
    resyncs: u32,
}

/// What a look has shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Nothing is amiss, or it cannot be told yet.
    Fine,
    /// The runtime has to list again, for so many containers.
    Resync(usize),
    /// It was asked to often enough: it does not list these.
    GiveUp(Vec<String>),
}

impl Missed {
    /// The runtime has said what it has.
    pub(super) fn listed(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.at = Some(now + WAIT);
        state.suspects.clear();
    }

    /// Looks, if it is time to.
    pub(super) fn look(
        &self,
        now: Instant,
        running: impl FnOnce() -> Vec<String>,
        is_known: impl Fn(&str) -> bool,
    ) -> Verdict {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.at.take_if(|at| *at <= now).is_none() {
            return Verdict::Fine;
        }
        let unknown: BTreeSet<_> = running().into_iter().filter(|id| !is_known(id)).collect();
        if unknown.is_empty() {
            state.resyncs = 0;
            return Verdict::Fine;
        }
        let missed: Vec<_> = unknown.intersection(&state.suspects).cloned().collect();
        if missed.is_empty() {
            // They may be about to start.
            state.suspects = unknown;
            state.at = Some(now + WAIT);
            return Verdict::Fine;
        }
        if state.resyncs == MOST {
            return Verdict::GiveUp(missed);
        }
        state.resyncs = state.resyncs.saturating_add(1);
        Verdict::Resync(missed.len())
    }
}

/// The ids of the pods' containers that run by this engine.
pub(super) fn running(finder: &Finder, engine: Option<&str>) -> Vec<String> {
    let found = finder.inventory().found.into_iter();
    let theirs = found.filter(|one| engine.is_none_or(|engine| engine == one.engine.name()));
    theirs.filter(|one| is_of_pod(&one.annotations)).map(|one| one.id).collect()
}

/// Whether it is a container of a pod; a pod's pause process is none.
fn is_of_pod(annotations: &BTreeMap<String, String>) -> bool {
    KINDS.iter().any(|kind| annotations.get(*kind).is_some_and(|kind| kind == "container"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn one_that_stays_unknown_was_missed() {
        let missed = Missed::default();
        let start = Instant::now();
        let is_known = |id: &str| id == "known";
        let look = |at, running: &[&str]| missed.look(at, || ids(running), is_known);
        assert_eq!(look(start + WAIT, &["x"]), Verdict::Fine, "there was no list");
        missed.listed(start);
        assert_eq!(look(start, &["x"]), Verdict::Fine, "too early");
        let (first, second) = (start + WAIT, start + WAIT * 2);
        assert_eq!(look(first, &["x", "known"]), Verdict::Fine, "it may be starting");
        assert_eq!(look(second, &["x", "new", "known"]), Verdict::Resync(1));
        assert_eq!(look(second + WAIT * 9, &["x"]), Verdict::Fine, "until the next list");
        missed.listed(start);
        assert_eq!(look(first, &["y"]), Verdict::Fine);
        assert_eq!(look(second, &["known"]), Verdict::Fine, "it was told of, or has ended");
    }

    #[test]
    fn a_runtime_that_never_lists_a_container_is_not_asked_for_ever() {
        let missed = Missed::default();
        let mut now = Instant::now();
        let mut verdicts = Vec::new();
        for _ in 0..=MOST {
            missed.listed(now);
            for _ in 0..2 {
                now += WAIT;
                verdicts.push(missed.look(now, || ids(&["x"]), |_| false));
            }
        }
        let resyncs = verdicts.iter().filter(|one| **one == Verdict::Resync(1)).count();
        assert_eq!(resyncs, MOST as usize);
        assert_eq!(verdicts.last(), Some(&Verdict::GiveUp(ids(&["x"]))));
    }

    #[test]
    fn a_pause_process_is_no_container() {
        let of = |key: &str, kind: &str| is_of_pod(&[(key.to_owned(), kind.to_owned())].into());
        assert!(KINDS.iter().all(|key| of(key, "container") && !of(key, "sandbox")));
        assert!(!of("other", "container"));
    }
}
