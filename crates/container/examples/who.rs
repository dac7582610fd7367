//! Who is asking? Prints the container of a thread, its limits, and what finding out costs.
//!
//! `cargo run --release -p container --example who -- TID`
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let tid: u32 = std::env::args().nth(1).ok_or("usage: who TID")?.parse()?;
    let host = Arc::new(hostfs::HostFs::mount()?);
    container::check_namespaces(&host)?;
    let layout = Arc::new(cgroup::Layout::detect(&host)?);
    let identifier = container::Identifier::new(Arc::clone(&host), layout)?;
    let Some(container) = identifier.identify(tid)? else {
        println!("the host itself");
        return Ok(());
    };
    println!("{} {:#?}", container.key(), container.anchor());
    println!("{:#?}", container.group().explain()?);
    let group = container.group();
    cost("identify", || identifier.identify(tid).map(|_| ()))?;
    cost("memory", || group.memory().map(|_| ()))?;
    cost("cpu", || group.cpu().map(|_| ()))?;
    cost("cpu_time", || group.cpu_time().map(|_| ()))?;
    cost("io", || group.io().map(|_| ()))?;
    let before = host.kept.counters();
    group.memory()?;
    let reads = host.kept.counters().reads - before.reads;
    println!(
        "memory takes {reads} reads for {} levels",
        group.memory()?.map_or(0, |memory| memory.levels.len())
    );
    Ok(())
}

/// The median of many calls, in microseconds.
fn cost<E: Error + 'static>(
    what: &str,
    mut call: impl FnMut() -> Result<(), E>,
) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..5000 {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{what}: {:.2} µs", median.as_secs_f64() * 1e6);
    Ok(())
}
