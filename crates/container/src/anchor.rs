//! The facts about a process that stands for a container.

use cgroup::Group;
use procfmt::units::Ticks;

use crate::container::{Anchor, AnchorKind};
use crate::error::Error;
use crate::lookout::Lookout;
use crate::process::Process;

/// How many processes of a cgroup are looked at for the oldest.
const MOST: usize = 4096;

/// What has to be known of a process. Some of it hangs if the process does: see [`Lookout`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) start_time: Ticks,
    pub(crate) pid_namespace: Option<u64>,
    pub(crate) mount_namespace: Option<u64>,
    time_namespace: Option<u64>,
    boottime_offset: Option<i64>,
}

impl Facts {
    /// Takes them down.
    ///
    /// # Errors
    /// [`Error::Ended`], or why procfs could not be read.
    pub(crate) fn of(process: Process<'_>) -> Result<Self, Error> {
        Ok(Self {
            start_time: process.start_time()?,
            pid_namespace: process.namespace("pid")?,
            mount_namespace: process.namespace("mnt")?,
            time_namespace: process.namespace("time")?,
            boottime_offset: process.boottime_offset(),
        })
    }

    /// The process as one that stands for a container. `host_time` is the host's time namespace.
    pub(crate) fn anchor(
        self,
        pid: u32,
        kind: AnchorKind,
        pid_namespace: Option<u64>,
        host_time: Option<u64>,
    ) -> Anchor {
        let shifted = self.time_namespace.is_some() && self.time_namespace != host_time;
        Anchor {
            kind,
            pid,
            start_time: self.start_time,
            boottime_offset: self.boottime_offset.filter(|_| shifted),
            pid_namespace,
        }
    }
}

/// The oldest process of a cgroup; the caller if nothing else can be seen.
pub(crate) fn oldest(
    lookout: &Lookout,
    group: &Group,
    caller: Process<'_>,
) -> Result<(u32, Facts), Error> {
    let own = Facts::of(caller)?;
    let others = lookout.of_each(group.processes(MOST)?, |process| process.start_time());
    let first = others.into_iter().filter_map(|(id, start)| Some((start.ok()?, id))).min();
    let older = first
        .filter(|(start, _)| *start < own.start_time)
        // It may have ended since; the caller has not.
        .and_then(|(_, id)| Some((id, lookout.of(id, Facts::of).ok()?.ok()?)));
    Ok(older.unwrap_or((caller.id, own)))
}
