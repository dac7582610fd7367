//! Supervisors and workers as processes, with readers that must not notice anything.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use common::reader::Reader;
use common::{Place, Supervisor, isolated, kill, refusal, until};
use control::{Answer, Degraded, Recovery, Request, socket_path};
use rustix::mount::mount_bind;
use rustix::net::SendFlags;
use rustix::process::Signal;
use supervisor::{CommandLine, Config, Helper, OnStop, View};

#[test]
#[ignore = "the process that serves in the other tests"]
fn worker() {
    common::worker::main();
}

fn text(path: std::path::PathBuf) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

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

#[test]
fn control_socket_survives_garbage_and_visitors_that_stay() {
    isolated("control_socket_survives_garbage_and_visitors_that_stay", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let silent: Vec<_> = (0..20).map(|_| place.client()).collect();
        for garbage in [&b"{"[..], b"\xff\0", &[b'['; 90 << 10], b"{\"protocol\":2}"] {
            let channel = place.client().into_channel();
            rustix::net::send(&channel, garbage, SendFlags::NOSIGNAL).unwrap();
            let answer: Answer = channel.receive(Some(common::HANG)).unwrap();
            let Answer::Refused { why } = answer else { panic!("{answer:?}") };
            assert!(why.contains("message") || why.contains("protocol 2"), "{why}");
        }
        let refused = place.client().ask(&Request::Release, common::HANG).unwrap_err();
        assert!(refused.to_string().contains("take over first"), "{refused}");
        assert_eq!(place.status()["worker"]["serving"], true);
        drop(silent);
    });
}

#[test]
fn control_socket_is_for_root_only() {
    isolated("control_socket_is_for_root_only", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let socket = socket_path(&place.runtime_dir());
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        // Were the modes ever loosened, the peer's credentials would still count.
        for path in [place.path("."), place.runtime_dir(), socket] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let visitor = |uid| {
            let mut command = std::process::Command::new(place.path("worker"));
            command.args(["--ignored", "--exact", "visitor", "--nocapture", "-q"]);
            let runtime_dir = place.runtime_dir();
            command.uid(uid).env("RESVIEW_TEST_VISIT", runtime_dir).output().unwrap()
        };
        let output = |uid| String::from_utf8_lossy(&visitor(uid).stdout).into_owned();
        assert!(output(65534).contains("Closed"), "{}", output(65534));
        assert!(output(0).contains("\"pid\""), "{}", output(0));
    });
}

#[test]
#[ignore = "the process that visits in another test"]
fn visitor() {
    let Some(runtime_dir) = std::env::var_os("RESVIEW_TEST_VISIT") else { return };
    match control::Client::connect(runtime_dir.as_ref()).unwrap().status(common::HANG) {
        Ok(report) => println!("{report}"),
        Err(error) => println!("{error:?}"),
    }
}

/// Two supervisors, one after the other: each has an agent of its own, and they share a guard.
#[test]
fn helpers_run_while_the_view_does_and_end_with_it() {
    isolated("helpers_run_while_the_view_does_and_end_with_it", || {
        let place = Place::new();
        let lines = |name: &str| {
            let text = fs::read_to_string(place.path(name)).unwrap_or_default();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut first = start_with_helpers(&place);
        until("both run", || (lines("agent").len(), lines("guard").len()) == (1, 1));
        kill(lines("agent")[0].parse().unwrap(), Signal::KILL);
        until("another agent", || lines("agent").len() == 2);
        let _second = start_with_helpers(&place);
        assert!(first.end().success());
        until("the agent of the first was told", || lines("agent.told").len() == 1);
        until("another agent", || lines("agent").len() == 3);
        place.stop(true);
        until("the last agent was told", || lines("agent.told").len() == 2);
        until("the guard notices", || lines("guard.ended").len() == 1);
        assert_eq!((lines("guard").len(), lines("guard.told").len()), (1, 0));
    });
}

fn start_with_helpers(place: &Place) -> Supervisor {
    let mut command = std::process::Command::new(place.path("worker"));
    command.args(["--ignored", "--exact", "supervisor_with_helpers", "--nocapture", "-q"]);
    command.env(common::worker::PLACE, place.path("."));
    let supervisor = Supervisor::spawn(command);
    until("it serves", || {
        place.try_status().is_some_and(|report| {
            let supervisor_of = &report["supervisor"];
            supervisor_of["pid"] == supervisor.pid() && supervisor_of["worker"]["serving"] == true
        })
    });
    supervisor
}

#[test]
#[ignore = "the process that supervises in another test"]
fn supervisor_with_helpers() {
    let Some(place) = std::env::var_os(common::worker::PLACE).map(std::path::PathBuf::from) else {
        return; // somebody runs all ignored tests
    };
    let helper = |name: &str, outlives| {
        let script = format!(
            "cd {}; trap 'echo yes >> {name}.told; exit' TERM; echo $$ >> {name}; read line; \
             echo yes >> {name}.ended",
            place.display()
        );
        let arguments = vec!["-c".into(), script.into()];
        Helper { command: CommandLine { program: "/bin/sh".into(), arguments }, outlives }
    };
    let arguments = common::worker::ARGUMENTS.map(Into::into).to_vec();
    let config = Config {
        view: View {
            connections: View::usual(&place.canonicalize().unwrap().join("mnt"), false),
            runtime_dir: place.join("run"),
            subtype: "resview".to_owned(),
            probe: CommandLine { program: "/bin/false".into(), arguments: Vec::new() },
            before_mount: None,
        },
        worker: CommandLine { program: place.join("worker"), arguments },
        helpers: vec![helper("guard", true), helper("agent", false)],
        watchdog: Config::WATCHDOG,
        recovery: Recovery::Both,
        when_failing: Degraded::Last,
        on_stop: OnStop::Unmount,
        usr2_switches: false,
    };
    supervisor::run(config).unwrap();
}
