//! The program's own text. Starting runs most of it, and a process that waits runs little; yet what was
//! run once stays mapped, with all that lies around it in the page cache, and counts as the process's
//! memory (RSS) until the machine is short of it.

#![allow(unsafe_code, reason = "madvise(2) on the program's own text")]

use std::ffi::c_void;
use std::thread;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

unsafe extern "C" {
    /// Where the linker begins the program: on a page.
    static __executable_start: u8;
    /// Where the text ends. All that the loader changes lies behind it.
    static etext: u8;
}

/// How long after its start a process has come to rest.
const STARTED: Duration = Duration::from_secs(4);

/// Unmaps the text of this program from this process, once that has come to rest; returns at once.
pub fn unmap_text_soon() {
    let unmap = || {
        thread::sleep(STARTED);
        unmap_text();
    };
    if let Err(error) = thread::Builder::new().name("unmap-text".to_owned()).spawn(unmap) {
        tracing::debug!(%error, "the program's text stays mapped, for want of a thread");
    }
}

/// Unmaps the text of this program from this process. What is run again is mapped again, at a page
/// fault each.
pub(crate) fn unmap_text() {
    let (start, end) = (&raw const __executable_start, &raw const etext);
    let page = rustix::param::page_size();
    let bytes = end.addr().saturating_sub(start.addr()) / page * page;
    // SAFETY: between the two symbols the program is as it is in its file: read-only and never changed
    // since. So what is unmapped comes back the same at the next touch, by whichever thread.
    let unmapped =
        unsafe { madvise(start.cast_mut().cast::<c_void>(), bytes, Advice::LinuxDontNeed) };
    if let Err(error) = unmapped {
        tracing::debug!(%error, "the program's text stays mapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of this program is mapped that can be run, in KiB.
    fn mapped_text() -> u64 {
        let own = std::env::current_exe().unwrap().display().to_string();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines();
        let mut all = 0;
        while let Some(line) = lines.next() {
            if line.contains(" r-xp ") && line.ends_with(&own) {
                let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
                all += rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
            }
        }
        all
    }

    #[test]
    fn what_was_run_once_is_unmapped_and_runs_again() {
        let before = mapped_text();
        unmap_text();
        let after = mapped_text();
        assert!(after < before, "{before} KiB before, {after} KiB after");
    }
}
