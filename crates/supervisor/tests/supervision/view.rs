//! The view comes and goes, with the supervisor and without.

use std::fs;

use control::socket_path;
use rustix::process::Signal;

use crate::common;
use crate::common::reader::Reader;
use crate::common::{Place, Supervisor, isolated, kill, refusal, until};
use crate::text;

#[test]
fn view_is_served_and_stop_leaves_nothing_behind() {
    isolated("view_is_served_and_stop_leaves_nothing_behind", || {
        let place = Place::new();
        let mut supervisor = place.start(&["--pressure"]);
        assert_eq!(place.mounts(), 1);
        assert_eq!(text(place.file("who")), place.worker_pid().to_string());
        let report = place.client().status(common::HANG).unwrap();
        assert_eq!(report["worker"]["pid"], report["supervisor"]["worker"]["pid"]);
        let attached = || place.status()["connections"][1]["attached"] == true;
        until("the pressure files are there", attached);
        assert_eq!(fs::read(place.file("proc/pressure/hello")).unwrap(), common::worker::HELLO);
        place.stop(true);
        assert!(supervisor.end().success());
        assert_eq!(place.mounts(), 0);
        assert!(!socket_path(&place.runtime_dir()).exists());
        assert_eq!(place.workers(), Vec::<u32>::new());
    });
}

#[test]
fn term_unmounts_or_keeps_as_configured() {
    isolated("term_unmounts_or_keeps_as_configured", || {
        let place = Place::new();
        let mut supervisor = place.start(&["--on-stop", "keep"]);
        let reader = Reader::start(place.file("hello"));
        supervisor.signal(Signal::TERM);
        assert!(supervisor.end().success());
        reader.reads_on();
        let mut supervisor = place.start(&[]);
        reader.reads_on();
        reader.end();
        supervisor.signal(Signal::TERM);
        assert!(supervisor.end().success());
        assert_eq!((place.mounts(), place.workers()), (0, vec![]));
    });
}

#[test]
fn supervisor_that_is_to_keep_the_view_leaves_a_worker_even_if_it_has_none_at_the_moment() {
    isolated("supervisor_that_is_to_keep_the_view_leaves_a_worker", || {
        let place = Place::new();
        let mut supervisor = place.start(&["--on-stop", "keep"]);
        let reader = Reader::start(place.file("hello"));
        for _ in 0..5 {
            kill(place.worker_pid(), Signal::KILL);
            supervisor.signal(Signal::TERM);
            assert!(supervisor.end().success());
            reader.reads_on();
            supervisor = place.start(&["--on-stop", "keep"]);
        }
        reader.end();
    });
}

#[test]
fn living_view_of_another_runtime_directory_is_not_touched() {
    isolated("living_view_of_another_runtime_directory_is_not_touched", || {
        let place = Place::new();
        let _first = place.start(&[]);
        let said = refusal(place.command_of(&place.path("elsewhere"), &[]));
        assert!(said.contains("a living view is mounted there"), "{said}");
        assert_eq!((place.mounts(), text(place.file("degraded")).as_str()), (1, "false"));
    });
}

#[test]
fn dead_view_is_detached_before_a_new_one() {
    isolated("dead_view_is_detached_before_a_new_one", || {
        let place = Place::new();
        let mut supervisor = place.start(&[]);
        let pid = place.worker_pid();
        supervisor.kill();
        kill(pid, Signal::KILL);
        until("the view is dead", || fs::read(place.file("hello")).is_err());
        let _supervisor = place.start(&[]);
        assert_eq!((place.mounts(), text(place.file("degraded")).as_str()), (1, "false"));
    });
}

#[test]
fn worker_that_fails_at_the_first_start_leaves_nothing_mounted() {
    isolated("worker_that_fails_at_the_first_start_leaves_nothing_mounted", || {
        let place = Place::new();
        fs::write(place.path("worker.behaviour"), "fail").unwrap();
        let said = refusal(place.command(&["--pressure"]));
        assert!(said.contains("no wish to"), "{said}");
        assert_eq!(place.mounts(), 0);
        assert!(!place.runtime_dir().exists(), "it was made for this start");
    });
}

#[test]
fn view_unmounted_by_somebody_else_ends_the_supervisor_with_one_line() {
    isolated("view_unmounted_by_somebody_else_ends_the_supervisor_with_one_line", || {
        let place = Place::new();
        let mut command = place.command(&["--pressure"]);
        let log = fs::File::create(place.path("log")).unwrap();
        command.stderr(log);
        let mut supervisor = Supervisor::spawn(command);
        until("it serves", || {
            place.try_status().is_some_and(|report| report["worker"].is_object())
        });
        let attached = || place.status()["connections"][1]["attached"] == true;
        until("the pressure files are there", attached);
        fs::write(place.path("log"), "").unwrap();
        fuse::unmount(&place.mountpoint()).unwrap();
        assert!(supervisor.end().success());
        let log = text(place.path("log"));
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("supervisor")).collect();
        assert!(lines.len() == 1 && lines[0].contains("somebody else has unmounted"), "{log}");
        assert_eq!(place.workers(), Vec::<u32>::new());
    });
}
