//! The hook against an agent that behaves, and against others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use api::{Answer, Container, ContainerAnswer, Conversation, Done, Failure, FailureKind};
use api::{Outcome, Request, Selector};
use runtimes::hook::{HookError, Options, Report, Stage, run};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// What runc 1.1 hands to createRuntime, with a field that nobody knows.
const RUNC: &str = r#"{"ociVersion":"1.0.2-dev","id":"c1","status":"creating","pid":4711,"bundle":"BUNDLE","annotations":{"a":"b"},"moon":[1]}"#;
/// What crun 1.8 does.
const CRUN: &str = r#"{"ociVersion":"1.0","id":"c1","pid":4711,"root":"/srv/root","bundle":"BUNDLE","status":"created"}"#;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(place.bundle().join("config.json"), r#"{"root":{"path":"rootfs"}}"#).unwrap();
        place
    }

    fn bundle(&self) -> &Path {
        self.dir.path()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("resview.sock")
    }

    fn options(&self, stage: Stage, deadline: Duration) -> Options {
        Options { stage, socket: self.socket(), required: false, deadline }
    }

    /// Runs the hook with `state` on its standard input.
    fn hook(&self, state: &str, stage: Stage, deadline: Duration) -> Result<Report, HookError> {
        let (mut write, read) = UnixStream::pair().unwrap();
        let state = state.replace("BUNDLE", self.bundle().to_str().unwrap());
        let writer = thread::spawn(move || {
            // A hook that refuses a long state does not read to its end.
            let _ = write.write_all(state.as_bytes());
        });
        let result = run(&self.options(stage, deadline), &read);
        drop(read);
        writer.join().unwrap();
        result
    }

    /// An agent that answers one request.
    fn agent(&self, answers: Vec<Answer>) -> JoinHandle<Request> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || {
            let mut conversation = Conversation::new(listener.accept().unwrap().0, LONG);
            let request = conversation.request().unwrap();
            for answer in &answers {
                conversation.answer(answer).unwrap();
            }
            request
        })
    }

    /// Something that says `text` to whoever connects, and then nothing.
    fn stranger(&self, text: &'static [u8]) -> JoinHandle<()> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(text).unwrap();
            // Until the hook gives up.
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }
}

fn outcome(outcome: Outcome, reason: Option<&str>) -> Vec<Answer> {
    let answer = ContainerAnswer {
        container: Container { id: "c1".to_owned(), ..Container::default() },
        outcome,
        reason: reason.map(str::to_owned),
        files: Vec::new(),
        policy: None,
    };
    vec![Answer::Container(answer), Answer::Done(Done::new(1, 0))]
}

#[test]
fn the_agent_hears_process_root_and_annotations_from_runc_and_crun() {
    for (state, root) in [(RUNC, None), (CRUN, Some("/srv/root"))] {
        let place = Place::new();
        let agent = place.agent(outcome(Outcome::Attached, None));
        let report = place.hook(state, Stage::CreateRuntime, LONG).unwrap();
        assert_eq!(report, Report::Attached);
        let Request::Attach(attach) = agent.join().unwrap() else { panic!() };
        let Selector::Created(created) = attach.container else { panic!() };
        let root = root.map_or_else(|| place.bundle().join("rootfs"), PathBuf::from);
        assert_eq!((created.pid, created.id.as_str(), created.root), (4711, "c1", Some(root)));
        assert_eq!(created.bundle.as_deref(), Some(place.bundle()));
        assert_eq!(created.annotations.contains_key("a"), state == RUNC);
    }
}

#[test]
fn poststop_needs_no_process_and_names_exactly_one_id() {
    let place = Place::new();
    let agent = place.agent(vec![Answer::Done(Done::new(0, 0))]);
    let state = r#"{"ociVersion":"1.0","id":"c1","status":"stopped","bundle":"BUNDLE"}"#;
    assert_eq!(place.hook(state, Stage::Poststop, LONG).unwrap(), Report::Forgotten);
    let Request::Detach(detach) = agent.join().unwrap() else { panic!() };
    let Selector::Stopped(stopped) = detach.container else { panic!() };
    assert_eq!((stopped.id.as_str(), stopped.bundle.as_deref()), ("c1", Some(place.bundle())));
}

