//! The programs that people run: they work, and agree with the limits.

use crate::common::{can_run, run_sh};
use crate::support::{in_every_container, text};

/// Runs a command in every container; it must succeed and say nothing on standard error.
pub(crate) fn works(command: &str, check: impl Fn(&str)) {
    let program = command.split_whitespace().next().unwrap();
    if !testkit::need_command(command, program) {
        return;
    }
    in_every_container(command, &silent(command), |way, text| {
        assert!(!text.is_empty(), "{way:?}: {command} printed nothing");
        check(text);
    });
}

/// The same with `resview run` alone: OCI runtimes refuse mounts over the files that LXCFS does not
/// have.
fn works_in_run(command: &str, check: impl Fn(&str)) {
    let program = command.split_whitespace().next().unwrap();
    if !can_run(command) || !testkit::need_command(command, program) {
        return;
    }
    let output = run_sh(&["-m", "50m", "--cpus", "1", "--cpuset-cpus", "0"], &silent(command));
    let text = text(command, &output);
    assert!(!text.is_empty(), "{command} printed nothing");
    check(&text);
}

/// A script that fails if the command fails or says anything on standard error.
fn silent(command: &str) -> String {
    format!(
        "export LC_ALL=C S_TIME_FORMAT=ISO\n\
         dir=$(mktemp -d); trap 'rm -r $dir' EXIT; cd $dir\n\
         {command} 2>err >out || {{ echo failed: $?; cat out err; exit 1; }}\n\
         [ ! -s err ] || {{ echo stderr:; cat err; exit 1; }}\n\
         cat out"
    )
}

fn line<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.trim_start().starts_with(start));
    line.unwrap_or_else(|| panic!("no line {start} in:\n{text}")).split_whitespace().collect()
}

#[test]
fn top_shows_the_containers_memory() {
    works("top -bn1", |text| {
        let memory = line(text, "MiB Mem");
        assert!(memory.contains(&"50.0"), "{memory:?}");
        assert!(line(text, "top -")[4..7].contains(&"up") || text.contains(" up "), "{text}");
    });
}

#[test]
fn vmstat_fits_into_the_container() {
    works("vmstat 1 2", |text| {
        let last: Vec<u64> =
            text.lines().last().unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
        let (free, buffers, cache) = (last[3], last[4], last[5]);
        assert!(free + buffers + cache <= 51_200, "{text}");
        // Interrupts and context switches are nobody's business.
        assert_eq!((last[10], last[11]), (0, 0), "{text}");
    });
}

#[test]
fn vmstat_s_counts_the_containers_memory() {
    works_in_run("vmstat -s", |text| {
        let count = |what: &str| -> u64 {
            let line = text.lines().find(|line| line.ends_with(what));
            let line = line.unwrap_or_else(|| panic!("no {what} in:\n{text}"));
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        assert_eq!(count("K total memory"), 51_200);
        assert_eq!((count("interrupts"), count("CPU context switches")), (0, 0));
        // The container has done next to nothing on any disk, and the host has.
        assert!(count("K paged in") <= 51_200 && count("K paged out") <= 51_200, "{text}");
    });
}

#[test]
fn slabtop_takes_a_table_without_rows() {
    works_in_run("slabtop -o", |text| {
        let objects = line(text, "Active / Total Objects");
        assert_eq!(objects[7..10], ["0", "/", "0"], "{text}");
    });
}

#[test]
fn mpstat_knows_no_interrupts() {
    works_in_run("mpstat -I ALL", |text| assert!(text.contains("(1 CPU)"), "{text}"));
}

#[test]
fn sar_shows_paging_and_swapping() {
    works_in_run("sar -B 1 1", |text| {
        // Paged in and out, faults, major faults.
        assert!(line(text, "Average:").len() > 4, "{text}");
    });
    works_in_run("sar -W 1 1", |text| {
        assert_eq!(line(text, "Average:")[1..], ["0.00", "0.00"], "{text}");
    });
}

/// What a container reads in a file of `/proc`; `None` where the host has no such file.
fn cat(name: &str) -> Option<String> {
    let path = format!("/proc/{name}");
    if !can_run(name) || !std::path::Path::new(&path).exists() {
        return None;
    }
    let limits = ["-m", "50m", "--cpus", "1", "--cpuset-cpus", "0"];
    Some(text(name, &run_sh(&limits, &format!("cat {path}"))))
}

#[test]
fn vmstat_zoneinfo_interrupts_not_host() {
    let page = u64::try_from(rustix::param::page_size()).unwrap() / 1024;
    let Some(vmstat) = cat("vmstat") else { return };
    let count = |key: &str| -> u64 { line(&vmstat, key)[1].parse().unwrap() };
    assert!(count("nr_free_pages ") * page <= 51_200, "{vmstat}");
    assert!(count("pgfault ") > 0, "the container has run something\n{vmstat}");
    for key in ["numa_hit ", "pgfree ", "nr_dirtied "] {
        assert_eq!(count(key), 0, "{key}");
    }
    let zoneinfo = cat("zoneinfo").unwrap();
    let zones = procfmt::zoneinfo::parse(zoneinfo.as_bytes());
    let managed: u64 = zones.iter().map(|zone| zone.managed() * page).sum();
    assert_eq!(managed, 51_200, "{zoneinfo}");
    assert_eq!(cat("interrupts").unwrap().trim(), "CPU0");
}

#[test]
fn the_other_tables_are_not_the_hosts() {
    let Some(softirqs) = cat("softirqs") else { return };
    assert!(softirqs.lines().count() > 5, "{softirqs}");
    assert!(softirqs.lines().skip(1).all(|row| row.ends_with(":          0")), "{softirqs}");
    assert_eq!(cat("slabinfo").unwrap().lines().count(), 2, "a header without rows");
    assert!(cat("partitions").unwrap().starts_with("major minor"));
    if let Some(schedstat) = cat("schedstat") {
        assert_eq!(schedstat.lines().count(), 3, "version, timestamp and a CPU\n{schedstat}");
    }
}

#[test]
fn uptime_and_w_run() {
    works("uptime", |text| assert!(text.contains(" up 0 min"), "{text}"));
    works("w", |text| assert!(text.contains(" up 0 min"), "{text}"));
}

#[test]
fn mpstat_has_one_row() {
    works("mpstat -P ALL 1 1", |text| {
        let rows: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("Average"))
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        assert_eq!(rows, ["CPU", "all", "0"], "{text}");
        assert!(text.lines().next().unwrap().contains("(1 CPU)"), "{text}");
    });
}

