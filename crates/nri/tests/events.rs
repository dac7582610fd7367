//! Containers that come and go: what the plugin is told, and what the runtime is answered.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, container, pod};
use nri::fake::Form;

/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(600);

#[test]
fn a_container_starts_in_both_forms() {
    let bench = Bench::with(NEVER);
    let mut runtime = bench.connect();
    for (form, id) in [(Form::Rpc, "rpc"), (Form::StateChange, "change")] {
        runtime.start_container(form, &pod("p"), &container(id)).unwrap();
        let done = format!("start {id} done");
        assert!(bench.recorder.told().contains(&done), "{form:?}: answered before it was done");
        runtime.stop_container(&pod("p"), &container(id)).unwrap();
        runtime.remove_container(form, &pod("p"), &container(id)).unwrap();
        bench.recorder.wait_for(&format!("remove {id} done"), 1);
        let target = bench.recorder.target(id);
        assert_eq!((target.container.pid, target.pod.name.as_str()), (42, "web"));
        assert_eq!(target.pod.annotations["resview.dev/view"], "on");
        assert_eq!(target.runtime.name, "fake");
    }
    assert_eq!(bench.handle.status().events, 6);
}

#[test]
fn a_method_that_is_not_known_gets_code_12_so_that_the_runtime_uses_the_older_form() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    for method in ["PostStartContainer", "ValidateContainerAdjustment", "", "startcontainer"] {
        assert_eq!(runtime.call(method, b"").unwrap().code, 12, "{method}");
    }
    let call = runtime.begin_of("nri.pkg.api.v2.Plugin", "Configure", b"", NEVER).unwrap();
    assert_eq!(runtime.answer(call).unwrap().code, 12);
    runtime.start_container(Form::StateChange, &pod("p"), &container("a")).unwrap();
}

#[test]
fn no_answer_is_ever_an_error_whatever_the_message() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    let methods = ["StartContainer", "StopContainer", "RemoveContainer", "StateChange"];
    let others = ["CreateContainer", "UpdateContainer", "Shutdown", "Configure", "Synchronize"];
    // Nothing at all; field 1 of length 255, which is not there; a field of a group; bad UTF-8.
    let messages = [&b""[..], b"\x0a\xff\x01", b"\x0b", b"\x08\x06\x1a\x03\x0a\x01\xff"];
    for method in methods.iter().chain(&others) {
        for message in messages {
            let answer = runtime.call(method, message).unwrap();
            assert_eq!(answer.code, 0, "{method} {message:?}");
        }
    }
    assert!(!bench.recorder.told().iter().any(|told| told.starts_with("start")));
    runtime.start_container(Form::Rpc, &pod("p"), &container("a")).unwrap();
}

#[test]
fn create_container_is_answered_without_an_adjustment() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    let answer = runtime.call("CreateContainer", b"\x12\x03\x0a\x01a").unwrap();
    assert_eq!((answer.code, answer.payload.as_slice()), (0, &b""[..]));
    assert_eq!(bench.recorder.told(), ["listing []"]);
}

#[test]
fn fields_and_events_that_are_not_known_are_skipped() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    // StateChange {1: 6, 2: {}, 3: {1: "a", 12: 7, 99: "x"}, 77: 1}.
    let message = b"\x08\x06\x12\x00\x1a\x09\x0a\x01a\x60\x07\x9a\x06\x01x\xe8\x04\x01";
    assert_eq!(runtime.call("StateChange", message).unwrap().code, 0);
    bench.recorder.wait_for("start a done", 1);
    assert_eq!(bench.recorder.target("a").container.pid, 7);
    for event in [0, 1, 2, 3, 7, 9, 12, 127] {
        let message = [0x08, event, 0x1a, 0x03, 0x0a, 0x01, b'b'];
        assert_eq!(runtime.call("StateChange", &message).unwrap().code, 0);
    }
    assert!(!bench.recorder.told().iter().any(|told| told.contains(" b")));
}

#[test]
fn a_container_without_its_pod_still_has_the_pods_id() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    // {2: {1: "a", 2: "p"}}.
    runtime.call("StartContainer", b"\x12\x06\x0a\x01a\x12\x01p").unwrap();
    bench.recorder.wait_for("start a done", 1);
    assert_eq!(bench.recorder.target("a").pod.id, "p");
}

#[test]
fn a_method_that_hangs_is_answered_for_and_goes_on() {
    let bench = Bench::with(Duration::from_millis(50));
    let mut runtime = bench.connect();
    bench.recorder.hold("slow");
    runtime.start_container(Form::Rpc, &pod("p"), &container("slow")).unwrap();
    assert!(!bench.recorder.told().contains(&"start slow done".to_owned()));
    bench.recorder.release("slow");
    bench.recorder.wait_for("start slow done", 1);
    bench.wait_until("counted as late", |status| status.late == 1);
}

