//! The process in the container: its init, which reads as programs there do.

mod places;
mod reading;

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::protocol::{Order, Report};

pub(crate) use reading::reader;

/// What engines hide from every container that is not privileged. In a container with a `/proc` of
/// which nothing is hidden, `attach` may have to leave it alone.
const MASKED: [&str; 3] = ["/proc/kcore", "/proc/keys", "/proc/timer_list"];

/// Says that it is there, and serves orders from standard input until it ends.
pub(crate) fn serve() -> Result<()> {
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
        .context("cannot mount /proc")?;
    for path in MASKED.into_iter().filter(|path| Path::new(path).exists()) {
        mount(Some("/dev/null"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("cannot mask {path}"))?;
    }
    // Whoever lays files over those of /proc must not be earlier.
    say(&Report::Done)?;
    for line in std::io::stdin().lock().lines() {
        let order = serde_json::from_str(&line?).context("an order that is none")?;
        say(&execute(&order).unwrap_or_else(|error| Report::Failed(format!("{error:#}"))))?;
    }
    Ok(())
}

fn say(report: &Report) -> Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, report)?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}

fn execute(order: &Order) -> Result<Report> {
    match order {
        Order::Lay { root, tree } => places::lay(root, tree).map(|()| Report::Done),
        Order::Which { root, files, kernel } => {
            Ok(Report::Files(places::which(root, files, *kernel)))
        }
        Order::Read { root, file } => {
            let path = root.join(file);
            let text = std::fs::read(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Report::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        Order::Latency { roots, file, rounds, reads, gap } => {
            reading::latency(roots, file, *rounds, *reads, *gap)
        }
        Order::Rate { root, file, clients, duration } => {
            reading::rate(root, file, *clients, *duration)
        }
    }
}