#[test]
fn iostat_and_sar_run() {
    works("iostat", |text| assert!(text.contains("(1 CPU)"), "{text}"));
    works("sar -u 1 1", |text| assert!(text.contains("(1 CPU)"), "{text}"));
    works("sar -r 1 1", |text| {
        // kbmemfree is the second column.
        let free: u64 = line(text, "Average")[1].parse().unwrap();
        assert!(free <= 51_200, "{text}");
    });
}

#[test]
fn ps_runs() {
    works("ps aux", |text| {
        assert!(text.lines().count() < 20, "{text}");
        // A start time in the future or a share of CPU beyond all CPUs would be garbage.
        for row in text.lines().skip(1) {
            let percent: f64 = row.split_whitespace().nth(2).unwrap().parse().unwrap();
            assert!(percent <= 400.0, "{row}");
        }
    });
}

#[test]
fn free_adds_up() {
    works("free -k -w", |text| {
        let memory: Vec<u64> =
            line(text, "Mem:")[1..].iter().map(|number| number.parse().unwrap()).collect();
        let [total, used, free, _shared, buffers, cache, available] = memory[..] else {
            panic!("{text}")
        };
        assert_eq!(total, 51_200);
        assert!(free <= available && available <= total, "{text}");
        assert!(used <= total && buffers + cache <= total, "{text}");
    });
}

#[test]
fn htop_draws_the_limit_and_one_cpu() {
    let test = "htop_draws_the_limit_and_one_cpu";
    if !["htop", "script"].iter().all(|program| testkit::need_command(test, program)) {
        return;
    }
    // It reads the key when it has drawn once.
    let draw = "echo q | TERM=xterm HOME=/nonexistent \
        script -qc 'stty cols 100 rows 30; exec htop -C -U' /dev/null";
    works_in_run(draw, |drawn| {
        let text = without_movements(drawn);
        let meters = text.split("PID USER").next().unwrap();
        let labels = meters.split('[').filter_map(|part| part.split_whitespace().last());
        let is_cpu = |label: &&str| *label == "CPU" || label.parse::<u32>().is_ok();
        assert_eq!(labels.filter(is_cpu).collect::<Vec<_>>(), ["CPU"], "{meters}");
        assert!(meters.contains("/50.0M"), "{meters}");
    });
}

/// Takes what moves the cursor and changes colours out of what a program has drawn.
fn without_movements(drawn: &str) -> String {
    let mut parts = drawn.split('\x1b');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // It ends with a letter: \x1b[2;5H, \x1b(B.
        let end = part.find(|sign: char| sign.is_ascii_alphabetic()).map_or(0, |at| at + 1);
        text.push(' ');
        text.push_str(&part[end..]);
    }
    text
}

#[test]
fn psutil_agrees() {
    let program = "/usr/bin/python3 -c \"import psutil; m = psutil.virtual_memory(); \
        print('total', m.total); print('cpus', psutil.cpu_count()); \
        print('times', len(psutil.cpu_times(percpu=True))); \
        print('ok', m.available <= m.total and m.free <= m.total); \
        psutil.swap_memory(); psutil.disk_io_counters(); psutil.getloadavg()\"";
    if !has_psutil() {
        testkit::skip("psutil_agrees", "needs the package python3-psutil");
        return;
    }
    works(program, |text| assert_eq!(text, "total 52428800\ncpus 1\ntimes 1\nok True\n"));
}

/// Containers get a PATH without the machine's own Pythons, so that is Debian's.
fn has_psutil() -> bool {
    let mut python = std::process::Command::new("/usr/bin/python3");
    python.args(["-c", "import psutil"]).status().is_ok_and(|status| status.success())
}
