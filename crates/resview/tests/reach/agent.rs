//! The agent, its socket, and whoever talks to it.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use api::{Answer, Client, FailureKind, Outcome, Request, Selector};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::client::PYTHON;
use crate::common::{eventually, seen_by, stdout_of};
use crate::inside::{Container, PLAIN};
use crate::reach::{LONG, Reach, assert_attached, can_reach, has_view, mounts_of};
use crate::support::kill;

#[test]
fn a_killed_agent_is_followed_by_another() {
    let test = "a_killed_agent_is_followed_by_another";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let container = Container::new(PLAIN);
    let kill_it = || {
        let agent = reach.status().unwrap().pid;
        kill(agent, Signal::KILL);
        agent
    };
    let next_after = |agent: u32| {
        eventually("there is another agent", || {
            reach.status().is_some_and(|status| status.pid != agent)
        });
    };
    next_after(kill_it());
    assert_attached(&reach.attach(container.pid));
    assert!(has_view(container.pid));
    assert_eq!(reach.detach(container.pid).outcome, Outcome::Detached);
    // In the middle of a request, too: the next one puts right whatever was left.
    for milliseconds in [15, 30] {
        let agent = std::thread::scope(|scope| {
            scope.spawn(|| {
                let container = Selector::Pid(container.pid);
                let request = api::Attach { container, files: None, policy: None };
                reach.try_ask(&Request::Attach(request)) // it may come in time, or not
            });
            std::thread::sleep(Duration::from_millis(milliseconds));
            kill_it()
        });
        next_after(agent);
        let answer = reach.attach(container.pid);
        assert!(matches!(answer.outcome, Outcome::Attached | Outcome::Already), "{answer:?}");
        assert_eq!(reach.detach(container.pid).outcome, Outcome::Detached);
        assert!(!has_view(container.pid));
    }
}

#[test]
fn requests_about_one_container_at_once_mount_nothing_twice() {
    let test = "requests_about_one_container_at_once_mount_nothing_twice";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let container = Container::new(PLAIN);
    let before = mounts_of(container.pid);
    for _ in 0..5 {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let ask = || scope.spawn(|| reach.attach(container.pid).outcome);
            let threads: Vec<_> = std::iter::repeat_with(ask).take(4).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let attached = outcomes.iter().filter(|outcome| **outcome == Outcome::Attached).count();
        let already = outcomes.iter().filter(|outcome| **outcome == Outcome::Already).count();
        assert_eq!((attached, already), (1, 3), "{outcomes:?}");
        let mounts = mounts_of(container.pid);
        let mut places: Vec<_> = mounts
            .iter()
            .filter(|line| line.contains(" - fuse.resview "))
            .map(|line| line.split(' ').nth(4).unwrap())
            .collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count);
        assert_eq!(reach.detach(container.pid).outcome, Outcome::Detached);
        assert_eq!(mounts_of(container.pid), before);
    }
}

