//! What the kubelet's probes and a monitoring system ask: three pages over HTTP/1.1.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cli::VERSION;

/// How long who asks may take for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest request that is read, in bytes.
const REQUEST_MAX: usize = 8192;
/// One look may take this long beyond its pause: two starts of a daemon and what systemd needs.
const LOOK_MAX: Duration = Duration::from_secs(600);

/// How things are.
#[derive(Clone, Debug)]
pub(crate) struct Health(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
struct State {
    is_ready: bool,
    sentence: String,
    /// When to look again at the latest.
    next: Instant,
}

impl Health {
    /// Nothing is known yet.
    pub(crate) fn new(interval: Duration) -> Self {
        let sentence = "nothing is known yet".to_owned();
        let next = Instant::now().checked_add(interval).unwrap_or_else(Instant::now);
        Self(Arc::new(Mutex::new(State { is_ready: false, sentence, next })))
    }

    /// What a look has found, and how long it is to the next one.
    pub(crate) fn found(&self, is_ready: bool, sentence: &str, pause: Duration) {
        let now = Instant::now();
        let next = now.checked_add(pause).unwrap_or(now);
        *self.state() = State { is_ready, sentence: sentence.to_owned(), next };
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers there from now on.
    ///
    /// # Errors
    /// The address cannot be had.
    pub(crate) fn listen(&self, address: SocketAddr) -> anyhow::Result<SocketAddr> {
        let cannot = || format!("cannot listen at {address}");
        let listener = TcpListener::bind(address).with_context(cannot)?;
        let address = listener.local_addr().with_context(cannot)?;
        let health = self.clone();
        let serve = move || {
            for stream in listener.incoming().flatten() {
                // Who asks and does not listen is nobody's loss.
                let _ = health.answer(stream);
            }
        };
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(serve);
        thread.with_context(cannot)?;
        Ok(address)
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = read_request(&mut stream)?;
        let (status, body) = self.page(request.split(' ').nth(1).unwrap_or_default());
        let length = body.len();
        stream.write_all(
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    }

    fn page(&self, path: &str) -> (&'static str, String) {
        let state = self.state().clone();
        let is_alive = state.next.elapsed() < LOOK_MAX;
        let good = match path {
            "/healthz" => is_alive,
            "/readyz" => state.is_ready && is_alive,
            "/metrics" => return ("200 OK", metrics(&state)),
            _ => return ("404 Not Found", "/healthz, /readyz, /metrics\n".to_owned()),
        };
        let status = if good { "200 OK" } else { "503 Service Unavailable" };
        (status, format!("{}\n", state.sentence))
    }
}

/// All of it, as far as it matters: what nobody has read when the connection is closed would have the
/// kernel take back the answer.
fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    let begin = Instant::now();
    let goes_on = |length| length < REQUEST_MAX && begin.elapsed() < PATIENCE;
    while goes_on(request.len()) && !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut piece)?;
        request.extend(piece.iter().take(length));
        if length == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}

fn metrics(state: &State) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP resview_node_ready Whether the daemon serves on this node.");
    let _ = writeln!(text, "# TYPE resview_node_ready gauge");
    let _ = writeln!(text, "resview_node_ready {}", u8::from(state.is_ready));
    let _ = writeln!(text, "# HELP resview_node_info The version of this pod's program.");
    let _ = writeln!(text, "# TYPE resview_node_info gauge");
    let _ = writeln!(text, "resview_node_info{{version=\"{VERSION}\"}} 1");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn probes_are_told_how_things_are() {
        let health = Health::new(Duration::from_secs(10));
        let address = health.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(ask(address, "/readyz").starts_with("HTTP/1.1 503 "));
        assert!(ask(address, "/healthz").starts_with("HTTP/1.1 200 "));
        health.found(true, "all is well", Duration::from_secs(10));
        let answer = ask(address, "/readyz");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nall is well\n"));
        assert!(ask(address, "/metrics").contains("\nresview_node_ready 1\n"));
        assert!(ask(address, "/").starts_with("HTTP/1.1 404 "));
        // Nobody's loss.
        drop(TcpStream::connect(address).unwrap());
        assert!(ask(address, "/healthz").starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn a_loop_that_hangs_is_not_alive() {
        let health = Health::new(Duration::from_secs(10));
        let Some(past) = Instant::now().checked_sub(LOOK_MAX * 2) else { return };
        health.state().next = past;
        assert_eq!(health.page("/healthz").0, "503 Service Unavailable");
    }
}
