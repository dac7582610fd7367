//! Counting a container's tasks: how many run, how many are in uninterruptible sleep.
//!
//! A walk costs some 10 µs for each thread, so there is none where nothing can have changed. A task
//! that changes its state runs to do so, and its cgroup is charged for it; one that waits for a CPU
//! all the time shows in the pressure or in the throttled time. As long as none of these totals has
//! moved, every task is in the state in which the last walk has found it. And where all slept, and no
//! CPU time was used since, only that and their number are asked.
//!
//! On cgroup v1 the kernel counts tasks by state itself, for a tenth of the price. But it takes some
//! uninterruptible sleeps for others (that of a parent in vfork(2)); so there is a walk whenever
//! there were such sleeps, and every sixth step.

use cgroup::{Group, Pressure};
use container::Container;
use hostfs::HostFs;
use procfmt::num::{fields, lines, parse_u64};
use procfmt::pid_status::{PidStatus, state};
use procfmt::units::{Usec, scale};
use view::Sample;
use view::input::CpuTimeInput;

use crate::taskstats::Taskstats;

/// So many threads are looked at, at most; more are taken to be like them.
const MOST_THREADS: usize = 2000;
/// So many cgroups below a container's are asked for one by one.
const MOST_CGROUPS: usize = 200;
/// So many steps may pass without a walk, should a change not show in the totals after all.
const MOST_STEPS: u32 = 5;

/// What was counted, and what it cost the container to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) sample: Sample,
    /// `None`: nothing tells whether anything has changed.
    activity: Option<Activity>,
    steps_since_walk: u32,
    /// The thread that `last_pid` is about, as this process sees it; 0 for none.
    youngest: u32,
}

/// Totals that rise whenever a task of the container runs or waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Activity {
    used: Usec,
    throttled: Usec,
    /// Microseconds stalled for CPU, memory and I/O; `None` where the kernel does not count them.
    stalled: [Option<u64>; 3],
}

impl Counted {
    /// CPU time used by the container since its start; zero where nothing counts it.
    pub(crate) fn busy(&self) -> Usec {
        self.activity.map_or(Usec::ZERO, |activity| activity.used)
    }

    /// Whether everybody slept, and nobody has run since. Who gets a signal or is frozen does nothing
    /// before it runs, so that nothing else need be asked; but somebody may have been moved here.
    fn sleeps_on(&self, time: &CpuTimeInput) -> bool {
        let was_asleep = self.sample.running == 0 && self.sample.blocked == 0;
        let is_same = |activity: Activity| {
            (activity.used, activity.throttled) == (time.user + time.system, time.throttled)
        };
        was_asleep && self.activity.is_some_and(is_same)
    }

    /// Whether the states are still those of the last walk.
    fn holds(&self, now: Option<Activity>) -> bool {
        now.is_some() && now == self.activity
    }
}

/// Counts the container's tasks by state, by a walk unless `last` still holds.
pub(crate) fn count_tasks(
    host: &HostFs,
    container: &Container,
    taskstats: Option<&Taskstats>,
    last: Option<&Counted>,
) -> Result<Counted, cgroup::Error> {
    let group = container.group();
    let recent = last.filter(|last| last.steps_since_walk < MOST_STEPS);
    // Before the walk: what moves meanwhile calls for another one.
    let time = group.cpu_time()?;
    if let (Some(last), Some(time)) = (recent, &time)
        && last.sleeps_on(time)
        && group.task_count()?.is_none_or(|total| total == last.sample.total)
    {
        return Ok(Counted { steps_since_walk: last.steps_since_walk + 1, ..*last });
    }
    let activity = time.map(|time| activity(group, &time));
    let without_a_walk = match recent {
        Some(last) if last.holds(activity) => Some((last.sample, last.youngest)),
        Some(last) if last.sample.blocked == 0 => ask_kernel(host, group, taskstats, last)?,
        _ => None,
    };
    let steps_since_walk =
        recent.filter(|_| without_a_walk.is_some()).map_or(0, |last| last.steps_since_walk + 1);
    let (sample, youngest) = match without_a_walk {
        Some(seen) => seen,
        None => walk(host, group, last)?,
    };
    let mut counted = Counted { sample, activity, steps_since_walk, youngest };
    let sample = &mut counted.sample;
    // Tasks in a frozen v1 cgroup show D, though the kernel counts them for no load.
    if group.is_frozen()? {
        (sample.running, sample.blocked) = (0, 0);
    }
    sample.total = group.task_count()?.unwrap_or(sample.total);
    Ok(counted)
}

