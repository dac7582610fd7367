//! Two hundred containers, whatever becomes of the daemon.

use std::process::Command;
use std::sync::Mutex;

use api::{CpuCount, FileOutcome, Outcome, Policy, Selector, View};
use rustix::process::Signal;
use testkit::TestCgroup;

use crate::common::{Running, eventually, kill_daemon};
use crate::reach::{Reach, can_reach, count, hosts_mem_total, mem_total, read_in};
use crate::support::kill;

const MANY: u64 = 200;

/// A process that sleeps in namespaces of its own, and may have so much memory.
struct Sleeper {
    _cgroup: TestCgroup,
    _unshare: Running,
    pid: u32,
    kib: u64,
}

impl Sleeper {
    fn start(number: u64) -> Self {
        let cgroup = TestCgroup::new(&format!("many-{number}"));
        let mib = 32 + number;
        cgroup.set_memory(mib << 20);
        let mut unshare = Command::new("unshare");
        unshare.args(["-mpf", "--propagation", "private", "--mount-proc", "--kill-child"]);
        unshare.stderr(std::process::Stdio::null());
        let mut unshare = Running::start(unshare.args(["sh", "-c", "echo ready; exec sleep 3600"]));
        unshare.wait_for("ready");
        let parent = unshare.pid();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let pid = children.unwrap().trim().parse().unwrap();
        cgroup.add_pid(pid);
        Self { _cgroup: cgroup, _unshare: unshare, pid, kib: mib << 10 }
    }
}

/// Does something with all of them, a few at a time.
fn each<T: Send>(number: u64, body: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let (next, done) = (Mutex::new(0..number), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(one) = next.lock().unwrap().next() else { return };
                    let result = body(one);
                    done.lock().unwrap().push((one, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Every fortieth is to have no view, every tenth shows the CPUs of its cpuset.
fn policy(number: usize) -> Option<Policy> {
    let off = Policy { view: Some(View::Off), ..Policy::default() };
    let cpuset = Policy { cpu_count: Some(CpuCount::Cpuset), ..Policy::default() };
    match number {
        number if number % 40 == 7 => Some(off),
        number if number % 10 == 3 => Some(cpuset),
        _ => None,
    }
}

fn is_off(number: usize) -> bool {
    policy(number).is_some_and(|policy| policy.view == Some(View::Off))
}

#[track_caller]
fn all_are_right(reach: &Reach, sleepers: &[Sleeper], after: &str) {
    let host = hosts_mem_total();
    for (number, sleeper) in sleepers.iter().enumerate() {
        let wanted = if is_off(number) { host } else { sleeper.kib };
        assert_eq!(mem_total(sleeper.pid), wanted, "container {number} after {after}");
        assert!(read_in(sleeper.pid, "/proc/stat").is_ok(), "container {number} after {after}");
    }
    assert_eq!(reach.registered().len(), sleepers.len(), "after {after}");
    let list = reach.resview(&["list"]);
    let list = String::from_utf8(list.stdout).unwrap();
    for (number, sleeper) in sleepers.iter().enumerate() {
        let pid = format!(" {} ", sleeper.pid);
        let line = list.lines().find(|line| line.contains(&pid)).unwrap();
        let says = match policy(number) {
            None => "",
            Some(policy) if policy.view.is_some() => "view=off",
            Some(_) => "cpu-count=cpuset",
        };
        let policy = line.split("  ").last().unwrap().trim();
        assert!(if says.is_empty() { !policy.contains('=') } else { policy == says }, "{line}");
    }
}

#[test]
fn two_hundred_containers_outlive_upgrades_and_kills() {
    let test = "two_hundred_containers_outlive_upgrades_and_kills";
    if !can_reach(test, &[]) {
        return;
    }
    let mut reach = Reach::start(&["--cpu-count", "quota"]);
    let mut sleepers = each(MANY, Sleeper::start);
    let pids: Vec<u32> = sleepers.iter().map(|sleeper| sleeper.pid).collect();
    let attach_all = |reach: &Reach, with_policy: bool| {
        each(MANY, |number| {
            let number = usize::try_from(number).unwrap();
            let policy = policy(number).filter(|_| with_policy);
            let answer = reach.attach_with(Selector::Pid(pids[number]), None, policy);
            let wanted = if is_off(number) { Outcome::Skipped } else { Outcome::Attached };
            assert_eq!(answer.outcome, wanted, "{answer:?}");
            answer
        })
    };
    attach_all(&reach, true);
    all_are_right(&reach, &sleepers, "attaching");

    assert!(reach.resview(&["upgrade"]).status.success());
    all_are_right(&reach, &sleepers, "an upgrade");

    let worker = reach.daemon.worker().unwrap();
    kill(worker, Signal::KILL);
    all_are_right(&reach, &sleepers, "the end of the worker");

    let agent = reach.status().unwrap().pid;
    kill(agent, Signal::KILL);
    eventually("there is another agent", || {
        reach.status().is_some_and(|status| status.pid != agent)
    });
    all_are_right(&reach, &sleepers, "the end of the agent");

    reach.daemon.start_again(&["--cpu-count", "quota", "--log", "warn"]);
    eventually("the next daemon's agent answers", || reach.status().is_some());
    all_are_right(&reach, &sleepers, "a second start");

    // All of it at once, without slots or anybody who keeps the connections: their files are dead.
    kill_daemon(&reach.daemon.mountpoint);
    assert!(read_in(pids[0], "/proc/meminfo").is_err());
    reach.daemon.start_again(&["--cpu-count", "quota", "--log", "warn"]);
    eventually("the next daemon's agent answers", || reach.status().is_some());
    let answers = attach_all(&reach, false);
    let replaced = answers.iter().filter(|answer| count(answer, FileOutcome::Replaced) > 0);
    let off = (0..answers.len()).filter(|number| is_off(*number)).count();
    assert_eq!(replaced.count(), answers.len() - off);
    all_are_right(&reach, &sleepers, "healing");

    sleepers.truncate(5);
    for pid in &pids[5..] {
        let id = |name: &String| name.starts_with(&format!("pid-{pid}-"));
        assert!(
            !reach
                .tree("")
                .read_dir()
                .unwrap()
                .any(|entry| { id(&entry.unwrap().file_name().into_string().unwrap()) })
        );
    }
    eventually("those that have ended are forgotten", || reach.registered().len() == 5);
    all_are_right(&reach, &sleepers, "the end of others");
}
