//! From the connection to the listing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Bench, container, pod};

#[test]
fn a_plugin_registers_with_its_name_and_index() {
    let bench = Bench::new();
    let mut runtime = bench.accept();
    let (call, name, index) = runtime.registration().unwrap();
    assert_eq!((name.as_str(), index.as_str()), ("resview", "90"));
    runtime.accept_registration(call).unwrap();
    let events = runtime.configure(Duration::from_secs(2)).unwrap();
    assert_eq!(events, 0x628, "no event that a runtime does not know, and never all");
    runtime.synchronize(&[], &[]).unwrap();
    bench.wait_until("synchronized", |status| status.synchronized);
    let status = bench.handle.status();
    let runtime = status.runtime.unwrap();
    assert_eq!((runtime.name.as_str(), runtime.version.as_str()), ("fake", "1.0"));
    assert_eq!(status.registrations, 1);
}

#[test]
fn configure_may_come_before_the_answer_to_the_registration() {
    let bench = Bench::new();
    let mut runtime = bench.accept();
    assert_eq!(runtime.configure(Duration::from_secs(2)).unwrap(), 0x628);
    let (call, ..) = runtime.registration().unwrap();
    runtime.accept_registration(call).unwrap();
    runtime.synchronize(&[], &[]).unwrap();
    bench.recorder.wait_for("listing []", 1);
}

#[test]
fn a_refused_registration_is_tried_again() {
    let bench = Bench::new();
    let mut runtime = bench.accept();
    let (call, ..) = runtime.registration().unwrap();
    runtime.refuse_registration(call, 2, "invalid plugin events").unwrap();
    runtime.closed().unwrap();
    bench.wait_until("refused", |status| {
        status.last_error.as_ref().is_some_and(|error| error.contains("invalid plugin events"))
    });
    bench.connect();
}

#[test]
fn what_already_runs_is_told_one_by_one_and_as_a_whole() {
    let bench = Bench::new();
    let mut runtime = bench.accept();
    runtime.register().unwrap();
    runtime.synchronize(&[pod("p")], &[container("a"), container("b")]).unwrap();
    bench.recorder.wait_for("listing [a b]", 1);
    bench.recorder.wait_for("existing a done", 1);
    bench.recorder.wait_for("existing b done", 1);
    let target = bench.recorder.target("b");
    assert_eq!(target.pod.name, "web");
    assert_eq!(target.container.pid, 42);
    assert_eq!(target.container.namespace("pid").unwrap().path, "/proc/41/ns/pid");
    assert_eq!(target.container.namespace("user"), None);
    assert!(!bench.recorder.truncated());
}

#[test]
fn a_listing_in_parts_is_one_listing() {
    let bench = Bench::new();
    let mut runtime = bench.accept();
    runtime.register().unwrap();
    let part = |ids: &[&str]| ids.iter().map(|id| container(id)).collect::<Vec<_>>();
    assert!(runtime.synchronize_part(&[], &part(&["a"]), true).unwrap(), "`more` is echoed");
    assert!(runtime.synchronize_part(&[], &part(&["b"]), true).unwrap());
    assert!(bench.recorder.told().is_empty(), "nothing is known before it is complete");
    assert!(!runtime.synchronize_part(&[pod("p")], &part(&["c"]), false).unwrap());
    bench.recorder.wait_for("listing [a b c]", 1);
    bench.recorder.wait_for("existing a done", 1);
    assert_eq!(bench.recorder.target("a").pod.namespace, "shop", "pods may come last");
}

#[test]
fn a_part_that_cannot_be_understood_makes_the_listing_incomplete_and_nothing_worse() {
    let bench = Bench::new();
    let mut runtime = bench.accept();
    runtime.register().unwrap();
    // Field 2, a container, whose id (field 1) is no UTF-8; and `more`.
    let answer = runtime.call("Synchronize", b"\x12\x03\x0a\x01\xff\x18\x01").unwrap();
    assert_eq!((answer.code, answer.payload.as_slice()), (0, &b"\x10\x01"[..]));
    runtime.synchronize(&[], &[container("a")]).unwrap();
    bench.recorder.wait_for("listing [a]", 1);
    assert!(bench.recorder.truncated());
}

#[test]
fn a_slow_listing_does_not_lose_the_connection() {
    let bench = Bench::with(Duration::from_millis(50));
    bench.recorder.hold("listing");
    bench.recorder.hold("a");
    let mut runtime = bench.accept();
    runtime.register().unwrap();
    runtime.synchronize(&[pod("p")], &[container("a")]).unwrap();
    assert!(!bench.handle.status().synchronized);
    bench.recorder.release("listing");
    bench.wait_until("synchronized", |status| status.synchronized);
    bench.recorder.release("a");
    bench.recorder.wait_for("existing a done", 1);
}
