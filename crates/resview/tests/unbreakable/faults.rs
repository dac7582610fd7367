//! The worker does not die but misbehaves.

use rustix::process::Signal;

use crate::common::eventually;
use crate::support::{Daemon, LONG, assert_container_good, assert_good, can_serve, faulty, kill};

/// A daemon whose workers take orders, with readers; `misbehave` has to make it replace its worker.
fn readers_survive(options: &[&str], misbehave: impl FnOnce(&Daemon, u32)) {
    let options = [&["--log", "error"], options].concat();
    let daemon = Daemon::start_program(&faulty(), &options);
    let container = daemon.container();
    let reader = daemon.host_reader();
    let worker = daemon.worker().unwrap();
    misbehave(&daemon, worker);
    eventually("the worker is replaced", || daemon.worker().is_some_and(|pid| pid != worker));
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
    assert_container_good(&container.end());
}

fn order(fault: &'static str) -> impl FnOnce(&Daemon, u32) {
    move |daemon, worker| daemon.order(&format!("{fault} {worker}"))
}

#[test]
fn a_stopped_worker_is_replaced() {
    if can_serve("a_stopped_worker_is_replaced") {
        readers_survive(&[], |_, worker| kill(worker, Signal::STOP));
    }
}

#[test]
fn a_looping_worker_is_replaced() {
    if can_serve("a_looping_worker_is_replaced") {
        readers_survive(&[], order("loop"));
    }
}

#[test]
fn a_worker_in_a_deadlock_is_replaced() {
    if can_serve("a_worker_in_a_deadlock_is_replaced") {
        readers_survive(&[], order("deadlock"));
    }
}

#[test]
fn a_worker_that_aborts_is_replaced() {
    if can_serve("a_worker_that_aborts_is_replaced") {
        readers_survive(&[], order("abort"));
    }
}

#[test]
fn a_leaking_worker_meets_its_limit_and_is_replaced() {
    if can_serve("a_leaking_worker_meets_its_limit_and_is_replaced") {
        readers_survive(&["--memory-limit", "128m"], order("leak"));
    }
}

#[test]
fn a_panic_costs_its_own_request_an_error_and_no_other() {
    if !can_serve("a_panic_costs_its_own_request_an_error_and_no_other") {
        return;
    }
    let daemon = Daemon::start_program(&faulty(), &["--log", "off"]);
    let container = daemon.container();
    let worker = daemon.worker().unwrap();
    let uptime = crate::common::seen_by(daemon.witness(), &daemon.mountpoint).join("proc/uptime");
    daemon.order("panic proc/uptime");
    let error = std::fs::read(&uptime).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    daemon.order("");
    assert!(std::fs::read(&uptime).is_ok());
    assert_eq!(daemon.worker(), Some(worker), "the worker lives");
    // The container read uptime too, and met the panic; nothing else failed there.
    let report = container.end();
    let samples = report["samples"].as_object().unwrap();
    assert!(samples.keys().all(|sample| sample.contains("uptime")), "{report:#}");
}
