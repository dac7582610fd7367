//! Processes that open, read, write and poll as they are told.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use testkit::{Layout, TestCgroup, layout};

use super::Running;

/// Debian's own, which other users may execute as well.
pub const PYTHON: &str = "/usr/bin/python3";
/// A pressure trigger. Windows of two seconds are everybody's.
pub const TRIGGER: &str = "some 1500000 2000000";
/// Triggers of which each is one of its own to the kernel.
pub fn different_triggers() -> impl Iterator<Item = String> {
    (1_500_000..2_000_000).map(|threshold| format!("some {threshold} 2000000"))
}

/// No answer takes longer but one that never comes.
const LONG: Duration = Duration::from_secs(180);

/// Whether the kernel keeps pressure per cgroup here. On pure v1 it does not.
pub fn per_cgroup() -> bool {
    layout() != Layout::V1
}

/// Where clients work.
pub trait View {
    fn mountpoint(&self) -> &Path;

    /// A command that runs those words that are added in a mount namespace with the view.
    fn command(&self) -> Command;
}

/// A process whose working directory is the view.
pub struct Client {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

impl Client {
    /// Started by `prefix`, which keeps the process, in a container.
    pub fn start(view: &impl View, prefix: &[&str], cgroup: &TestCgroup) -> Self {
        Self::of(view, &words(view, prefix), Some(cgroup))
    }

    /// The same in no container.
    pub fn of_host(view: &impl View) -> Self {
        Self::of(view, &words(view, &[]), None)
    }

    /// A process of these words that answers in lines.
    pub fn of(view: &impl View, words: &[OsString], cgroup: Option<&TestCgroup>) -> Self {
        let mut command = view.command();
        // It is in its cgroup before it is what it is to be, and all that it starts is too.
        command.args(["sh", "-c", "read line && echo \"$line\" && exec \"$@\"", "sh"]).args(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        match cgroup {
            Some(cgroup) => cgroup.add_pid(child.id()),
            None => testkit::hierarchies().iter().for_each(|hierarchy| {
                let procs = hierarchy.mount.join("cgroup.procs");
                std::fs::write(procs, child.id().to_string()).unwrap();
            }),
        }
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut client = Self { child, stdin, answers };
        assert_eq!(client.ask("hello"), "hello");
        client
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// The answer to what was told, within what is long on any machine.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        match self.answers.recv_timeout(LONG) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => panic!("a client hangs"),
            Err(RecvTimeoutError::Disconnected) => panic!("a client has ended"),
        }
    }

    /// Whether it is still at what it was told.
    pub fn is_busy(&self) -> bool {
        matches!(self.answers.try_recv(), Err(TryRecvError::Empty))
    }

    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.answer()
    }

    /// Opens a file of the view; the descriptor's number.
    #[track_caller]
    pub fn open(&mut self, how: &str, path: &str) -> String {
        let fd = self.ask(&format!("open {how} {path}"));
        assert!(fd.parse::<u32>().is_ok(), "{path}: {fd}");
        fd
    }

    /// Opens `proc/pressure/name` to read and write.
    #[track_caller]
    pub fn open_pressure(&mut self, name: &str) -> String {
        self.open("rw", &format!("proc/pressure/{name}"))
    }

    /// What writing `text` comes to: `ok`, or an errno.
    #[track_caller]
    pub fn write(&mut self, fd: &str, text: &str) -> String {
        let written = self.ask(&format!("write {fd} {text}"));
        if written == text.len().to_string() { "ok".to_owned() } else { written }
    }

    /// Opens `proc/pressure/name` with a trigger.
    #[track_caller]
    pub fn open_trigger(&mut self, name: &str) -> String {
        let fd = self.open_pressure(name);
        assert_eq!(self.write(&fd, TRIGGER), "ok");
        fd
    }

