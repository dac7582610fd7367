//! A container that asks without end waits for itself, and the others not for it.

use std::time::Instant;

use testkit::TestCgroup;

use crate::clients::{Client, hammer};
use crate::support::{Daemon, can_serve};

const THREADS: u32 = 200;

/// How many of the neighbour's reads are waited for: enough to be more than chance.
const READS: u64 = 300;

fn count(hammer: &mut Client) -> u64 {
    hammer.ask("count").parse().unwrap()
}

/// Waits until `more` reads have been made.
fn wait_for(hammer: &mut Client, more: u64) {
    let wanted = count(hammer) + more;
    let begin = Instant::now();
    while count(hammer) < wanted {
        assert!(begin.elapsed() < 2 * crate::support::LONG, "the reads do not get on");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn hundreds_of_threads_slow_themselves_and_not_the_neighbour() {
    if !can_serve("hundreds_of_threads_slow_themselves_and_not_the_neighbour") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    let cgroups = ["neighbours-loud", "neighbours-quiet"].map(TestCgroup::new);
    let mut loud = hammer(&daemon, THREADS, "proc/meminfo", &cgroups[0]);
    let mut quiet = hammer(&daemon, 1, "proc/meminfo", &cgroups[1]);
    // Every thread has asked once, and is known.
    wait_for(&mut loud, u64::from(2 * THREADS));
    let (loud_before, quiet_before) = (count(&mut loud), count(&mut quiet));
    wait_for(&mut quiet, READS);
    let quiet_reads = count(&mut quiet) - quiet_before;
    let loud_reads = count(&mut loud) - loud_before;
    testkit::figures(
        "hundreds_of_threads_slow_themselves_and_not_the_neighbour",
        &format!("{loud_reads} reads by {THREADS} threads, {quiet_reads} by the neighbour's one"),
    );
    // In turn with the threads it would be one in 200.
    assert!(quiet_reads >= loud_reads / 20, "{quiet_reads} of {loud_reads}");
}

#[test]
fn requests_per_second_are_bounded_per_container() {
    if !can_serve("requests_per_second_are_bounded_per_container") {
        return;
    }
    const PER_SECOND: u64 = 60;
    let daemon = Daemon::start(&["--log", "error", "--requests-per-second", "60"]);
    let cgroups = ["neighbours-bound", "neighbours-other"].map(TestCgroup::new);
    let mut loud = hammer(&daemon, THREADS, "proc/uptime", &cgroups[0]);
    wait_for(&mut loud, u64::from(THREADS));
    let (begin, before) = (Instant::now(), count(&mut loud));
    wait_for(&mut loud, PER_SECOND);
    let mut other = hammer(&daemon, 1, "proc/uptime", &cgroups[1]);
    wait_for(&mut other, 10);
    let reads = count(&mut loud) - before;
    // A read is two requests at least, and an open is one; it may have saved up a second's worth.
    let most = PER_SECOND * (begin.elapsed().as_secs() + 3) / 2;
    assert!(reads <= most, "{reads} reads, and {most} at most");
    assert!(daemon.worker().is_some());
}
