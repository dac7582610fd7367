//! When no process is left at all.

use std::process::Command;

use rustix::process::Signal;

use crate::common::{Running, eventually, seen_by};
use crate::support::{Daemon, can_serve, kill};

/// A mount namespace with a slot bound over a file, as a container engine does with `rslave`.
fn container(daemon: &Daemon) -> Running {
    let slot = daemon.path("run/slots/proc/meminfo");
    let target = daemon.path("meminfo");
    std::fs::write(&target, "").unwrap();
    let script = format!(
        "mount --bind {0} {1} && mount --make-rslave {1} && echo ready && exec sleep 600",
        slot.display(),
        target.display()
    );
    let mut command = Command::new("nsenter");
    command.args(["-t", &daemon.witness().to_string(), "-m"]);
    command.args(["unshare", "-m", "--propagation", "slave", "sh", "-c", &script]);
    let mut container = Running::start(&mut command);
    container.wait_for("ready");
    container
}

#[test]
fn slots_show_the_hosts_file_when_nobody_is_left_and_the_view_when_somebody_is_back() {
    if !can_serve(
        "slots_show_the_hosts_file_when_nobody_is_left_and_the_view_when_somebody_is_back",
    ) {
        return;
    }
    let options = ["--log", "error", "--slots"];
    let mut daemon = Daemon::start(&options);
    let shown = |daemon: &Daemon, what: &str| {
        let report = daemon.command(&["status", "--json"]).stdout;
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        report["slots"][what].as_u64().unwrap()
    };
    eventually("the slots are laid", || shown(&daemon, "view") > 10);
    let container = container(&daemon);
    let target = daemon.path("meminfo");
    let fs_type = |container: &Running| {
        crate::common::mounted(container.pid(), &target).map(|(kind, _)| kind)
    };
    assert_eq!(fs_type(&container).as_deref(), Some("fuse.resview"));
    for _ in 0..2 {
        let worker = daemon.worker().unwrap();
        daemon.running.signal(Signal::KILL);
        kill(worker, Signal::KILL);
        eventually("the host's file shows", || shown(&daemon, "view") == 0);
        let meminfo = seen_by(container.pid(), &target);
        assert!(std::fs::read_to_string(&meminfo).unwrap().starts_with("MemTotal:"));
        assert_eq!(fs_type(&container).as_deref(), Some("proc"));
        daemon.start_again(&options);
        eventually("the view shows", || shown(&daemon, "host") == 0);
        assert_eq!(fs_type(&container).as_deref(), Some("fuse.resview"));
        assert!(std::fs::read_to_string(&meminfo).unwrap().starts_with("MemTotal:"));
    }
}