fn activity(group: &Group, time: &CpuTimeInput) -> Activity {
    let mut stalled = [None; 3];
    let mut text = Vec::new();
    let resources = [Pressure::Cpu, Pressure::Memory, Pressure::Io];
    for (stalled, resource) in stalled.iter_mut().zip(resources) {
        // A kernel without pressure (v1, psi=0) answers EOPNOTSUPP, or has no such file.
        if group.pressure(resource, &mut text).unwrap_or(false) {
            *stalled = Some(stall_total(&text));
        }
    }
    Activity { used: time.user + time.system, throttled: time.throttled, stalled }
}

/// The sum of the lines' `total=`, in microseconds.
fn stall_total(text: &[u8]) -> u64 {
    let totals = lines(text).filter_map(|line| fields(line).last()?.strip_prefix(b"total="));
    totals.filter_map(parse_u64).fold(0, u64::saturating_add)
}

/// The kernel's own count, if this is v1 and none sleeps uninterruptibly as far as it can tell.
fn ask_kernel(
    host: &HostFs,
    group: &Group,
    taskstats: Option<&Taskstats>,
    last: &Counted,
) -> Result<Option<(Sample, u32)>, cgroup::Error> {
    let Some(taskstats) = taskstats else { return Ok(None) };
    let Some(directories) = group.v1_directories(MOST_CGROUPS)? else { return Ok(None) };
    let mut running: u64 = 0;
    for directory in &directories {
        match taskstats.of_cgroup(directory) {
            Ok(states) if states.blocked == 0 => running = running.saturating_add(states.running),
            // Who sleeps, or why it cannot be told, is found out by a walk.
            _ => return Ok(None),
        }
    }
    let (youngest, last_pid) = youngest(host, &group.threads(MOST_THREADS)?, Some(last));
    Ok(Some((Sample { running, last_pid, ..Sample::default() }, youngest)))
}

fn walk(
    host: &HostFs,
    group: &Group,
    last: Option<&Counted>,
) -> Result<(Sample, u32), cgroup::Error> {
    let threads = group.threads(MOST_THREADS)?;
    let states = States::of(host, &threads);
    let total = group.task_count()?.unwrap_or(states.looked_at);
    let all = |count| match threads.len() < MOST_THREADS {
        true => count,
        false => scale(count, total, states.looked_at),
    };
    let (youngest, last_pid) = youngest(host, &threads, last);
    let (running, blocked) = (all(states.running), all(states.blocked));
    Ok((Sample { running, blocked, total, last_pid }, youngest))
}

/// How many of some threads were in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct States {
    running: u64,
    blocked: u64,
    looked_at: u64,
}

impl States {
    /// Tasks that end meanwhile are none.
    fn of(host: &HostFs, threads: &[u32]) -> Self {
        let mut states = Self::default();
        let mut text = Vec::new();
        for tid in threads {
            // Not stat: reading that hangs if the task hangs in execve(2). This sums up nothing over
            // the thread group either.
            let status = host.proc.read_one(format!("{tid}/status"), &mut text);
            let Some(state) = status.ok().and_then(|()| state(&text)) else { continue };
            states.looked_at += 1;
            match state {
                b'R' => states.running += 1,
                b'D' => states.blocked += 1,
                _ => {}
            }
        }
        states
    }
}

