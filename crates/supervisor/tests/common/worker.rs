//! A small worker: this test binary again, told by its arguments to run one test that is ignored
//! otherwise, with the supervisor's channel as standard input.

use std::ffi::OsStr;
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use control::{Channel, FromWorker, Held, Hello, Holdings, Role, ToWorker, orphan};
use fuse::{
    Attr, AttrReply, Context, DirSink, Entry, Errno, Fh, FileType, Filesystem, Journal, NodeId,
    OFlags, OpenFlags, OpenReply, ReadBuf, Recovery, Result, Serve, ServeHandle, Session,
};
use serde_json::json;

pub(crate) const HELLO: &[u8] = b"Hello from behind the supervisor\n";

/// Runs the test `worker`, and nothing else.
pub(crate) const ARGUMENTS: [&str; 5] = ["--ignored", "--exact", "worker", "--nocapture", "-q"];

/// The variable that says where the test's directory is.
pub(crate) const PLACE: &str = "RESVIEW_TEST_PLACE";

const TTL: Duration = Duration::from_secs(3600);

/// `hello` says [`HELLO`]; `who` which process it is; `degraded` whether it is; reading `die`, a
/// normal worker aborts; reading `hang`, it never comes back; reading `fork`, it makes a child that
/// holds the connection; reading `garbage`, it sends some to the supervisor; reading `spoil`, it
/// overwrites its journal.
const FILES: [&str; 8] = ["hello", "who", "degraded", "die", "hang", "fork", "garbage", "spoil"];

/// The directories that the mount of the pressure files needs.
const PROC: NodeId = NodeId(100);
const PRESSURE: NodeId = NodeId(101);

struct Tree {
    degraded: bool,
    device: OwnedFd,
    journal: OwnedFd,
    channel: OwnedFd,
}

/// Serves, in the way that the file `<program>.behaviour` says.
pub(crate) fn main() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else {
        return; // somebody runs all ignored tests
    };
    let mut pids = std::fs::File::options().append(true).open(place.join("pids")).unwrap();
    writeln!(pids, "{}", std::process::id()).unwrap();
    let program = PathBuf::from(std::env::args_os().next().unwrap());
    let behaviour = std::fs::read_to_string(program.with_extension("behaviour")).unwrap();
    let channel = Channel::from_stdin().unwrap();
    let (ToWorker::Hello(hello), descriptors) = channel.receive_with(None).unwrap() else {
        panic!("no hello")
    };
    let mut holdings = Holdings::assemble(hello.estate.clone(), descriptors).unwrap();
    match behaviour.as_str() {
        "fail" => channel.send(&FromWorker::Failed { why: "no wish to".to_owned() }).unwrap(),
        "die" => std::process::abort(),
        "garbage" => send_garbage(&channel.as_fd().try_clone_to_owned().unwrap()),
        "close" => return close(channel),
        "silence" => std::thread::sleep(Duration::from_secs(600)),
        "out of turn" => channel.send(&FromWorker::Stopped).unwrap(),
        _ => channel.send(&FromWorker::Ready).unwrap(),
    }
    work(&channel, &hello, &mut holdings, &behaviour);
}

fn close(channel: Channel) {
    drop(channel);
    std::thread::sleep(Duration::from_secs(600));
}

fn send_garbage(channel: &OwnedFd) {
    rustix::net::send(channel, b"{\"protocol\":\0\xff", rustix::net::SendFlags::NOSIGNAL).unwrap();
}

fn work(channel: &Channel, hello: &Hello, holdings: &mut Holdings, behaviour: &str) {
    let mut serving: Vec<ServeHandle> = Vec::new();
    loop {
        match channel.receive(None) {
            Ok(ToWorker::Go { .. }) if behaviour == "die after go" => std::process::abort(),
            Ok(ToWorker::Go { .. }) if behaviour == "hang after go" => {
                std::thread::sleep(Duration::from_secs(600));
            }
            Ok(ToWorker::Go { recover, attach }) => {
                let recovery = if recover { hello.recovery.into() } else { Recovery::None };
                let held = holdings.connections.iter();
                serving = held.map(|held| serve(held, channel, hello, recovery)).collect();
                channel.send(&FromWorker::Serving { attached: Vec::new() }).unwrap();
                if !attach.is_empty() && behaviour != "never attach" {
                    let held = holdings.connection(Role::Pressure).unwrap();
                    let mount = held.mount.as_ref().unwrap();
                    fuse::attach(mount.as_fd(), &held.state.mountpoint).unwrap();
                    holdings.attached(&attach);
                    channel.send(&FromWorker::Serving { attached: attach }).unwrap();
                }
            }
            Ok(ToWorker::Stop) => {
                stop(serving);
                return channel.send(&FromWorker::Stopped).unwrap();
            }
            Ok(ToWorker::Status) => {
                let report = json!({ "pid": std::process::id() });
                channel.send(&FromWorker::StatusReport { report }).unwrap();
            }
            Ok(ToWorker::SetVirtual { on }) => holdings.virtual_ = on,
            Ok(ToWorker::Hello(_)) => panic!("a second hello"),
            Err(_) if serving.is_empty() => return,
            Err(_) => {
                let successor = orphan::answer(holdings, || json!("an orphan")).unwrap();
                stop(serving);
                return successor.released(true, holdings).unwrap();
            }
        }
    }
}

