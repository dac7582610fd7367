//! Connections that break, and bytes that are not NRI.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Bench, container, pod};
use nri::fake::Form;

#[test]
fn a_runtime_that_starts_later_is_found() {
    let mut bench = Bench::without_runtime(Duration::from_millis(500));
    bench.wait_until("missing", |status| status.last_error.is_some());
    assert!(bench.handle.status().last_error.unwrap().contains("is the runtime running"));
    bench.start_runtime();
    bench.connect();
}

#[test]
fn a_runtime_that_starts_anew_is_found_at_its_new_socket() {
    let mut bench = Bench::new();
    for round in 1..=3 {
        let runtime = bench.connect();
        bench.recorder.wait_for("listing []", round);
        // A runtime that dies leaves its socket behind: refused, then replaced.
        bench.runtime = None;
        drop(runtime);
        bench.recorder.wait_for("disconnected: the runtime closed the connection", round);
        assert_eq!(bench.handle.status().runtime, None);
        bench.start_runtime();
    }
    assert_eq!(bench.handle.status().registrations, 3);
}

#[test]
fn a_socket_that_is_no_socket_is_tried_again() {
    let mut bench = Bench::without_runtime(Duration::from_millis(500));
    std::fs::write(&bench.socket, "").unwrap();
    bench.wait_until("refused", |status| {
        status.last_error.as_ref().is_some_and(|error| error.contains("refused"))
    });
    std::fs::remove_file(&bench.socket).unwrap();
    std::os::unix::fs::symlink(&bench.socket, &bench.socket).unwrap();
    bench.wait_until("a loop", |status| {
        status.last_error.as_ref().is_some_and(|error| error.contains("symbolic links"))
    });
    bench.start_runtime();
    bench.connect();
}

#[test]
fn resync_brings_the_listing_again() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    bench.recorder.wait_for("listing []", 1);
    bench.handle.resync();
    runtime.closed().unwrap();
    let mut runtime = bench.accept();
    runtime.register().unwrap();
    runtime.synchronize(&[pod("p")], &[container("a")]).unwrap();
    bench.recorder.wait_for("existing a done", 1);
    bench.recorder.wait_for("disconnected: asked to connect anew", 1);
}

#[test]
fn a_connection_cut_at_any_byte_is_made_again() {
    let whole = b"\0\0\0\x01\0\0\0\x0d\0\0\0\x03\0\0\0\x01\x01\0\x12\x01m";
    for length in 0..whole.len() {
        let bench = Bench::new();
        let mut runtime = bench.accept();
        runtime.register().unwrap();
        runtime.write(&whole[..length]).unwrap();
        drop(runtime);
        bench.connect();
    }
}

#[test]
fn bytes_that_are_not_nri_end_the_connection_and_nothing_else() {
    let garbage: [&[u8]; 6] = [
        // A frame of 4 GiB, one of a byte more than a message may have, a message of 4 GiB.
        b"\0\0\0\x01\xff\xff\xff\xff",
        b"\0\0\0\x01\0\x40\0\x0b",
        b"\0\0\0\x01\0\0\0\x0a\xff\xff\xff\xff\0\0\0\x01\x01\0",
        // A request and a response that are no protobuf.
        b"\0\0\0\x01\0\0\0\x0b\0\0\0\x01\0\0\0\x01\x01\0\xff",
        b"\0\0\0\x02\0\0\0\x0b\0\0\0\x01\0\0\0\x01\x02\0\xff",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    for bytes in garbage {
        let bench = Bench::new();
        let mut runtime = bench.accept();
        runtime.write(bytes).unwrap();
        runtime.closed().unwrap();
        let error = bench.handle.status().last_error;
        assert!(error.as_ref().unwrap().contains("does not speak NRI"), "{bytes:?}: {error:?}");
        bench.connect();
    }
}

#[test]
fn what_is_meant_for_nobody_is_dropped() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    // Another stream; an empty frame; on ours: data, a response, the answer to a call never made.
    runtime.write(b"\0\0\0\x63\0\0\0\x03abc").unwrap();
    runtime.write(b"\0\0\0\x01\0\0\0\0").unwrap();
    runtime.write(b"\0\0\0\x01\0\0\0\x0b\0\0\0\x01\0\0\0\x01\x03\0x").unwrap();
    runtime.write(b"\0\0\0\x01\0\0\0\x0a\0\0\0\0\0\0\0\x01\x02\0").unwrap();
    runtime.write(b"\0\0\0\x02\0\0\0\x0a\0\0\0\0\0\0\0\x09\x02\0").unwrap();
    runtime.start_container(Form::Rpc, &pod("p"), &container("a")).unwrap();
    bench.recorder.wait_for("start a done", 1);
    assert_eq!(bench.handle.status().registrations, 1);
}

#[test]
fn messages_of_all_lengths_arrive_however_they_are_framed() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    for length in [4095, 4096, 4097, 8192, 18_545, 4_000_000] {
        let mut pod = pod("p");
        pod.annotations.insert("long".to_owned(), "x".repeat(length));
        let id = length.to_string();
        runtime.start_container(Form::StateChange, &pod, &container(&id)).unwrap();
        bench.recorder.wait_for(&format!("start {id} done"), 1);
        assert_eq!(bench.recorder.target(&id).pod.annotations["long"].len(), length);
    }
}

#[test]
fn shutdown_is_answered_and_the_plugin_comes_back() {
    let bench = Bench::new();
    let mut runtime = bench.connect();
    assert_eq!(runtime.call("Shutdown", b"").unwrap().code, 0);
    drop(runtime);
    bench.connect();
}

#[test]
fn stop_ends_everything_also_where_the_runtime_says_nothing() {
    let bench = Bench::new();
    let mut silent = bench.accept();
    silent.registration().unwrap();
    bench.handle.stop();
    silent.closed().unwrap();
    // `serve` has returned: the bench waits for it.
    drop(bench);
}
