//! The facts about a process that stands for a container.

use cgroup::Group;
use procfmt::units::Ticks;

use crate::container::{Anchor, AnchorKind};
use crate::error::Error;
use crate::process::Process;

/// How many processes of a cgroup are looked at for the oldest.
const MOST: usize = 4096;

/// Takes down what is needed of a process. `host_time` is the host's time namespace.
pub(crate) fn of_process(
    process: Process<'_>,
    kind: AnchorKind,
    pid_namespace: Option<u64>,
    host_time: Option<u64>,
) -> Result<Anchor, Error> {
    let time = process.namespace("time")?;
    let shifted = time.is_some() && time != host_time;
    Ok(Anchor {
        kind,
        pid: process.id,
        start_time: process.start_time()?,
        boottime_offset: if shifted { process.boottime_offset() } else { None },
        pid_namespace,
    })
}

/// The oldest process of a cgroup, with its start; the caller if nothing else can be seen.
pub(crate) fn oldest<'host>(
    group: &Group,
    caller: Process<'host>,
) -> Result<Process<'host>, Error> {
    let age = |process: Process<'_>| process.start_time().unwrap_or(Ticks(u64::MAX));
    let others = group.processes(MOST)?.into_iter().map(|id| caller.other(id));
    let first = others.map(|process| (age(process), process)).min_by_key(|(start, _)| *start);
    Ok(match first {
        Some((start, process)) if start < age(caller) => process,
        _ => caller,
    })
}
