//! The other end of the socket.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use api::{Answer, Container, ContainerAnswer, Conversation, Done, Outcome, Request, Selector};

/// What was asked, and what the agent saw then.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// Whether a createRuntime hook's process has the root where it says, with a procfs.
    pub(crate) root_is_there: bool,
}

/// Answers "attached" to everything until it is dropped.
pub(crate) struct Agent {
    asked: Arc<Mutex<Vec<Asked>>>,
    end: Arc<AtomicBool>,
    socket: std::path::PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (asked, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (list, stop) = (Arc::clone(&asked), Arc::clone(&end));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                list.lock().unwrap().extend(answer(stream.unwrap()));
            }
        });
        Self { asked, end, socket: socket.to_owned(), thread: Some(thread) }
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        drop(UnixStream::connect(&self.socket));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(stream: UnixStream) -> Option<Asked> {
    let mut conversation = Conversation::new(stream, Duration::from_secs(60));
    let request = conversation.request().ok()?;
    let root_is_there = match &request {
        Request::Attach(attach) => match &attach.container {
            Selector::Created(created) => {
                let root = created.root.as_ref().unwrap().strip_prefix("/").unwrap();
                let seen = Path::new("/proc").join(created.pid.to_string()).join("root").join(root);
                // Its own procfs, in which nobody from outside is "self".
                fs::metadata(seen.join("proc/1/stat")).is_ok()
            }
            _ => false,
        },
        _ => false,
    };
    let line = ContainerAnswer {
        container: Container::default(),
        outcome: Outcome::Attached,
        reason: None,
        files: Vec::new(),
        policy: None,
    };
    conversation.answer(&Answer::Container(line)).unwrap();
    conversation.answer(&Answer::Done(Done::new(1, 0))).unwrap();
    Some(Asked { request, root_is_there })
}
