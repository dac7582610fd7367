//! Another program takes the worker's place.

use control::Answer;
use rustix::process::Signal;

use crate::common;
use crate::common::reader::Reader;
use crate::common::{Place, isolated, kill, until};
use crate::text;

#[test]
fn upgrade_serves_the_new_program_without_a_gap() {
    isolated("upgrade_serves_the_new_program_without_a_gap", || {
        let place = Place::new();
        let supervisor = place.start(&[]);
        let readers = [1, 2].map(|_| Reader::start(place.file("hello")));
        let old = place.path("worker");
        let new = place.program("another", "");
        for _ in 0..5 {
            let pid = place.worker_pid();
            let done = Answer::Done { old: old.clone(), new: new.clone() };
            assert_eq!(place.upgrade(&new), done);
            assert_ne!(place.worker_pid(), pid);
            assert!(matches!(place.upgrade(&old), Answer::Done { .. }));
        }
        let pid = place.worker_pid();
        supervisor.signal(Signal::USR1);
        until("the upgrade by signal", || place.worker_pid() != pid);
        readers.into_iter().for_each(Reader::end);
        let status = place.status();
        assert_eq!((&status["upgrades"], &status["deaths"]), (&11.into(), &0.into()));
    });
}

#[test]
fn upgrade_to_what_does_not_come_up_is_rolled_back() {
    isolated("upgrade_to_what_does_not_come_up_is_rolled_back", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        let pid = place.worker_pid();
        let back = |program: &std::path::Path| match place.upgrade(program) {
            Answer::RolledBack { why } => why,
            other => panic!("{program:?}: {other:?}"),
        };
        assert!(back("/bin/false".as_ref()).contains("exit status: 1"));
        assert!(back("/nonexistent".as_ref()).contains("No such file"));
        for (behaviour, why) in [
            ("fail", "no wish to"),
            ("die", "SIGABRT"),
            ("garbage", "cannot understand the message"),
            ("close", ""),
            ("silence", "does not get ready"),
            ("out of turn", "Stopped"),
        ] {
            let said = back(&place.program("bad", behaviour));
            assert!(said.contains(why), "{behaviour}: {said}");
        }
        assert_eq!(place.worker_pid(), pid, "the old one has never stopped");
        reader.end();
        assert_eq!(place.status()["rolled_back"], 8);
    });
}

#[test]
fn upgrade_to_what_dies_when_it_serves_ends_with_the_program_before() {
    isolated("upgrade_to_what_dies_when_it_serves_ends_with_the_program_before", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        let bad = place.program("bad", "die after go");
        assert!(matches!(place.upgrade(&bad), Answer::RolledBack { .. }));
        reader.reads_on();
        reader.end();
        assert_eq!(place.status()["program"], place.path("worker").to_str().unwrap());
    });
}

#[test]
fn program_that_is_removed_can_still_be_started() {
    isolated("program_that_is_removed_can_still_be_started", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let pid = place.worker_pid();
        common::copy("/bin/false".as_ref(), &place.path("worker"));
        kill(pid, Signal::KILL);
        until("another worker", || place.worker_pid() != pid);
        assert_eq!(text(place.file("degraded")), "false");
    });
}
