//! A service manager's store: everything dies, and the next start goes on. A test binary of its
//! own, because descriptors are let through to children, which other tests' children must not get.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::reader::Reader;
use common::{Place, Supervisor, isolated, kill, until};
use rustix::io::FdFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;

#[test]
#[ignore = "the process that serves in the other tests"]
fn worker() {
    common::worker::main();
}

/// One test after the other: descriptors are let through to children, and those of another test
/// would hold its connections.
///
/// What is more, a child closes all files of this process when it is started, and FUSE asks the
/// server about that until it has once said that it does not care. So a reader has to have read
/// before nobody serves.
static TURN: Mutex<()> = Mutex::new(());

/// Does what systemd does with `NOTIFY_SOCKET`.
struct Manager {
    _turn: MutexGuard<'static, ()>,
    socket: UnixDatagram,
    store: BTreeMap<String, OwnedFd>,
    said: String,
}

impl Manager {
    fn new(place: &Place) -> Self {
        let socket = UnixDatagram::bind(place.path("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { _turn, socket, store: BTreeMap::new(), said: String::new() }
    }

    /// Takes what has been sent.
    fn hear(&mut self) {
        loop {
            let mut bytes = vec![0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let Ok(packet) = recvmsg(&self.socket, &mut parts, &mut ancillary, flags) else {
                return;
            };
            let text = String::from_utf8_lossy(&bytes[..packet.bytes]).into_owned();
            let field = |key| text.lines().find_map(|line| line.strip_prefix(key));
            let name = field("FDNAME=").unwrap_or_default().to_owned();
            if field("FDSTOREREMOVE=").is_some() {
                self.store.remove(&name);
            } else if field("FDSTORE=").is_some() {
                // It looks at each with fstat(2), which does not return for some.
                assert!(!name.ends_with(".mount"), "systemd would hang");
                assert_eq!(field("FDPOLL="), Some("0"), "systemd would drop {name}");
                let mut fds = ancillary.drain().filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                    _ => None,
                });
                let new = fds.next().unwrap().next().unwrap();
                let old = self.store.insert(name.clone(), new);
                if let Some(old) = old {
                    assert!(is_same(&old, &self.store[&name]), "two descriptors called {name}");
                }
            }
            self.said.push_str(&text);
        }
    }

    fn hears(&mut self, what: &str) {
        until(what, || {
            self.hear();
            self.said.contains(what)
        });
    }

    /// Starts a supervisor as a service, with what is in the store, and waits until it is ready.
    fn start(&mut self, place: &Place, options: &[&str]) -> Supervisor {
        let supervisor = self.spawn(place, options);
        self.hears("READY=1");
        supervisor
    }

    fn spawn(&mut self, place: &Place, options: &[&str]) -> Supervisor {
        let supervisor = place.command(options);
        let mut script = String::new();
        let mut passed = Vec::new();
        for (index, fd) in self.store.values().enumerate() {
            // Copies high up, so that none is in the way of another.
            let high = rustix::io::fcntl_dupfd_cloexec(fd, 200).unwrap();
            rustix::io::fcntl_setfd(&high, FdFlags::empty()).unwrap();
            write!(script, "exec {}<&{} {}<&-; ", index + 3, high.as_raw_fd(), high.as_raw_fd())
                .unwrap();
            passed.push(high); // until the child is started
        }
        script.push_str("export LISTEN_PID=$$; exec \"$@\"");
        let names: Vec<&str> = self.store.keys().map(String::as_str).collect();
        let mut command = Command::new("bash");
        command.args(["-c", &script, "bash"]).arg(supervisor.get_program());
        command.args(supervisor.get_args());
        command.envs(supervisor.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("NOTIFY_SOCKET", place.path("notify"));
        if !names.is_empty() {
            command.env("LISTEN_FDS", names.len().to_string());
            command.env("LISTEN_FDNAMES", names.join(":"));
        }
        self.said.clear();
        let supervisor = Supervisor::spawn(command);
        drop(passed);
        supervisor
    }
}

/// Whether they are the same file, as far as fstat(2) tells.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let [one, other] = [one, other].map(|fd| rustix::fs::fstat(fd).unwrap());
    (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)
}

/// No mount is in the store: one that was nowhere yet is lost with its process.
#[test]
fn pressure_files_that_were_not_mounted_yet_are_when_all_processes_were_killed() {
    isolated("pressure_files_that_were_not_mounted_yet_are_when_all_processes_were_killed", || {
        let place = Place::new();
        std::fs::write(place.path("worker.behaviour"), "never attach").unwrap();
        let mut manager = Manager::new(&place);
        let mut supervisor = manager.spawn(&place, &["--pressure"]);
        until("it serves", || place.try_status().is_some());
        let reader = Reader::start(place.file("hello"));
        reader.reads_on();
        for _ in 0..2 {
            manager.hears("shared.device");
            let worker = place.worker_pid();
            manager.hear();
            assert!(!manager.said.contains("READY=1"), "{}", manager.said);
            supervisor.kill();
            kill(worker, Signal::KILL);
            supervisor = manager.spawn(&place, &["--pressure"]);
            until("it serves", || place.try_status().is_some());
            reader.reads_on();
        }
        let worker = place.worker_pid();
        std::fs::write(place.path("worker.behaviour"), "").unwrap();
        kill(worker, Signal::KILL);
        manager.hears("READY=1");
        let pressure = Reader::start(place.file("proc/pressure/hello"));
        pressure.reads_on();
        // And what is in the store by now is what is mounted.
        let worker = place.worker_pid();
        supervisor.kill();
        kill(worker, Signal::KILL);
        let _supervisor = manager.start(&place, &["--pressure"]);
        [&reader, &pressure].into_iter().for_each(Reader::reads_on);
        [reader, pressure].into_iter().for_each(Reader::end);
        place.stop(true);
    });
}

/// incusd, which a socket starts, leaves that socket's name in the environment of what it starts.
#[test]
fn names_of_what_another_program_was_given_are_no_reason_to_fail() {
    isolated("names_of_what_another_program_was_given_are_no_reason_to_fail", || {
        let place = Place::new();
        let mut command = place.command(&[]);
        command.env("LISTEN_FDNAMES", "unix");
        let _supervisor = Supervisor::spawn(command);
        until("it serves", || place.try_status().is_some());
        place.stop(true);
    });
}

/// A service manager that hangs must not keep readers waiting: its socket takes a few messages.
#[test]
fn service_manager_that_reads_nothing_does_not_stop_the_supervisor() {
    isolated("service_manager_that_reads_nothing_does_not_stop_the_supervisor", || {
        let place = Place::new();
        let mut manager = Manager::new(&place);
        let mut supervisor = manager.spawn(&place, &["--pressure"]);
        until("it serves", || place.try_status().is_some());
        let reader = Reader::start(place.file("hello"));
        let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
        for _ in 0..queue.trim().parse::<u32>().unwrap() {
            let worker = place.worker_pid();
            supervisor.signal(Signal::HUP);
            until("the upgrade", || place.worker_pid() != worker);
        }
        let worker = place.worker_pid();
        kill(worker, Signal::STOP);
        until("all its threads have stopped", || common::has_stopped(worker));
        reader.reads_on();
        assert_ne!(place.worker_pid(), worker);
        // It hears of everything that counts when it reads again.
        manager.hears("READY=1");
        until("it has everything", || {
            manager.hear();
            manager.store.len() == 6
        });
        reader.end();
        supervisor.signal(Signal::TERM);
        assert!(supervisor.end().success());
    });
}

/// A store of a view that is not mounted any more.
#[test]
fn view_that_was_unmounted_while_nobody_served_is_mounted_anew() {
    isolated("view_that_was_unmounted_while_nobody_served_is_mounted_anew", || {
        let place = Place::new();
        let mut manager = Manager::new(&place);
        let mut supervisor = manager.start(&place, &[]);
        let worker = place.worker_pid();
        supervisor.kill();
        kill(worker, Signal::KILL);
        fuse::unmount(&place.mountpoint()).unwrap();
        let _supervisor = manager.start(&place, &[]);
        assert_eq!((place.mounts(), place.status()["deaths"].as_u64()), (1, Some(0)));
        Reader::start(place.file("hello")).end();
    });
}

/// A worker without a supervisor that does not answer keeps nobody from starting: all that it has
/// is in the store.
#[test]
fn stopped_orphan_is_killed_where_the_store_has_everything() {
    isolated("stopped_orphan_is_killed_where_the_store_has_everything", || {
        let place = Place::new();
        let mut manager = Manager::new(&place);
        let mut supervisor = manager.start(&place, &[]);
        let reader = Reader::start(place.file("hello"));
        reader.reads_on();
        let worker = place.worker_pid();
        supervisor.kill();
        // Not before: the kernel wakes a stopped process group when it becomes an orphan.
        kill(worker, Signal::STOP);
        until("all its threads have stopped", || common::has_stopped(worker));
        assert!(place.is_alive(worker));
        let _supervisor = manager.start(&place, &[]);
        assert!(!place.is_alive(worker));
        reader.reads_on();
        reader.end();
    });
}

#[test]
fn view_outlives_supervisor_and_worker_in_the_store() {
    isolated("view_outlives_supervisor_and_worker_in_the_store", || {
        let place = Place::new();
        let mut manager = Manager::new(&place);
        let mut supervisor = manager.start(&place, &["--pressure", "--on-stop", "keep"]);
        let names = manager.store.keys().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                "keep",
                "pressure.device",
                "pressure.journal",
                "shared.device",
                "shared.journal",
                "state"
            ]
        );
        let readers = [1, 2].map(|_| Reader::start(place.file("hello")));
        for _ in 0..3 {
            readers.iter().for_each(Reader::reads_on);
            let worker = place.worker_pid();
            supervisor.kill();
            kill(worker, Signal::KILL);
            supervisor = manager.start(&place, &["--pressure", "--on-stop", "keep"]);
            readers.iter().for_each(Reader::reads_on);
        }
        // The worker alone is left behind.
        supervisor.signal(Signal::TERM);
        assert!(supervisor.end().success());
        readers.iter().for_each(Reader::reads_on);
        let mut supervisor = manager.start(&place, &["--pressure"]);
        readers.iter().for_each(Reader::reads_on);
        // Reload.
        let worker = place.worker_pid();
        manager.said.clear();
        supervisor.signal(Signal::HUP);
        manager.hears("READY=1");
        assert!(manager.said.contains("RELOADING=1") && manager.said.contains("MONOTONIC_USEC="));
        assert_ne!(place.worker_pid(), worker);
        readers.into_iter().for_each(Reader::end);
        supervisor.signal(Signal::TERM);
        manager.hears("STOPPING=1");
        assert!(supervisor.end().success());
        manager.hear();
        assert!(manager.store.is_empty(), "{:?}", manager.store.keys());
        assert_eq!(place.mounts(), 0);
    });
}
