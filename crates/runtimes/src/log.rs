//! Warnings of programs that runtimes start: what they say on standard error is often lost.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The system log's socket: syslogd's or journald's.
pub(crate) const SYSLOG: &str = "/dev/log";

/// Facility daemon (3), severity warning (4), as syslog(3) counts.
const DAEMON_WARNING: u8 = 3 * 8 + 4;

/// Says `text` on standard error and to the log behind `syslog`, as far as somebody listens.
/// Never waits.
pub(crate) fn warn(syslog: &Path, text: &str) {
    eprintln!("resview: {text}");
    let Ok(socket) = UnixDatagram::unbound() else { return };
    if socket.set_nonblocking(true).is_ok() {
        let line = format!("<{DAEMON_WARNING}>resview[{}]: {text}", std::process::id());
        // Nobody listening, or a full log, is no reason to keep a container from starting.
        let _ = socket.send_to(line.as_bytes(), syslog);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_reaches_the_log_and_a_missing_log_is_no_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        warn(&path, "nobody");
        let log = UnixDatagram::bind(&path).unwrap();
        warn(&path, "no view");
        let mut buffer = [0; 100];
        let count = log.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..count]).into_owned();
        assert!(line.starts_with("<28>resview[") && line.ends_with("]: no view"), "{line}");
    }
}