#[test]
fn only_root_and_the_group_may_connect() {
    let test = "only_root_and_the_group_may_connect";
    if !can_reach(test, &["setpriv"]) {
        return;
    }
    let connects = |reach: &Reach, gid: &str| {
        let words = format!("--clear-groups --reuid=4711 --regid={gid} {PYTHON} -c");
        let program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
        let mut command = std::process::Command::new("setpriv");
        command.args(words.split(' ')).arg(program).arg(reach.socket());
        command.stderr(std::process::Stdio::null()).status().unwrap().success()
    };
    let mode = |reach: &Reach| {
        // Others get as far as the socket, and no farther.
        let mut dirs: Vec<PathBuf> = vec![reach.path("")];
        dirs.push(reach.daemon.path("run"));
        dirs.push(reach.daemon.path(""));
        for dir in dirs {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let metadata = std::fs::metadata(reach.socket()).unwrap();
        (metadata.mode() & 0o777, metadata.gid())
    };
    let reach = Reach::start(&[]);
    assert_eq!(mode(&reach), (0o600, 0));
    assert!(!connects(&reach, "4242"));
    drop(reach);
    let reach = Reach::start(&["--group", "4242"]);
    assert_eq!(mode(&reach), (0o660, 4242));
    assert!(connects(&reach, "4242"));
    assert!(!connects(&reach, "4243"));
    let agent = reach.status().unwrap().pid;
    kill(agent, Signal::KILL);
    eventually("there is another agent", || {
        reach.status().is_some_and(|status| status.pid != agent)
    });
    assert_eq!(mode(&reach), (0o660, 4242), "the next one's too");
}

/// What comes back for these bytes, after which nothing more is sent.
fn told(reach: &Reach, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(reach.socket()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    // It may have heard enough before the end.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn who_talks_nonsense_is_told_so_and_keeps_nobody() {
    let test = "who_talks_nonsense_is_told_so_and_keeps_nobody";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let silent: Vec<_> = (0..10).map(|_| UnixStream::connect(reach.socket()).unwrap()).collect();
    let deep = [b"[".repeat(100_000), b"\n".to_vec()].concat();
    for (bytes, says) in [
        (&b"GET / HTTP/1.1\n\n"[..], "not a JSON object"),
        (b"\xff\xfe\0\0\n", "not a JSON object"),
        (&deep, "not a JSON object"),
        (b"[1]\n", "another kind of value"),
        (b"{\"version\":7,\"request\":\"status\"}\n", "version 7"),
        (b"{\"request\":\"status\"}\n", "version"),
        (b"{\"version\":1,\"request\":\"halt\"}\n", "halt"),
        (b"{\"version\":1,\"request\":\"attach\",\"container\":{\"pid\":-1}}\n", "error"),
        (b"{\"version\":1,\"request\":\"attach\",\"container\":{\"pid\":4294967295}}\n", "error"),
        (
            b"{\"version\":1,\"request\":\"attach\",\"container\":{\"cgroup\":\"/../..\"}}\n",
            "error",
        ),
        (b"{\"version\":1,\"req", "middle of a line"),
        (b"", "error"),
    ] {
        let text = told(&reach, bytes);
        assert!(text.contains("\"error\"") && text.contains(says), "{says}: {text:.300}");
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["version"], json!(1), "{last}");
    }
    assert!(told(&reach, &b"x".repeat((1 << 20) + 2)).contains("1048576 bytes"));
    assert!(reach.status().is_some());
    // Who says nothing is sent away in the end.
    for mut stream in silent {
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.contains("\"error\""), "{text}");
    }
}

#[test]
fn of_seventy_clients_at_once_those_too_many_are_told_to_come_again() {
    let test = "of_seventy_clients_at_once_those_too_many_are_told_to_come_again";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let waiting: Vec<_> = (0..64).map(|_| UnixStream::connect(reach.socket()).unwrap()).collect();
    let request = Request::Status(api::Nothing {});
    let busy = |_: u32| match Client::ask(reach.socket(), &request, LONG).unwrap().last() {
        Some(Answer::Failure(failure)) => {
            assert_eq!(failure.kind, FailureKind::Busy, "{failure:?}");
            true
        }
        _ => false,
    };
    assert!((0..6).all(busy));
    drop(waiting);
    eventually("there is room again", || !busy(0));
}

#[test]
fn names_that_mean_harm_do_none() {
    let test = "names_that_mean_harm_do_none";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let states = seen_by(reach.daemon.witness(), "/run/runc".as_ref());
    let container = Container::new(PLAIN);
    let names = ["-rf", "a b", "line\nbreak", "\u{1b}[31mred", "💥", "..x", "web.json", "%s%n"];
    let long = "x".repeat(200);
    for name in names.into_iter().chain([long.as_str()]) {
        let state = json!({
            "init_process_pid": container.pid,
            "init_process_start": start_time(container.pid),
            "config": { "rootfs": "/../../etc", "labels": [format!("bundle=/{name}")] },
        });
        std::fs::create_dir_all(states.join(name)).unwrap();
        std::fs::write(states.join(name).join("state.json"), state.to_string()).unwrap();
        let answer = reach.attach(container.pid);
        assert_attached(&answer);
        let registered = reach.registered();
        let [id] = registered.as_slice() else { panic!("{name:?}: {registered:?}") };
        assert!(container::registry::Id::new(id.as_str()).is_ok(), "{id:?}");
        let entries = reach.tree("").read_dir().unwrap();
        let entries: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(entries, [id.as_str()], "{name:?}");
        let pid = container.pid.to_string();
        let listed = stdout_of(&reach.resview(&["list", &pid]));
        assert_eq!(listed.lines().count(), 2, "{listed:?}");
        let strange = |letter: char| letter.is_control() && letter != '\n';
        assert!(!listed.contains(strange), "{listed:?}");
        let again = stdout_of(&reach.resview(&["attach", &pid]));
        assert_eq!(again.lines().count(), 1, "{again:?}");
        assert!(!again.contains(strange), "{again:?}");
        assert_eq!(reach.detach(container.pid).outcome, Outcome::Detached);
        assert!(reach.registered().is_empty());
        std::fs::remove_dir_all(states.join(name)).unwrap();
    }
}

pub(crate) fn start_time(pid: u32) -> u64 {
    attach::Process::running(pid).unwrap().start_time
}
