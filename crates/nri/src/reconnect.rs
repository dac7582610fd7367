//! One connection after the other.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::calls::shielded;
use crate::config::Config;
use crate::error::Error;
use crate::handle::Handle;
use crate::lanes::Lanes;
use crate::plugin::Plugin;
use crate::session::Session;

/// Serves the plugin until [`Handle::stop`] is called, whatever the runtime does.
///
/// # Errors
/// When the plugin's name or index are ones that no runtime takes, before anything else is done.
pub fn serve(config: &Config, plugin: &Arc<impl Plugin>, handle: &Handle) -> Result<(), Error> {
    config.check()?;
    // Kept from one connection to the next: so is the order of what concerns one container.
    let lanes = Lanes::new();
    let mut backoff = Backoff::default();
    let mut said = String::new();
    loop {
        let (reason, lasted) = match open(&config.socket) {
            Ok(stream) => once(stream, config, plugin, handle, &lanes),
            Err(error) => (handle.disconnected(error), Duration::ZERO),
        };
        let pause = backoff.after(&reason, lasted);
        let words = reason.to_string();
        match reason {
            Error::Stopped => return Ok(()),
            Error::Resync => tracing::info!("connecting anew to the container runtime"),
            _ if words == said && lasted < LASTING => {
                tracing::debug!(reason = words, ?pause, "no connection to the container runtime");
            }
            _ => {
                tracing::warn!(reason = words, "no connection to the container runtime; trying on");
            }
        }
        said = words;
        if handle.pause(pause) {
            return Ok(());
        }
    }
}

/// One connection, and how long it was of use.
fn once(
    stream: UnixStream,
    config: &Config,
    plugin: &Arc<impl Plugin>,
    handle: &Handle,
    lanes: &Lanes,
) -> (Error, Duration) {
    let session = handle
        .connected(&stream)
        .and_then(|()| Session::new(stream, config, plugin, handle, lanes));
    let (reason, synchronized) = match session {
        Ok(mut session) => (session.run(config), session.synchronized()),
        Err(error) => (error, None),
    };
    let reason = handle.disconnected(reason);
    shielded("disconnected", || plugin.disconnected(&reason));
    (reason, synchronized.map(|since| since.elapsed()).unwrap_or_default())
}

/// Connects without waiting: a runtime whose queue is full is tried again like one that is away.
fn open(path: &Path) -> Result<UnixStream, Error> {
    let open = || -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(stream)
    };
    open().map_err(|source| Error::Connect { path: path.to_owned(), source })
}

/// A connection that lasted this long was no failure.
const LASTING: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(50);
/// While there is nobody to connect to. To look costs two system calls, and the first containers
/// after a start of the node should not be missed.
const ABSENT_MAX: Duration = Duration::from_millis(500);
/// While connections fail in other ways. Each costs the runtime a listing.
const FAILING_MAX: Duration = Duration::from_secs(5);

/// How long to wait before the next connection.
#[derive(Debug, Default)]
struct Backoff {
    last: Duration,
}

impl Backoff {
    fn after(&mut self, reason: &Error, lasted: Duration) -> Duration {
        if lasted >= LASTING || matches!(reason, Error::Resync) {
            self.last = Duration::ZERO;
        }
        let most = match reason {
            Error::Connect { .. } => ABSENT_MAX,
            _ => FAILING_MAX,
        };
        self.last = (self.last * 2).clamp(FIRST, most);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent() -> Error {
        Error::Connect { path: "/s".into(), source: io::ErrorKind::NotFound.into() }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_shrink_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> =
            (0..9).map(|_| backoff.after(&Error::Closed, Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.after(&absent(), Duration::ZERO), ABSENT_MAX);
        assert_eq!(backoff.after(&Error::Closed, LASTING), FIRST);
        backoff.after(&Error::Closed, Duration::ZERO);
        assert_eq!(backoff.after(&Error::Resync, Duration::ZERO), FIRST);
    }

    #[test]
    fn a_socket_that_cannot_be_is_an_error_and_no_panic() {
        let long = "x".repeat(200);
        for path in ["/nowhere/at/all", long.as_str(), "", "/dev/null"] {
            assert!(matches!(open(Path::new(path)), Err(Error::Connect { .. })), "{path}");
        }
    }
}
