//! Processes in containers that open, read, write and poll as they are told.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};

use testkit::{Layout, TestCgroup, layout};

use crate::support::{Daemon, LONG, can_serve, example, in_mounts_of};

/// Debian's own, which other users may execute as well.
const PYTHON: &str = "/usr/bin/python3";

pub(crate) fn can_have_clients(test: &str) -> bool {
    can_serve(test) && testkit::need_command(test, PYTHON)
}

/// Whether the kernel keeps pressure per cgroup here. On pure v1 it does not.
pub(crate) fn per_cgroup() -> bool {
    layout() != Layout::V1
}

/// A process whose working directory is the view.
pub(crate) struct Client {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

impl Client {
    /// Started by `prefix`, which keeps the process, in the mount namespace of the daemon.
    pub(crate) fn start(daemon: &Daemon, prefix: &[&str], cgroup: &TestCgroup) -> Self {
        let mut words: Vec<OsString> = vec!["env".into(), "-C".into()];
        words.push(daemon.mountpoint.clone().into());
        words.extend(prefix.iter().copied().chain([PYTHON, "-I", "-c", PROGRAM]).map(Into::into));
        Self::of(daemon, &words, cgroup)
    }

    /// A process of these words that answers in lines.
    fn of(daemon: &Daemon, words: &[OsString], cgroup: &TestCgroup) -> Self {
        let mut command = in_mounts_of(daemon.witness());
        // It is in its cgroup before it is what it is to be, and all that it starts is too.
        command.args(["sh", "-c", "read line && echo \"$line\" && exec \"$@\"", "sh"]).args(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        cgroup.add_pid(child.id());
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

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// The answer to what was told, within what is long on any machine.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> String {
        match self.answers.recv_timeout(2 * LONG) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => panic!("a client hangs"),
            Err(RecvTimeoutError::Disconnected) => panic!("a client has ended"),
        }
    }

    /// Whether it is still at what it was told.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.answers.try_recv(), Err(TryRecvError::Empty))
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.answer()
    }

    /// Opens a file of the view; the descriptor's number.
    #[track_caller]
    pub(crate) fn open(&mut self, how: &str, path: &str) -> String {
        let fd = self.ask(&format!("open {how} {path}"));
        assert!(fd.parse::<u32>().is_ok(), "{path}: {fd}");
        fd
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does what it is told in lines, and says what came of it: an errno's name where it failed.
pub(crate) const PROGRAM: &str = r#"
import errno, os, select, socket, sys, threading, time

names = {"IN": 1, "PRI": 2, "OUT": 4, "ERR": 8, "HUP": 16, "NVAL": 32}
ways = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR, "t": os.O_RDONLY | os.O_TRUNC,
        "c": os.O_WRONLY | os.O_CREAT}

def poll(fd, wanted, milliseconds):
    poll = select.poll()
    poll.register(fd, sum(names[name] for name in wanted.split("+")))
    ready = sum(events for _, events in poll.poll(milliseconds))
    return "+".join(name for name, bit in names.items() if ready & bit)

def each(fds):
    "Polls each in a thread of its own until it has an event."
    seen = []
    def one(fd):
        seen.append(poll(fd, "PRI", 120000))
    threads = [threading.Thread(target=one, args=(fd,)) for fd in fds]
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
    if what == "each":
        return each([int(word) for word in words])
    if what == "close":
        return os.close(fd)

for line in sys.stdin:
    try:
        print(do(*line.split()), flush=True)
    except OSError as error:
        name = errno.errorcode[error.errno]
        print("EOPNOTSUPP" if name == "ENOTSUP" else name, flush=True)
"#;

/// The reader that never pauses, for which a line is a question how often it has read.
pub(crate) fn hammer(daemon: &Daemon, threads: u32, path: &str, cgroup: &TestCgroup) -> Client {
    let words = [example("hammer"), threads.to_string().into(), daemon.mountpoint.join(path)];
    Client::of(daemon, &words.map(Into::into), cgroup)
}