    /// What writing `text` to a newly opened pressure file comes to.
    #[track_caller]
    pub fn try_trigger(&mut self, name: &str, text: &str) -> String {
        let fd = self.open_pressure(name);
        let written = self.write(&fd, text);
        self.ask(&format!("close {fd}"));
        written
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn words(view: &impl View, prefix: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["env".into(), "-C".into(), view.mountpoint().into()];
    words.extend(prefix.iter().copied().chain([PYTHON, "-I", "-c", PROGRAM]).map(Into::into));
    words
}

/// Two loops on a fifth of one CPU.
pub fn squeeze(cgroup: &TestCgroup) -> [Running; 2] {
    cgroup.set_cpuset("0");
    cgroup.set_quota(20_000, 100_000);
    [(), ()].map(|()| {
        let mut command = Command::new("sh");
        let running = Running::start(command.args(["-c", "while :; do :; done"]));
        cgroup.add_pid(running.pid());
        running
    })
}

/// Does what it is told in lines, and says what came of it: an errno's name where it failed.
pub const PROGRAM: &str = r#"
import errno, os, select, socket, sys, threading, time

names = {"IN": 1, "PRI": 2, "OUT": 4, "ERR": 8, "HUP": 16, "NVAL": 32}
ways = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR, "t": os.O_RDONLY | os.O_TRUNC,
        "c": os.O_WRONLY | os.O_CREAT}

def poll(fd, wanted, milliseconds):
    poll = select.poll()
    poll.register(fd, sum(names[name] for name in wanted.split("+")))
    ready = sum(events for _, events in poll.poll(milliseconds))
    return "+".join(name for name, bit in names.items() if ready & bit)

def registered(fd, wanted):
    epoll = select.epoll()
    epoll.register(fd, sum(names[name] for name in wanted.split("+")))
    return epoll

def epoll(epoll, milliseconds):
    ready = sum(events for _, events in epoll.poll(milliseconds / 1000))
    return "+".join(name for name, bit in names.items() if ready & bit)

def each(waits):
    "Waits for each in a thread of its own until it has an event."
    seen = []
    threads = [threading.Thread(target=lambda wait=wait: seen.append(wait())) for wait in waits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return " ".join(f"{seen.count(what)}x{what}" for what in sorted(set(seen)))

def do(what, *words):
    if what == "open":
        return os.open(words[1], ways[words[0]], 0o600)
    if what == "cat":
        with open(words[0], "rb") as file:
            return file.read(4096).decode(errors="replace").replace("\n", ";")
    if what == "list":
        return " ".join(sorted(os.listdir(words[0])))
    if what == "chdir":
        return os.chdir(words[0])
    if what == "call":
        values = [int(word, 0) if word[0].isdigit() else word for word in words[1:]]
        if words[0] == "setxattr":
            values[-1] = values[-1].encode()
        return getattr(os, words[0])(*values)
    if what == "send":
        with socket.socket(socket.AF_UNIX) as to:
            while to.connect_ex(words[0]):
                time.sleep(0.01)
            socket.send_fds(to, [b"x"], [int(words[1])])
            to.recv(1)
        return "sent"
    if what == "receive":
        with socket.socket(socket.AF_UNIX) as at:
            at.bind(words[0])
            at.listen()
            to, _ = at.accept()
            _, fds, _, _ = socket.recv_fds(to, 1, 1)
            to.send(b"x")
        return fds[0]
    fd = int(words[0])
    if what == "write":
        return os.write(fd, " ".join(words[1:]).encode())
    if what == "read":
        return os.pread(fd, 4096, 0).decode().replace("\n", ";")
    if what == "poll":
        return poll(fd, words[1], int(words[2]))
    if what == "epoll":
        return epoll(registered(fd, words[1]), int(words[2]))
    if what == "each":
        return each([lambda fd=int(fd): poll(fd, "PRI", 1200000) for fd in words])
    if what == "epoll-each":
        all = [registered(int(fd), "PRI") for fd in words]
        print("registered", flush=True)
        return each([lambda one=one: epoll(one, 1200000) for one in all])
    if what == "close":
        return os.close(fd)

for line in sys.stdin:
    try:
        print(do(*line.split()), flush=True)
    except OSError as error:
        name = errno.errorcode[error.errno]
        print("EOPNOTSUPP" if name == "ENOTSUP" else name, flush=True)
"#;
