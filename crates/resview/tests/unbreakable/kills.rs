//! The worker is killed, again and again, while everybody reads.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::eventually;
use crate::support::{Daemon, LONG, assert_container_good, assert_good, can_serve, kill};

const KILLS: u32 = 200;

/// Times between kills that are no multiple of anything: 0 to 60 ms, the same in every run.
fn pause(kill: u32) -> Duration {
    Duration::from_millis(u64::from(kill.wrapping_mul(2_654_435_761) >> 16) % 61)
}

fn readers_survive(in_flight: &str) {
    let daemon = Daemon::start(&["--in-flight", in_flight, "--log", "error"]);
    let containers = [daemon.container(), daemon.container()];
    let reader = daemon.host_reader();
    let mut last = 0;
    for number in 0..KILLS {
        let mut worker = None;
        eventually("there is another worker", || {
            worker = daemon.worker().filter(|pid| *pid != last);
            worker.is_some()
        });
        last = worker.unwrap();
        std::thread::sleep(pause(number));
        kill(last, Signal::KILL);
    }
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
    for container in containers {
        assert_container_good(&container.end());
    }
}

#[test]
fn two_hundred_killed_workers_are_not_noticed_with_requests_sent_again() {
    if can_serve("two_hundred_killed_workers_are_not_noticed_with_requests_sent_again") {
        readers_survive("resend");
    }
}

#[test]
fn two_hundred_killed_workers_are_not_noticed_with_the_journal_alone() {
    if can_serve("two_hundred_killed_workers_are_not_noticed_with_the_journal_alone") {
        readers_survive("journal");
    }
}
