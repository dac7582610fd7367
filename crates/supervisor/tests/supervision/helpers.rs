//! Processes beside the worker.

use std::fs;

use control::{Degraded, Recovery};
use rustix::process::Signal;
use supervisor::{CommandLine, Config, Helper, OnStop, View};

use crate::common;
use crate::common::{Place, Supervisor, isolated, kill, until};

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
    command.args(["--ignored", "--exact", "helpers::supervisor_with_helpers", "--nocapture", "-q"]);
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
            transport: supervisor::Transport::Device,
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
