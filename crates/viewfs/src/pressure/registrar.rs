//! Registers triggers with the kernel, and bounds how many there are.

use std::sync::{Arc, Weak};

use fuse::{Errno, PollHandle};
use rustix::process::{Resource, getrlimit};

use super::held::{OpenFile, Owner, Watched};
use super::source::Source;
use super::trigger::Trigger;
use super::watch::Watch;
use crate::contents::{Contents, StartError};
use crate::places::{Place, Places};

/// How many triggers a container may have, and the host, at the same time: each holds a descriptor
/// of ours, and work or a thread of the kernel's. Fewer, where there are few descriptors.
const TRIGGERS_EACH: usize = 64;
/// The share of RLIMIT_NOFILE that all triggers together may take, an eighth: a good half is for
/// descriptors that are kept for reading (see [`hostfs::Kept`]), and some dozens are always open.
const SHARE: usize = 8;
/// The share of all triggers that one container may have: a half.
const SHARE_EACH: usize = 2;
/// As much as is taken for no limit.
const UNLIMITED: u64 = 1 << 20;

/// What registers triggers, and waits for them.
#[derive(Debug)]
pub(super) struct Registrar {
    contents: Arc<Contents>,
    watch: Watch,
    each: Arc<Places<Owner>>,
    all: Arc<Places<()>>,
}

/// One trigger's place among its owner's, and among all.
#[derive(Debug)]
pub(super) struct Slot {
    _of_owner: Place<Owner>,
    _of_all: Place<()>,
}

/// A trigger of the last worker's.
#[derive(Debug)]
pub(super) struct Due {
    /// Until it is closed.
    pub(super) file: Weak<OpenFile>,
    pub(super) wanted: Trigger,
    /// `None`: there is no room for it.
    pub(super) slot: Option<Slot>,
}

impl Registrar {
    /// Starts the thread that waits. `wake` is as for [`Watch::start`].
    pub(super) fn start(
        contents: Arc<Contents>,
        wake: impl Fn(PollHandle) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
        let (each, all) = bounds(usize::try_from(descriptors).unwrap_or(usize::MAX));
        let watch = Watch::start(Box::new(wake))?;
        Ok(Self { contents, watch, each: Places::new(each), all: Places::new(all) })
    }

    /// Room for one more trigger.
    ///
    /// # Errors
    /// `ENOSPC`: the owner has all of its own. `ENFILE`: there are too many of all owners'.
    pub(super) fn slot(&self, owner: Owner) -> fuse::Result<Slot> {
        let of_owner = self.each.take(owner).ok_or(Errno::NOSPC)?;
        let of_all = self.all.take(()).ok_or(Errno::NFILE)?;
        Ok(Slot { _of_owner: of_owner, _of_all: of_all })
    }

    /// Has the kernel watch for what is `wanted` of `file`.
    ///
    /// # Errors
    /// `EINVAL`: whoever opened the file may not have such a trigger, or the kernel has none such.
    /// `ENODEV`: the container has ended. What [`slot`](Self::slot) and open(2) say.
    pub(super) fn register(&self, file: &OpenFile, wanted: &Trigger) -> fuse::Result<Watched> {
        if !file.is_privileged && !wanted.is_for_everybody() {
            return Err(Errno::INVAL);
        }
        self.watch(file, wanted, self.slot(file.owner)?)
    }

    fn watch(&self, file: &OpenFile, wanted: &Trigger, slot: Slot) -> fuse::Result<Watched> {
        let source = file.source.as_ref().ok_or(Errno::NODEV)?;
        let own = source.open(self.contents.host_pressure().ok_or(Errno::NODEV)?)?;
        let window = wanted.window().0;
        tracing::debug!(what = ?source.what, owner = ?file.owner, window, "pressure trigger");
        Ok(Watched { registered: self.watch.add(own, wanted)?, _slot: slot })
    }

    /// Wakes whoever waits, to ask anew.
    pub(super) fn wake(&self, waiter: PollHandle) {
        self.watch.wake(waiter);
    }

    /// Registers anew, on a thread of its own: there may be thousands, and reads shall not wait for
    /// them.
    pub(super) fn register_again(self: &Arc<Self>, due: Vec<Due>) -> Result<(), StartError> {
        if due.is_empty() {
            return Ok(());
        }
        let registrar = Arc::clone(self);
        let body = move || due.into_iter().for_each(|one| registrar.settle(one));
        std::thread::Builder::new().name("triggers".to_owned()).spawn(body)?;
        Ok(())
    }

    fn settle(&self, Due { file, wanted, slot }: Due) {
        let Some(file) = file.upgrade() else { return };
        // Whoever polls meanwhile does not wait for the kernel.
        let slot = slot.ok_or(Errno::NFILE);
        let registered = slot.and_then(|slot| self.watch(&file, &wanted, slot));
        if let (Err(errno), Some(Source { what, .. })) = (&registered, &file.source) {
            tracing::warn!(?what, %errno, "cannot register a pressure trigger again");
        }
        let waiter = file.trigger().as_mut().and_then(|held| held.settle(registered.ok()));
        if let Some(waiter) = waiter {
            self.wake(waiter);
        }
    }
}

/// How many triggers one owner may have, and all together, with so many descriptors.
fn bounds(descriptors: usize) -> (usize, usize) {
    let all = descriptors / SHARE;
    (TRIGGERS_EACH.min(all / SHARE_EACH).max(1), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_leave_most_descriptors_to_reads() {
        assert_eq!(bounds(65_536), (64, 8192));
        assert_eq!(bounds(1024), (64, 128));
        assert_eq!(bounds(256), (16, 32));
        assert_eq!(bounds(16), (1, 2));
    }
}