fn stop(serving: Vec<ServeHandle>) {
    for handle in serving {
        let _ = handle.stop();
    }
}

fn serve(held: &Held, channel: &Channel, hello: &Hello, recovery: Recovery) -> ServeHandle {
    let copy = |fd: &OwnedFd| fd.try_clone().unwrap();
    let session = Session::adopt(copy(&held.device), held.state.negotiated).unwrap();
    let tree = Tree {
        degraded: hello.degraded.is_some(),
        device: copy(&held.device),
        journal: copy(&held.journal),
        channel: channel.as_fd().try_clone_to_owned().unwrap(),
    };
    let serve = Serve {
        journal: Some(Arc::new(Journal::adopt(copy(&held.journal)).unwrap())),
        recovery,
        ..Serve::with_threads(NonZeroUsize::new(3).unwrap())
    };
    session.serve(Arc::new(tree), serve).unwrap()
}

impl Tree {
    #[expect(clippy::zombie_processes, reason = "what is tested is a worker that is careless")]
    fn text(&self, name: &str) -> Vec<u8> {
        match name {
            "who" => return std::process::id().to_string().into_bytes(),
            "die" if !self.degraded => std::process::abort(),
            "hang" if !self.degraded => loop {
                std::thread::sleep(Duration::from_millis(10));
            },
            "fork" => {
                let device = self.device.try_clone().unwrap();
                let child = Command::new("sleep").arg("600").stdin(device).spawn().unwrap();
                return child.id().to_string().into_bytes();
            }
            "garbage" if !self.degraded => send_garbage(&self.channel),
            "spoil" if !self.degraded => {
                rustix::io::pwrite(&self.journal, &[0xff; 64], 0).unwrap();
            }
            _ => {}
        }
        format!("{}\n", self.degraded).into_bytes()
    }
}

fn name(node: NodeId) -> Result<&'static str> {
    let index = usize::try_from(node.0).ok().and_then(|node| node.checked_sub(2));
    index.and_then(|index| FILES.get(index)).copied().ok_or(Errno::NOENT)
}

fn attr(node: NodeId) -> Result<Attr> {
    let is_directory = [NodeId::ROOT, PROC, PRESSURE].contains(&node);
    if !is_directory {
        name(node)?;
    }
    let (kind, mode) =
        if is_directory { (FileType::Directory, 0o555) } else { (FileType::Regular, 0o444) };
    let (nlink, uid, gid, mtime) = (1, 0, 0, Duration::ZERO);
    Ok(Attr { ino: node.0, size: 0, kind, mode, nlink, uid, gid, mtime })
}

impl Filesystem for Tree {
    fn lookup(&self, _: &Context<'_>, parent: NodeId, wanted: &OsStr) -> Result<Entry> {
        let file = || FILES.iter().position(|name| wanted == *name).ok_or(Errno::NOENT);
        let node = match (parent, wanted.to_str()) {
            (NodeId::ROOT, Some("proc")) => PROC,
            (PROC, Some("pressure")) => PRESSURE,
            _ => NodeId(file()? as u64 + 2),
        };
        Ok(Entry { node, attr: attr(node)?, entry_ttl: Duration::ZERO, attr_ttl: TTL })
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> Result<AttrReply> {
        Ok(AttrReply { attr: attr(node)?, ttl: TTL })
    }

    fn open(&self, _: &Context<'_>, _: NodeId, _: OFlags) -> Result<OpenReply> {
        Ok(OpenReply { fh: Fh(0), flags: OpenFlags::DIRECT_IO })
    }

    fn read(
        &self,
        _: &Context<'_>,
        node: NodeId,
        _: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> Result<()> {
        match name(node)? {
            "hello" => out.put_from(HELLO, offset),
            // A program reads on until there is nothing: what happens, happens at the start only.
            name if offset == 0 => out.put(&self.text(name)),
            _ => {}
        }
        Ok(())
    }

    fn readdir(
        &self,
        _: &Context<'_>,
        _: NodeId,
        _: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> Result<()> {
        for (index, name) in FILES.iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            let next = index as u64 + 1;
            if !out.add(next + 1, next, FileType::Regular, OsStr::new(name)) {
                break;
            }
        }
        Ok(())
    }
}