/// The youngest of the threads, and its id in its own pid namespace; 0 if it has ended.
fn youngest(host: &HostFs, threads: &[u32], last: Option<&Counted>) -> (u32, u64) {
    let Some(&youngest) = threads.iter().max() else { return (0, 0) };
    // Ids are given out in turn, so it is no other one a few seconds later.
    let known = last.filter(|last| last.youngest == youngest && last.sample.last_pid > 0);
    if let Some(last) = known {
        return (youngest, last.sample.last_pid);
    }
    let mut text = Vec::new();
    let status = host.proc.read_one(format!("{youngest}/status"), &mut text);
    let status = status.ok().and_then(|()| PidStatus::parse(&text));
    (youngest, status.and_then(|status| status.ns_pid.last().copied()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn machine() -> HostFs {
        HostFs::at("/proc", "/sys").unwrap()
    }

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn perl(script: &str) -> Killed {
        Killed(Command::new("perl").args(["-e", script]).stdin(Stdio::null()).spawn().unwrap())
    }

    #[test]
    fn thread_walk_is_linear() {
        // A tree in which a thread has nothing but its own file: one that sums over the group, or
        // a walk over the group's other threads, would find nothing to read.
        let tree = tempfile::tempdir().unwrap();
        let threads: Vec<u32> = (1..=60).collect();
        for tid in &threads {
            let dir = tree.path().join(tid.to_string());
            std::fs::create_dir_all(&dir).unwrap();
            let state = if tid % 3 == 0 { "R (running)" } else { "D (disk sleep)" };
            let status = format!("Name:\ta\nState:\t{state}\nTgid:\t{tid}\n");
            std::fs::write(dir.join("status"), status).unwrap();
        }
        let host = HostFs::at(tree.path(), tree.path()).unwrap();
        let expected = States { running: 20, blocked: 40, looked_at: 60 };
        assert_eq!(States::of(&host, &threads), expected);
        // Threads that have ended are passed over.
        assert_eq!(States::of(&host, &[1, 3, 9999]).looked_at, 2);
    }

    #[test]
    fn vfork_parent_counts() {
        // clone(CLONE_VM | CLONE_VFORK | SIGCHLD) is vfork on architectures that have no such call.
        let clone = if cfg!(target_arch = "x86_64") { 56 } else { 220 };
        let parent = perl(&format!("syscall({clone}, 0x4111, 0, 0, 0, 0); sleep 1 while 1"));
        let tid = parent.0.id();
        let children = format!("/proc/{tid}/task/{tid}/children");
        let child = (0..1500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::fs::read_to_string(&children).ok()?.trim().parse::<i32>().ok()
        });
        let child = rustix::process::Pid::from_raw(child.expect("a child")).unwrap();
        let states = States::of(&machine(), &[tid]);
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        assert_eq!(states, States { running: 0, blocked: 1, looked_at: 1 });
    }

    #[test]
    fn totals_that_rest_prove_that_states_hold() {
        let activity = Activity { used: Usec(7), stalled: [Some(1); 3], ..Default::default() };
        let sample = Sample { blocked: 1, ..Sample::default() };
        let last = Counted { sample, activity: Some(activity), steps_since_walk: 0, youngest: 0 };
        assert!(last.holds(Some(activity)));
        let moved = [
            Activity { used: Usec(8), ..activity },
            Activity { throttled: Usec(1), ..activity },
            Activity { stalled: [Some(1), Some(1), Some(2)], ..activity },
        ];
        assert!(moved.into_iter().all(|moved| !last.holds(Some(moved))));
        let blind = Counted { activity: None, ..last };
        assert!(!blind.holds(None), "nothing that could move is no proof of rest");
    }

    #[test]
    fn who_slept_and_has_not_run_sleeps_on() {
        let activity = Activity { used: Usec(7), throttled: Usec(3), ..Default::default() };
        let sample = Sample::default();
        let last = Counted { sample, activity: Some(activity), steps_since_walk: 0, youngest: 0 };
        let time = |user, system, throttled| CpuTimeInput {
            user: Usec(user),
            system: Usec(system),
            throttled: Usec(throttled),
            ..CpuTimeInput::default()
        };
        assert!(last.sleeps_on(&time(4, 3, 3)));
        assert!(!last.sleeps_on(&time(4, 4, 3)) && !last.sleeps_on(&time(4, 3, 4)));
        let awake = Sample { running: 1, ..sample };
        assert!(!Counted { sample: awake, ..last }.sleeps_on(&time(4, 3, 3)));
        assert!(!Counted { activity: None, ..last }.sleeps_on(&time(0, 0, 0)));
    }

    #[test]
    fn stalls_are_summed() {
        let text = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=17\n\
            full avg10=0.00 avg60=0.00 avg300=0.00 total=4\n";
        assert_eq!((stall_total(text), stall_total(b"nonsense\n\n")), (21, 0));
    }
}
