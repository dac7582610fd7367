//! Connections: each has a thread, for one request.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context;
use api::{Answer, Conversation, Done, Failure, FailureKind, Request};

use super::socket::Socket;
use super::{Agent, End, attaching, containers, detaching};

/// How many requests are answered at the same time.
const MOST: usize = 64;
/// How long a client may take for its request, and for each line of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says one line of an answer.
pub(super) type Say<'a> = &'a mut dyn FnMut(Answer);

/// Answers, on threads, until nobody can connect any more; then says so.
pub(super) fn start(
    agent: Arc<Agent>,
    socket: Arc<Socket>,
    end: Sender<End>,
) -> anyhow::Result<()> {
    let thread = std::thread::Builder::new().name("accept".to_owned());
    let accept = move || {
        let error = serve(&agent, &socket);
        // Nobody listens when the end has come already.
        let _ = end.send(End::Failed(error));
    };
    thread.spawn(accept).context("cannot start a thread")?;
    Ok(())
}

fn serve(agent: &Arc<Agent>, socket: &Socket) -> std::io::Error {
    let busy = Arc::new(AtomicUsize::new(0));
    tracing::info!(socket = %agent.place.socket.display(), "the agent listens");
    loop {
        let stream = match socket.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => return error,
        };
        let (seat, agent) = (Seat::take(&busy), Arc::clone(agent));
        let thread = std::thread::Builder::new().name("request".to_owned());
        if let Err(error) = thread.spawn(move || converse(&agent, stream, seat)) {
            tracing::error!(%error, "a request is not answered, for want of a thread");
        }
    }
}

/// A place among those that are answered.
#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(busy: &Arc<AtomicUsize>) -> Option<Self> {
        let seat = Self(Arc::clone(busy));
        (busy.fetch_add(1, Ordering::Relaxed) < MOST).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(agent: &Arc<Agent>, stream: UnixStream, seat: Option<Seat>) {
    let mut conversation = Conversation::new(stream, PATIENCE);
    if seat.is_none() {
        let error = format!("{MOST} requests are being answered already; ask again");
        say(&mut conversation, &Answer::Failure(Failure::new(FailureKind::Busy, error)));
        return;
    }
    let request = match conversation.request() {
        Ok(request) => request,
        Err(error) => return tracing::warn!(%error, "a request was refused"),
    };
    let ended = answer(agent, &request, &mut |answer| say(&mut conversation, &answer));
    let last = match ended {
        Ok(done) => Answer::Done(done),
        Err(failure) => Answer::Failure(failure),
    };
    say(&mut conversation, &last);
}

/// Who does not listen does not keep the others from their answer, nor the containers from theirs.
fn say(conversation: &mut Conversation, answer: &Answer) {
    if let Err(error) = conversation.answer(answer) {
        tracing::debug!(%error, "an answer was not taken");
    }
}

fn answer(agent: &Arc<Agent>, request: &Request, say: Say<'_>) -> Result<Done, Failure> {
    match request {
        Request::Attach(request) => attaching::attach(agent, request, say),
        Request::Detach(request) => detaching::detach(agent, request, say),
        Request::List(request) => containers::list(agent, request, say),
        Request::Status(_) => containers::status(agent, say),
        Request::Explain(request) => containers::explain(agent, request, say),
    }
}
