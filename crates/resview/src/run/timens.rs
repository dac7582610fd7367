//! The time namespace: clocks that start when the container does, so that `uptime`, `ps -o etime`
//! and `sysinfo(2)` agree. Source: time_namespaces(7).

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use rustix::time::{ClockId, clock_gettime};

/// `CLONE_NEWTIME`, which `nix` does not name. Linux 5.6.
const NEWTIME: CloneFlags = CloneFlags::from_bits_retain(nix::libc::CLONE_NEWTIME);

/// The container's clocks start this far above zero. The coarse clocks lag a tick (at most 10 ms)
/// behind, and none may be below zero when the first process starts.
const MARGIN: i128 = 100_000_000;

const NANOS: i128 = 1_000_000_000;

/// Gives the children of this process a time namespace whose monotonic and boot-time clocks begin
/// near zero. `false`: this kernel has none.
///
/// # Errors
/// The kernel has time namespaces and refuses the offsets.
pub(super) fn enter() -> anyhow::Result<bool> {
    if !std::path::Path::new("/proc/self/ns/time").exists() || unshare(NEWTIME).is_err() {
        return Ok(false);
    }
    std::fs::write("/proc/self/timens_offsets", offsets())
        .context("cannot set /proc/self/timens_offsets")?;
    Ok(true)
}

/// Both clocks are set: with boot time alone it would run behind the monotonic clock, which no
/// machine shows. Monotonic is read first, so that it does not come out ahead either.
fn offsets() -> String {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let boottime = clock_gettime(ClockId::Boottime);
    let line = |name, now: rustix::time::Timespec| {
        let nanos = MARGIN - (i128::from(now.tv_sec) * NANOS + i128::from(now.tv_nsec));
        // The kernel wants the nanoseconds positive.
        format!("{name} {} {}\n", nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS))
    };
    line("monotonic", monotonic) + &line("boottime", boottime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_take_the_clocks_back_to_the_margin() {
        let before = clock_gettime(ClockId::Monotonic);
        let text = offsets();
        let after = clock_gettime(ClockId::Boottime);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        for (line, name) in lines.iter().zip(["monotonic", "boottime"]) {
            assert_eq!(line[0], name);
            let nanos: i128 = line[2].parse().unwrap();
            assert!((0..NANOS).contains(&nanos), "{text}");
            let offset = line[1].parse::<i128>().unwrap() * NANOS + nanos;
            let start = |time: rustix::time::Timespec| {
                i128::from(time.tv_sec) * NANOS + i128::from(time.tv_nsec) + offset
            };
            assert!(start(before) <= MARGIN && MARGIN <= start(after), "{text}");
        }
    }
}
