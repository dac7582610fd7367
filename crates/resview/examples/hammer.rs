//! Reads a file from many threads without a pause, for the tests of what that does to others.
//!
//! `hammer THREADS PATH` prints, for each line of its standard input, how often it has opened and
//! read the file so far.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::stdin;
use std::sync::atomic::{AtomicU64, Ordering};

static READS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut words = std::env::args().skip(1);
    let threads: usize = words.next().unwrap().parse().unwrap();
    let path = words.next().unwrap();
    for _ in 0..threads {
        let path = path.clone();
        let thread = std::thread::Builder::new().stack_size(64 << 10);
        let body = move || {
            loop {
                assert!(!std::fs::read(&path).unwrap().is_empty());
                READS.fetch_add(1, Ordering::Relaxed);
            }
        };
        thread.spawn(body).unwrap();
    }
    for _ in stdin().lines() {
        println!("{}", READS.load(Ordering::Relaxed));
    }
}
