//! What the daemon and the drop-in for `lxcfs` do alike: serve until told to stop, or until
//! somebody unmounts the view.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::run::signals::ignored_signals;
use crate::serve::{ServeOptions, Serving, start};

/// What can happen while the view is served.
#[derive(Debug)]
enum Event {
    Signal(i32),
    /// The view is unmounted, or its device failed.
    Ended(anyhow::Result<()>),
}

/// A mounted view and what is heard of it.
pub(crate) struct Service {
    serving: Arc<Serving>,
    events: Receiver<Event>,
    mountpoint: PathBuf,
}

/// How long readers may take to leave a view that is being unmounted. After that it goes from the
/// mount table at once, and from the last reader when this process ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// One thread per CPU up to 8: more only wait for one another.
pub(crate) fn default_threads() -> NonZeroUsize {
    let most = NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN);
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(most)
}

impl Service {
    /// Mounts the view. TERM, INT and HUP stop it from now on, unless they were ignored when we
    /// were started (nohup, a shell's background job); `others` are handed to
    /// [`run`](Self::run)'s callback.
    ///
    /// # Errors
    /// The view cannot be mounted, or there are no threads to be had.
    pub(crate) fn start(options: &ServeOptions, others: &[i32]) -> anyhow::Result<Self> {
        let ignored = ignored_signals();
        let wanted =
            [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|&signal| !ignored.contains(signal));
        // Before the mount: a signal that comes while we mount must still unmount.
        let signals = Signals::new(wanted.chain(others.iter().copied()))
            .context("cannot take over the signals")?;
        let serving = Arc::new(start(options)?);
        let (sender, events) = channel();
        spawn("signals", signal_loop(signals, sender.clone()))?;
        spawn("unmounted", unmount_watch(Arc::clone(&serving), sender))?;
        Ok(Self { serving, events, mountpoint: options.mountpoint.clone() })
    }

    /// Serves until a signal says stop or the view is unmounted from outside. `on_signal` gets the
    /// other signals.
    ///
    /// # Errors
    /// The view cannot be unmounted.
    pub(crate) fn run(self, mut on_signal: impl FnMut(&Serving, i32)) -> anyhow::Result<()> {
        loop {
            match self.events.recv() {
                Ok(Event::Signal(signal @ (SIGTERM | SIGINT | SIGHUP))) => {
                    tracing::info!(signal, "stopping");
                    return self.stop();
                }
                Ok(Event::Signal(signal)) => on_signal(&self.serving, signal),
                Ok(Event::Ended(result)) => {
                    tracing::info!(mountpoint = %self.mountpoint.display(), "unmounted from outside");
                    return result;
                }
                Err(error) => return Err(error).context("the watching threads are gone"),
            }
        }
    }

    fn stop(self) -> anyhow::Result<()> {
        // First what is mounted on the tree, which is busy until then.
        if let Some(pressure) = self.serving.pressure_mountpoint() {
            match unmount(pressure) {
                // Unmounted from outside.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(error) => tracing::warn!(%error, "cannot unmount {}", pressure.display()),
            }
        }
        unmount(&self.mountpoint)
            .with_context(|| format!("cannot unmount {}", self.mountpoint.display()))?;
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(Event::Ended(result)) => return result,
                Ok(Event::Signal(_)) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    tracing::warn!("files of the view are still open; they end with this process");
                    return Ok(());
                }
            }
        }
    }
}

/// Unmounts at once, or, if somebody has a file open, takes the mount and what is on it out of
/// sight; they keep their file until this process ends.
fn unmount(mountpoint: &Path) -> nix::Result<()> {
    umount2(mountpoint, MntFlags::UMOUNT_NOFOLLOW)
        .or_else(|_| umount2(mountpoint, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW))
}

fn signal_loop(mut signals: Signals, events: Sender<Event>) -> impl FnOnce() {
    move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    }
}

fn unmount_watch(serving: Arc<Serving>, events: Sender<Event>) -> impl FnOnce() {
    move || {
        let ended = Event::Ended(serving.wait_unmounted());
        // Nobody listens any more when the service has already ended.
        let _ = events.send(ended);
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(body).with_context(|| format!("cannot start the thread {name:?}"))?;
    Ok(())
}
