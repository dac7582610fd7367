//! Limits show in every place where programs look, and follow at once.

use std::time::Instant;

use crate::support::{Daemon, MIB, in_every_container, number, text, value};

#[test]
fn all_sources_agree_on_memory_and_cpus() {
    let script = "
        echo memtotal=$(awk '/^MemTotal:/{print $2}' /proc/meminfo)
        echo free=$(free -m | awk '/^Mem:/{print $2}')
        echo nproc=$(nproc)
        echo processors=$(grep -c ^processor /proc/cpuinfo)
        echo rows=$(grep -c '^cpu[0-9]' /proc/stat)
        echo online=$(cat /sys/devices/system/cpu/online)
        echo present=$(cat /sys/devices/system/cpu/present)
        echo directories=$(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l)
        echo onln=$(getconf _NPROCESSORS_ONLN)
        echo lscpu=$(lscpu -p=CPU | grep -vc '^#')
        echo uptime=$(cut -d. -f1 /proc/uptime)
        echo tasks=$(cut -d' ' -f4 /proc/loadavg | cut -d/ -f2)";
    let begin = Instant::now();
    in_every_container("all_sources_agree_on_memory_and_cpus", script, |way, text| {
        assert_eq!(value(text, "memtotal"), "51200", "{way:?}");
        assert_eq!(value(text, "free"), "50", "{way:?}");
        for count in ["nproc", "processors", "rows", "directories", "onln", "lscpu"] {
            assert_eq!(value(text, count), "1", "{way:?}: {count}");
        }
        for list in ["online", "present"] {
            assert_eq!(value(text, list), "0", "{way:?}: {list}");
        }
        // No container is older than this test.
        assert!(number(text, "uptime") <= begin.elapsed().as_secs_f64(), "{way:?}: {text}");
        assert!(number(text, "tasks") < 20.0, "{way:?}: {text}");
    });
}

#[test]
fn limit_change_shows_at_next_open() {
    let test = "limit_change_shows_at_next_open";
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    for runtime in ["runc", "crun"] {
        if !testkit::need_command(test, runtime) {
            continue;
        }
        let running = daemon.container(runtime, &["sleep", "300"]).memory(64 * MIB).start();
        let total = || {
            let output = running.exec(&["free", "-m"]);
            let text = text(runtime, &output);
            let memory = text.lines().find(|line| line.starts_with("Mem:")).unwrap();
            memory.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(total(), "64");
        for mib in [200, 48] {
            set_memory(&running.cgroup(), mib * MIB);
            assert_eq!(total(), mib.to_string(), "{runtime}");
        }
    }
}

fn set_memory(cgroup: &str, bytes: u64) {
    let v2 = testkit::layout() == testkit::Layout::V2;
    let memory = testkit::hierarchies()
        .into_iter()
        .find(|one| if v2 { one.v2 } else { one.controllers.iter().any(|name| name == "memory") })
        .unwrap();
    let dir = memory.mount.join(cgroup.trim_start_matches('/'));
    let limits: &[&str] = if v2 {
        &["memory.max"]
    } else {
        // Memory and swap together may never be less than memory.
        &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]
    };
    for limit in limits {
        // v1: the first of the two that is out of order is refused, and repeated.
        let _ = std::fs::write(dir.join(limit), bytes.to_string());
    }
}

#[test]
fn quota_shows_as_cpus_only_where_the_policy_says_so() {
    let test = "quota_shows_as_cpus_only_where_the_policy_says_so";
    let cpus = std::thread::available_parallelism().unwrap().get();
    if cpus < 2 {
        testkit::skip(test, "needs two CPUs");
        return;
    }
    for (policy, expected) in [("quota", 1), ("cpuset", cpus)] {
        let Some(daemon) = Daemon::start(test, &["--cpu-count", policy]) else { return };
        let count = "grep -c ^processor /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat; \
            cat /sys/devices/system/cpu/possible";
        let container = daemon.container("runc", &["sh", "-c", count]).quota(50_000, 100_000);
        let text = text(policy, &container.run());
        // `possible` bounds the CPUs on which the container's threads run, not what it may use.
        assert_eq!(text, format!("{expected}\n{expected}\n0-{}\n", cpus - 1), "{policy}");
    }
}
