//! The programs that people run: they work, and agree with the limits.

use crate::support::in_every_container;

/// Runs a command in every container; it must succeed and say nothing on standard error.
fn works(command: &str, check: impl Fn(&str)) {
    let program = command.split_whitespace().next().unwrap();
    if !testkit::need_command(command, program) {
        return;
    }
    let script = format!(
        "export LC_ALL=C S_TIME_FORMAT=ISO\n\
         dir=$(mktemp -d); trap 'rm -r $dir' EXIT; cd $dir\n\
         {command} 2>err >out || {{ echo failed: $?; cat out err; exit 1; }}\n\
         [ ! -s err ] || {{ echo stderr:; cat err; exit 1; }}\n\
         cat out"
    );
    in_every_container(command, &script, |way, text| {
        assert!(!text.is_empty(), "{way:?}: {command} printed nothing");
        check(text);
    });
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
