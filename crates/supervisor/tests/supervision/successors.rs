//! A supervisor follows another.

use std::fs;

use control::Request;
use rustix::mount::mount_bind;
use rustix::process::Signal;

use crate::common;
use crate::common::reader::Reader;
use crate::common::{Place, isolated, kill, refusal, until};
use crate::text;

#[test]
fn worker_outlives_its_supervisor_and_the_next_takes_over() {
    isolated("worker_outlives_its_supervisor_and_the_next_takes_over", || {
        let place = Place::new();
        let mut supervisor = place.start(&[]);
        let readers = [1, 2].map(|_| Reader::start(place.file("hello")));
        for _ in 0..3 {
            let pid = place.worker_pid();
            supervisor.kill();
            readers.iter().for_each(Reader::reads_on);
            assert_eq!(text(place.file("who")), pid.to_string());
            until("the orphan answers", || {
                place.try_status().is_some_and(|report| report["worker"] == "an orphan")
            });
            assert!(place.client().ask(&Request::Stop { unmount: true }, common::HANG).is_err());
            supervisor = place.start(&[]);
            assert_ne!(place.worker_pid(), pid);
            readers.iter().for_each(Reader::reads_on);
        }
        readers.into_iter().for_each(Reader::end);
        assert_eq!(place.mounts(), 1);
        place.stop(true);
        assert_eq!((place.mounts(), place.workers()), (0, vec![]));
    });
}

#[test]
fn one_that_does_not_answer_is_named_with_what_its_end_costs() {
    isolated("one_that_does_not_answer_is_named_with_what_its_end_costs", || {
        let place = Place::new();
        let mut supervisor = place.start(&[]);
        let (supervisor_pid, worker) = (supervisor.pid(), place.worker_pid());
        supervisor.signal(Signal::STOP);
        let said = refusal(place.command(&[]));
        assert!(said.contains(&format!("kill -9 {supervisor_pid}")), "{said}");
        assert!(said.contains("nothing is lost"), "{said}");
        supervisor.kill();
        // Not before: the kernel wakes a stopped process group when it becomes an orphan.
        kill(worker, Signal::STOP);
        until("all its threads have stopped", || common::has_stopped(worker));
        let said = refusal(place.command(&[]));
        assert!(said.contains(&format!("kill -9 {worker}")), "{said}");
        assert!(said.contains("only it holds the view"), "{said}");
        kill(worker, Signal::CONT);
        let _supervisor = place.start(&[]);
        assert_eq!(text(place.file("degraded")), "false");
    });
}

#[test]
fn second_start_takes_over_from_the_first() {
    isolated("second_start_takes_over_from_the_first", || {
        let place = Place::new();
        let mut first = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        for _ in 0..3 {
            let pid = place.worker_pid();
            let second = place.start(&[]);
            assert!(first.end().success());
            assert_ne!(place.worker_pid(), pid);
            first = second;
        }
        reader.end();
        assert_eq!(place.mounts(), 1);
        assert_eq!(place.workers(), [place.worker_pid()]);
    });
}

#[test]
fn second_start_that_fails_leaves_the_first_alone() {
    isolated("second_start_that_fails_leaves_the_first_alone", || {
        let place = Place::new();
        let _first = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        let pid = place.worker_pid();
        fs::write(place.path("worker.behaviour"), "fail").unwrap();
        assert!(refusal(place.command(&[])).contains("no wish to"));
        reader.end();
        assert_eq!(place.worker_pid(), pid);
    });
}

/// Containers may have it still, so that it must go on, but nobody must be told that all is well.
#[test]
fn start_says_ready_with_nothing_mounted_after_somebody_unmounted_the_running_ones_view() {
    isolated("start_says_ready_with_nothing_mounted", || {
        let place = Place::new();
        let mut supervisor = place.start(&[]);
        let container = place.path("container");
        fs::create_dir(&container).unwrap();
        mount_bind(place.mountpoint(), &container).unwrap();
        fuse::unmount(&place.mountpoint()).unwrap();
        let reader = Reader::start(container.join("hello"));
        let worker = place.worker_pid();
        let said = refusal(place.command(&[]));
        assert!(said.contains("resview stop"), "{said}");
        reader.reads_on();
        supervisor.kill();
        let said = refusal(place.command(&[]));
        assert!(said.contains("resview stop"), "{said}");
        assert!(place.is_alive(worker), "it was left alone");
        reader.reads_on();
        reader.end();
        // As `resview stop`.
        let client = place.client();
        client.take_over(common::HANG).unwrap();
        client.release(common::HANG).unwrap();
        fuse::unmount(&container).unwrap();
        let _supervisor = place.start(&[]);
        assert_eq!((place.mounts(), text(place.file("degraded")).as_str()), (1, "false"));
    });
}

#[test]
fn connection_that_the_predecessor_had_not_is_made_at_the_take_over() {
    isolated("connection_that_the_predecessor_had_not_is_made_at_the_take_over", || {
        let place = Place::new();
        let mut first = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        let _second = place.start(&["--pressure"]);
        assert!(first.end().success());
        until("the pressure files are there", || {
            place.status()["connections"][1]["attached"] == true
        });
        assert_eq!(fs::read(place.file("proc/pressure/hello")).unwrap(), common::worker::HELLO);
        reader.end();
    });
}

#[test]
fn successor_that_dies_while_it_takes_over_changes_nothing() {
    isolated("successor_that_dies_while_it_takes_over_changes_nothing", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let reader = Reader::start(place.file("hello"));
        let pid = place.worker_pid();
        drop(place.client().take_over(common::HANG).unwrap());
        assert_eq!(place.worker_pid(), pid);
        let client = place.client();
        drop(client.take_over(common::HANG).unwrap());
        client.into_channel().send(&Request::Release).unwrap();
        until("another worker", || place.worker_pid() != pid);
        reader.reads_on();
        reader.end();
    });
}
