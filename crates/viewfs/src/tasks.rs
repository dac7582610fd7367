//! Counting a container's tasks.

use container::Container;
use hostfs::HostFs;
use procfmt::pid_stat::PidStat;
use procfmt::pid_status::PidStatus;
use procfmt::units::scale;
use view::Sample;

/// So many threads are looked at, at most; more are taken to be like them.
const MOST_THREADS: usize = 2000;

/// Counts the container's tasks by state. Tasks that end meanwhile are none.
pub(crate) fn count_tasks(host: &HostFs, container: &Container) -> Result<Sample, cgroup::Error> {
    let group = container.group();
    let threads = group.threads(MOST_THREADS)?;
    let (mut running, mut blocked, mut looked_at) = (0, 0, 0);
    let mut text = Vec::new();
    for tid in &threads {
        // Not /proc/TID/stat: that sums over the thread group, each time anew.
        let stat = host.proc.read_one(format!("{tid}/task/{tid}/stat"), &mut text);
        let Some(stat) = stat.ok().and_then(|()| PidStat::parse(&text)) else { continue };
        looked_at += 1;
        match stat.state {
            b'R' => running += 1,
            b'D' => blocked += 1,
            _ => {}
        }
    }
    // Tasks in a frozen v1 cgroup show D, though the kernel counts them for no load.
    if group.is_frozen()? {
        (running, blocked) = (0, 0);
    }
    let total = match group.task_count()? {
        Some(count) => count,
        None => looked_at,
    };
    let all =
        |count| if threads.len() < MOST_THREADS { count } else { scale(count, total, looked_at) };
    let last_pid = threads.iter().max().map_or(0, |newest| own_pid(host, *newest, &mut text));
    Ok(Sample { running: all(running), blocked: all(blocked), total, last_pid })
}

/// The thread's id in its own pid namespace; 0 if it has ended.
fn own_pid(host: &HostFs, tid: u32, text: &mut Vec<u8>) -> u64 {
    let status = host.proc.read_one(format!("{tid}/status"), text);
    let status = status.ok().and_then(|()| PidStatus::parse(text));
    status.and_then(|status| status.ns_pid.last().copied()).unwrap_or(0)
}