#[test]
fn a_container_that_says_off_costs_no_question() {
    let place = Place::new();
    let state = RUNC.replace("\"a\":\"b\"", "\"resview.dev/view\":\"off\"");
    assert_eq!(place.hook(&state, Stage::CreateRuntime, LONG).unwrap(), Report::OptedOut);
    let state = RUNC.replace("\"a\":\"b\"", "\"resview.dev/cpu-count\":\"many\"");
    let error = place.hook(&state, Stage::CreateRuntime, LONG).unwrap_err();
    assert!(matches!(error, HookError::Policy { .. }), "{error}");
}

#[test]
fn what_the_agent_refuses_is_passed_on() {
    let failure = Answer::Failure(Failure::new(FailureKind::Busy, "starting"));
    for (answers, words) in [
        (outcome(Outcome::Failed, Some("no procfs")), "no procfs"),
        (vec![failure], "starting"),
        (vec![Answer::Done(Done::new(0, 0))], "nothing"),
    ] {
        let place = Place::new();
        let agent = place.agent(answers);
        let error = place.hook(RUNC, Stage::CreateRuntime, LONG).unwrap_err();
        assert!(error.to_string().contains(words) && error.to_string().contains("c1"), "{error}");
        agent.join().unwrap();
    }
    let place = Place::new();
    let agent = place.agent(outcome(Outcome::Skipped, Some("unmasked")));
    let report = place.hook(RUNC, Stage::CreateRuntime, LONG).unwrap();
    assert_eq!(report, Report::Skipped("unmasked".to_owned()));
    agent.join().unwrap();
}

#[test]
fn an_agent_that_is_absent_hangs_or_talks_nonsense_ends_in_an_error() {
    let place = Place::new();
    let error = place.hook(RUNC, Stage::CreateRuntime, LONG).unwrap_err();
    assert!(error.to_string().contains("no agent listens"), "{error}");
    for (text, deadline, words) in [
        (&b""[..], SHORT, "did not answer"),
        (b"{\"version\":1,", SHORT, "did not answer"),
        (b"SSH-2.0-OpenSSH_9.2\n", LONG, "talking to the agent"),
        (b"{\"version\":2,\"error\":\"request in version 1\"}\n", LONG, "version 2"),
    ] {
        let place = Place::new();
        let stranger = place.stranger(text);
        let error = place.hook(RUNC, Stage::CreateRuntime, deadline).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        stranger.join().unwrap();
    }
}

#[test]
fn a_runtime_that_never_ends_its_state_does_not_keep_the_hook() {
    let place = Place::new();
    let (_write, read) = UnixStream::pair().unwrap();
    let error = run(&place.options(Stage::CreateRuntime, SHORT), &read).unwrap_err();
    assert!(matches!(&error, HookError::Input(why) if why.kind() == std::io::ErrorKind::TimedOut));
}

#[test]
fn states_that_are_none_are_named() {
    let place = Place::new();
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(1 << 20));
    for (state, words) in [
        ("", "no state"),
        ("[]", "no state"),
        (long.as_str(), "more than 1048576 bytes"),
        (r#"{"id":"c1","pid":0,"root":"/r"}"#, "no process yet"),
        (r#"{"id":"c1","pid":5}"#, "names no bundle"),
        (r#"{"id":"c1","pid":5,"bundle":"/nowhere"}"#, "/nowhere/config.json"),
    ] {
        let error = place.hook(state, Stage::CreateRuntime, LONG).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!("prestart".parse(), Ok(Stage::CreateRuntime));
    assert!("createContainer".parse::<Stage>().unwrap_err().to_string().contains("createRuntime"));
}
