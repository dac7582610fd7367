//! Workers die, hang and misbehave, and readers do not notice.

use std::fs;

use rustix::process::Signal;

use crate::common;
use crate::common::reader::Reader;
use crate::common::{Place, isolated, kill, until};
use crate::text;

#[test]
fn worker_killed_again_and_again_is_not_noticed() {
    for in_flight in ["resend", "journal", "both"] {
        isolated("worker_killed_again_and_again_is_not_noticed", move || {
            let place = Place::new();
            let _supervisor = place.start(&["--in-flight", in_flight]);
            let readers = [1, 2].map(|_| Reader::start(place.file("hello")));
            for _ in 0..20 {
                let pid = place.worker_pid();
                readers.iter().for_each(Reader::reads_on);
                kill(pid, Signal::KILL);
                until("another worker", || place.worker_pid() != pid);
            }
            readers.into_iter().for_each(Reader::end);
        });
    }
}

/// An operator, or the kernel that is out of memory, is no failure of the worker.
#[test]
fn worker_that_others_kill_is_not_taken_for_one_that_fails() {
    isolated("worker_that_others_kill_is_not_taken_for_one_that_fails", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        for number in 0..30 {
            let pid = place.worker_pid();
            kill(pid, if number % 2 == 0 { Signal::KILL } else { Signal::TERM });
            until("another worker", || place.worker_pid() != pid);
            let status = place.status();
            assert_eq!(status["failing"], false, "{status}");
        }
        assert_eq!(text(place.file("degraded")), "false");
        assert_eq!(place.status()["deaths"], 30);
        reader.end();
    });
}

#[test]
fn request_that_kills_each_worker_is_answered_by_a_degraded_one() {
    isolated("request_that_kills_each_worker_is_answered_by_a_degraded_one", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        assert_eq!(text(place.file("die")), "true");
        assert!(place.status()["deaths"].as_u64() >= Some(3));
        // A normal one is tried again.
        until("a normal worker serves", || text(place.file("degraded")) == "false");
        reader.end();
    });
}

#[test]
fn stopped_worker_is_killed_and_replaced() {
    isolated("stopped_worker_is_killed_and_replaced", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        let pid = place.worker_pid();
        kill(pid, Signal::STOP);
        until("all its threads have stopped", || common::has_stopped(pid));
        assert_ne!(text(place.file("who")), pid.to_string());
        reader.end();
        let status = place.status();
        assert!(status["killed"].as_u64() >= Some(1), "{status}");
    });
}

/// No watch is kept over it yet, but it has a time limit.
#[test]
fn worker_that_hangs_before_it_says_that_it_serves_is_replaced() {
    isolated("worker_that_hangs_before_it_says_that_it_serves_is_replaced", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        let first = place.worker_pid();
        fs::write(place.path("worker.behaviour"), "hang after go").unwrap();
        kill(first, Signal::KILL);
        until("one that hangs was let go", || {
            let worker = place.status()["worker"].clone();
            worker["serving"] == false && worker["pid"] != first
        });
        fs::write(place.path("worker.behaviour"), "").unwrap();
        reader.reads_on();
        reader.end();
        let status = place.status();
        assert_eq!((&status["killed"], &status["deaths"]), (&1.into(), &2.into()), "{status}");
        assert_eq!(status["last_death"], "does not begin to serve");
    });
}

#[test]
fn handler_that_never_returns_costs_its_worker_the_life() {
    isolated("handler_that_never_returns_costs_its_worker_the_life", || {
        let place = Place::new();
        let _supervisor = place.start(&["--in-flight", "journal"]);
        let reader = Reader::start(place.file("hello"));
        assert_eq!(text(place.file("hang")), "true");
        reader.end();
        let status = place.status();
        assert!(status["killed"].as_u64() >= Some(3), "{status}");
        assert!(status["last_death"].as_str().unwrap().contains("does not answer request"));
    });
}

#[test]
fn worker_that_talks_nonsense_or_spoils_its_journal_is_replaced() {
    isolated("worker_that_talks_nonsense_or_spoils_its_journal_is_replaced", || {
        let place = Place::new();
        let _supervisor = place.start(&["--in-flight", "resend"]);
        let reader = Reader::start(place.file("hello"));
        for file in ["garbage", "spoil"] {
            let pid = place.worker_pid();
            fs::read(place.file(file)).unwrap();
            until("another worker", || place.worker_pid() != pid);
        }
        reader.end();
    });
}

#[test]
fn children_of_a_dead_worker_do_not_hold_the_connection() {
    isolated("children_of_a_dead_worker_do_not_hold_the_connection", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let child: u32 = text(place.file("fork")).parse().unwrap();
        kill(place.worker_pid(), Signal::KILL);
        until("the child is dead", || !place.is_alive(child));
        assert_eq!(text(place.file("degraded")), "false");
    });
}
