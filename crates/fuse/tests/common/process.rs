//! Servers and readers that are processes of their own, so that they can be killed. They are this
//! test binary again, told by a variable to run one test that is ignored otherwise.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fuse::{Glance, Journal, Negotiated, Recovery, Session, glance};
use rustix::mount::{MountFlags, mount};

const ROLE: &str = "RESVIEW_TEST_ROLE";
/// Bounds a hang; nothing takes this long.
const HANG: Duration = Duration::from_secs(60);

/// What this process was started for by [`start`]: its arguments.
pub(crate) fn role() -> Vec<String> {
    let role = std::env::var(ROLE).unwrap(); // only as a process of another test
    serde_json::from_str(&role).unwrap()
}

/// Starts the ignored test `name` of this binary as a process.
pub(crate) fn start(name: &str, arguments: &[String], stdin: Stdio) -> Process {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name, "--nocapture", "--quiet"])
        .env(ROLE, serde_json::to_string(arguments).unwrap())
        .stdin(stdin)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

/// A process that is killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// SIGKILL, and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("a process ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        // Not waited for: one that hangs in the file system goes when the last descriptor does.
    }
}

/// Waits for something that must happen.
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !happened() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Keeps a connection while servers come and go.
pub(crate) struct Keeper {
    pub(crate) device: OwnedFd,
    pub(crate) negotiated: Negotiated,
    pub(crate) journal: Journal,
}

impl Keeper {
    pub(crate) fn new(session: Session) -> Self {
        let negotiated = *session.negotiated();
        let device = session.into_device().unwrap();
        Self { device, negotiated, journal: Journal::create().unwrap() }
    }

    pub(crate) fn glance(&self) -> Glance {
        glance(self.journal.as_fd()).unwrap()
    }

    /// The numbers of the READs in hand, by thread: on a busy machine an OPEN may be in hand for as
    /// long as a READ that hangs.
    pub(crate) fn reads_in_hand(&self) -> Vec<u64> {
        const READ: [u8; 4] = 15_u32.to_ne_bytes();
        let slots = self.glance().in_hand.into_iter().enumerate();
        let is_read = |thread: usize| {
            // The head's page, then a slot for each thread; the length comes before the opcode.
            let opcode = 4096 + 8192 * u64::try_from(thread).unwrap() + 4;
            let mut bytes = [0; 4];
            rustix::io::pread(&self.journal, &mut bytes, opcode).unwrap();
            bytes == READ
        };
        slots.filter_map(|(thread, number)| number.filter(|_| is_read(thread))).collect()
    }

    /// The journal as another server would get it.
    pub(crate) fn journal_again(&self) -> Journal {
        Journal::adopt(self.journal.as_fd().try_clone_to_owned().unwrap()).unwrap()
    }

    /// Starts `name`, a server process that calls [`handed_over`].
    pub(crate) fn server(&self, name: &str, recovery: Recovery, more: &[String]) -> Process {
        let recovery = match recovery {
            Recovery::None => "none",
            Recovery::Resend => "resend",
            Recovery::Journal => "journal",
            Recovery::Both => "both",
        };
        let journal =
            format!("/proc/{}/fd/{}", std::process::id(), self.journal.as_fd().as_raw_fd());
        let negotiated = serde_json::to_string(&self.negotiated).unwrap();
        let mut arguments = vec![recovery.to_owned(), journal, negotiated];
        arguments.extend_from_slice(more);
        start(name, &arguments, self.device.try_clone().unwrap().into())
    }
}

/// What a server process got from its [`Keeper`]: the connection is its standard input.
pub(crate) fn handed_over() -> (Session, Journal, Recovery, Vec<String>) {
    let arguments = role();
    let [recovery, journal, negotiated, more @ ..] = &arguments[..] else { panic!("too few") };
    let recovery = match recovery.as_str() {
        "none" => Recovery::None,
        "resend" => Recovery::Resend,
        "journal" => Recovery::Journal,
        _ => Recovery::Both,
    };
    let journal = std::fs::File::options().read(true).write(true).open(journal).unwrap();
    let device = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let session = Session::adopt(device, serde_json::from_str(negotiated).unwrap()).unwrap();
    (session, Journal::adopt(journal.into()).unwrap(), recovery, more.to_vec())
}

/// Waits until standard input is closed.
pub(crate) fn until_told_to_end(mut work: impl FnMut()) {
    let (done, end) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        drop(done);
    });
    while let Err(std::sync::mpsc::TryRecvError::Empty) = end.try_recv() {
        work();
    }
}

/// Looks at how many requests of one connection the kernel has not got an answer to.
pub(crate) struct Waiting(PathBuf);

impl Waiting {
    /// The connection that is mounted on `root`, and served.
    pub(crate) fn of(root: &Path) -> Self {
        let control = Path::new("/sys/fs/fuse/connections");
        let minor = rustix::fs::minor(rustix::fs::stat(root).unwrap().st_dev);
        let waiting = control.join(minor.to_string()).join("waiting");
        if !waiting.exists() {
            // Private to this test, as its other mounts are.
            mount("none", control, "fusectl", MountFlags::empty(), None).unwrap();
        }
        Self(waiting)
    }

    pub(crate) fn count(&self) -> usize {
        std::fs::read_to_string(&self.0).unwrap().trim().parse().unwrap()
    }
}