#[test]
fn a_method_that_hangs_does_not_delay_other_containers() {
    let bench = Bench::with(NEVER);
    let mut runtime = bench.connect();
    bench.recorder.hold("slow");
    // {1: {}, 2: {1: "slow"}}.
    let slow = runtime.begin("StartContainer", b"\x0a\x00\x12\x06\x0a\x04slow").unwrap();
    bench.recorder.wait_for("start slow", 1);
    for number in 0..50 {
        runtime
            .start_container(Form::StateChange, &pod("p"), &container(&format!("c{number}")))
            .unwrap();
    }
    bench.recorder.release("slow");
    assert_eq!(runtime.answer(slow).unwrap().code, 0);
}

#[test]
fn what_happens_to_one_container_stays_in_order_behind_a_slow_start() {
    let bench = Bench::with(Duration::from_millis(50));
    let mut runtime = bench.connect();
    bench.recorder.hold("a");
    runtime.start_container(Form::Rpc, &pod("p"), &container("a")).unwrap();
    // These are answered at once: nobody waits for the end of a container's life.
    runtime.stop_container(&pod("p"), &container("a")).unwrap();
    runtime.remove_container(Form::Rpc, &pod("p"), &container("a")).unwrap();
    bench.recorder.release("a");
    bench.recorder.wait_for("remove a done", 1);
    let of_a = ["start a", "start a done", "stop a", "stop a done", "remove a", "remove a done"];
    assert_eq!(bench.recorder.told()[1..], of_a);
}

#[test]
fn a_runtime_that_waits_less_is_answered_sooner() {
    let bench = Bench::with(NEVER);
    bench.recorder.hold("a");
    let mut runtime = bench.accept();
    let (call, ..) = runtime.registration().unwrap();
    runtime.accept_registration(call).unwrap();
    // By the time that a single call has.
    runtime.configure(NEVER).unwrap();
    runtime.synchronize(&[], &[]).unwrap();
    let message = b"\x12\x03\x0a\x01a";
    let service = "nri.pkg.api.v1alpha1.Plugin";
    let timeout = Duration::from_millis(200);
    let call = runtime.begin_of(service, "StartContainer", message, timeout).unwrap();
    assert_eq!(runtime.answer(call).unwrap().code, 0);
    // By the time that the configuration grants.
    runtime.configure(timeout).unwrap();
    let call = runtime.begin("StartContainer", message).unwrap();
    assert_eq!(runtime.answer(call).unwrap().code, 0);
    bench.recorder.release("a");
}

#[test]
fn a_method_that_panics_does_not_refuse_the_container() {
    let bench = Bench::with(NEVER);
    let mut runtime = bench.connect();
    bench.recorder.panic_at("bad");
    runtime.start_container(Form::Rpc, &pod("p"), &container("bad")).unwrap();
    runtime.start_container(Form::Rpc, &pod("p"), &container("good")).unwrap();
    bench.recorder.wait_for("start good done", 1);
}

#[test]
fn a_plugin_that_panics_when_the_connection_ends_is_connected_again() {
    let bench = Bench::new();
    bench.recorder.panic_at("the connection");
    drop(bench.connect());
    drop(bench.connect());
    bench.connect();
}

#[test]
fn events_beyond_all_bounds_are_asked_for_again() {
    let bench = Bench::with(Duration::from_millis(1));
    let mut runtime = bench.connect();
    // Containers that hang until no thread is left, and then more than may wait.
    for number in 0..32 {
        let id = format!("h{number}");
        bench.recorder.hold(&id);
        runtime.start_container(Form::Rpc, &pod("p"), &container(&id)).unwrap();
    }
    for _ in 0..41 {
        let begin = |_| runtime.begin("StartContainer", b"\x12\x03\x0a\x01x").unwrap();
        let calls: Vec<u32> = (0..100).map(begin).collect();
        for call in calls {
            assert_eq!(runtime.answer(call).unwrap().code, 0);
        }
    }
    assert!(bench.handle.status().dropped > 0);
    for number in 0..32 {
        bench.recorder.release(&format!("h{number}"));
    }
    runtime.closed().unwrap();
    let mut runtime = bench.connect();
    assert!(bench.handle.status().last_error.unwrap().contains("events were dropped"));
    runtime.start_container(Form::Rpc, &pod("p"), &container("after")).unwrap();
    bench.recorder.wait_for("start after done", 1);
}

#[test]
fn a_runtime_that_does_not_read_its_answers_stops_nothing() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    // More answers than a socket holds, with no timed assertion: only that both sides survive.
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if runtime.begin("NoSuchMethod", b"").is_err() {
            break;
        }
    }
    assert!(Instant::now() < until, "the connection was never given up");
    bench.connect();
}
