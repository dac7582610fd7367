//! The container tree.

mod content;
mod ends;
mod fresh;
mod mounted;

use std::time::Duration;

/// After this time, nothing that was true before is shown any more. Whoever has read something knows
/// that the kernel had it by then, so no load on the machine can make it longer.
const TWO_TICKS: Duration = Duration::from_millis(20);

fn limit(mebibytes: u64) -> u64 {
    mebibytes << 20
}

fn total(mebibytes: u64) -> String {
    format!("MemTotal:       {:8} kB\n", mebibytes << 10)
}

/// Waits until `condition` holds; gives up after what is long on any machine.
#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(7));
    }
    panic!("never: {what}");
}
