//! How old content can be, and whether it is whole.

use std::fs::File;
use std::io::Read;
use std::io::{Seek, SeekFrom, Write, pipe};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::client::Process;
use super::mounted::Mounted;
use super::{TWO_TICKS, limit, total};

const FILE: &str = "c/proc/meminfo";

#[test]
fn kept_descriptor_is_refreshed() {
    let Some(mounted) = Mounted::new("kept_descriptor_is_refreshed") else { return };
    let process = Process::new("tree-kept");
    process.cgroup.set_memory(limit(100));
    mounted.register("c", &process);
    let mut kept = mounted.open(FILE);
    for mebibytes in [100, 300, 64] {
        process.cgroup.set_memory(limit(mebibytes));
        std::thread::sleep(TWO_TICKS);
        let mut text = String::new();
        kept.seek(SeekFrom::Start(0)).unwrap();
        kept.read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&total(mebibytes)), "{text}");
    }
    assert_eq!(mounted.asked.opens.load(Ordering::SeqCst), 1, "the kernel asks once, for good");
}

#[test]
fn never_stale_by_more_than_two_ticks() {
    let Some(mounted) = Mounted::new("never_stale_by_more_than_two_ticks") else { return };
    let process = Process::new("tree-stale");
    mounted.register("c", &process);
    process.cgroup.set_memory(limit(90));
    let kept = mounted.open(FILE);
    let mut first = [0; 28];
    for round in 0..40 {
        let mebibytes = 91 + round;
        process.cgroup.set_memory(limit(mebibytes));
        std::thread::sleep(TWO_TICKS);
        kept.read_exact_at(&mut first, 0).unwrap();
        assert_eq!(std::str::from_utf8(&first).unwrap(), total(mebibytes));
        assert!(mounted.read(FILE).starts_with(&total(mebibytes)));
        // Which does not ask for attributes, but opening does.
        process.cgroup.set_memory(limit(mebibytes + 200));
        std::thread::sleep(TWO_TICKS);
        let (mut reader, writer) = pipe().unwrap();
        rustix::fs::sendfile(&writer, mounted.open(FILE), None, 28).unwrap();
        reader.read_exact(&mut first).unwrap();
        assert_eq!(std::str::from_utf8(&first).unwrap(), total(mebibytes + 200));
    }
}

/// Reads as long as the limits change, and says how often and what was wrong.
fn watch(file: &File, end: &AtomicBool, is_whole: impl Fn(&str) -> bool) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    let mut bytes = vec![0; 64 << 10];
    while !end.load(Ordering::Relaxed) {
        let length = file.read_at(&mut bytes, 0).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        count += 1;
        if !is_whole(&text) {
            wrong.push(text);
        }
    }
    (count, wrong)
}

fn cpuinfo_is_whole(text: &str) -> bool {
    let lines = |key: &str| text.lines().filter(|line| line.starts_with(key)).count();
    let is_line = |line: &str| line.is_empty() || line.contains(':');
    let is_even = lines("processor") >= 1 && lines("processor") == lines("power management");
    text.ends_with('\n') && text.lines().all(is_line) && is_even
}

fn stat_is_whole(text: &str) -> bool {
    let fields = |line: &str| line.split(' ').filter(|field| !field.is_empty()).count();
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let is_row = |line: &str| !line.starts_with("cpu") || fields(line) == 11;
    let last = lines.clone().next_back().unwrap_or_default();
    text.ends_with('\n') && lines.all(is_row) && last.starts_with("softirq") && fields(last) == 12
}

fn meminfo_is_whole(text: &str) -> bool {
    let is_line = |line: &str| {
        line.split_once(':').is_some_and(|(key, value)| {
            let value = value.strip_suffix(" kB").unwrap_or(value).trim_start();
            !key.is_empty() && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    text.ends_with('\n') && text.lines().all(is_line)
}

fn online_is_whole(text: &str) -> bool {
    matches!(text.trim_end_matches('\n'), "0" | "0-1") && text.ends_with('\n')
}

type IsWhole = fn(&str) -> bool;

#[test]
fn never_torn_inside_a_line() {
    let Some(mounted) = Mounted::new("never_torn_inside_a_line") else { return };
    let process = Process::new("tree-torn");
    mounted.register("c", &process);
    let files: [(&str, IsWhole); 4] = [
        ("c/proc/cpuinfo", cpuinfo_is_whole),
        ("c/sys/devices/system/cpu/online", online_is_whole),
        ("c/proc/stat", stat_is_whole),
        (FILE, meminfo_is_whole),
    ];
    let end = AtomicBool::new(false);
    let changes = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let watchers: Vec<_> = files
            .iter()
            .flat_map(|file| [file; 3])
            .map(|(path, is_whole)| {
                let (file, end) = (mounted.open(path), &end);
                (path, scope.spawn(move || watch(&file, end, is_whole)))
            })
            .collect();
        let began = Instant::now();
        // As many changes as it takes to have met readers at every moment; the time only bounds it.
        while changes.fetch_add(1, Ordering::Relaxed) < 400
            && began.elapsed() < Duration::from_secs(60)
        {
            for (cpus, mebibytes) in [("0", 100), ("0-1", 200)] {
                process.cgroup.set_cpuset(cpus);
                process.cgroup.set_memory(limit(mebibytes));
                std::thread::sleep(Duration::from_millis(4));
            }
        }
        end.store(true, Ordering::Relaxed);
        let (mut all, mut torn) = (0, Vec::new());
        for (path, watcher) in watchers {
            let (count, wrong) = watcher.join().unwrap();
            all += count;
            torn.extend(wrong.into_iter().map(|text| format!("{path}: {text:?}")));
        }
        // The one case that no server can tell, a thread that is held up for long between two
        // answers of the kernel's, is met here once in many million reads, when the machine is busy
        // with other things. Without what is done in doubt, one read in 200 is torn.
        let (found, first) = (torn.len(), torn.first());
        assert!(found * 20_000 <= all, "{found} of {all} reads: {first:?}");
        testkit::figures("never_torn_inside_a_line", &format!("{found} of {all} reads"));
    });
}

#[test]
fn the_page_cache_answers() {
    const READS: usize = 10_000;
    let Some(mounted) = Mounted::new("the_page_cache_answers") else { return };
    let process = Process::new("tree-cache");
    mounted.register("c", &process);
    // As in a container, where a file is bound by itself and no way leads through the root.
    for (path, changes) in [("c/proc/swaps", false), ("c/proc/uptime", true)] {
        let file = mounted.open(path);
        let bound = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let before = mounted.asked.all();
        let reads_before = mounted.asked.reads.load(Ordering::SeqCst);
        let began = Instant::now();
        for _ in 0..READS {
            let mut text = String::new();
            File::open(&bound).unwrap().read_to_string(&mut text).unwrap();
            assert!(!text.is_empty());
        }
        // At most GETATTR and READ each time the attributes are half a tick old.
        let most = began.elapsed().as_millis() / 5 * 2 + 4;
        let asked = mounted.asked.all() - before;
        assert!((asked as u128) <= most, "{path}: {asked} requests, {most} at most");
        let reads = mounted.asked.reads.load(Ordering::SeqCst) - reads_before;
        if !changes {
            assert!(reads <= 2, "{path}: bytes that are the same are asked for {reads} times");
        }
        testkit::figures(
            "the_page_cache_answers",
            &format!("{path}: {asked} requests, {reads} of them READ, for {READS} reads"),
        );
    }
}

#[test]
fn sizes_are_exact() {
    let Some(mounted) = Mounted::new("sizes_are_exact") else { return };
    let process = Process::new("tree-sizes");
    mounted.register("c", &process);
    let all = ["meminfo", "stat", "cpuinfo", "uptime", "loadavg", "swaps", "vmstat", "interrupts"];
    for name in all {
        let path = format!("c/proc/{name}");
        for _ in 0..100 {
            let file = mounted.open(&path);
            let (before, mut bytes) = (file.metadata().unwrap(), vec![0; 1 << 20]);
            let length = file.read_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes[length - 1], b'\n', "{path}");
            let length = u64::try_from(length).unwrap();
            let after = file.metadata().unwrap();
            if before.modified().unwrap() == after.modified().unwrap() {
                assert_eq!((length, length), (before.len(), after.len()), "{path}");
            }
        }
    }
}

#[test]
fn programs_that_go_by_the_size_work() {
    let test = "programs_that_go_by_the_size_work";
    let Some(mounted) = Mounted::new(test) else { return };
    if !testkit::need_command(test, "python3") {
        return;
    }
    let process = Process::new("tree-programs");
    process.cgroup.set_memory(limit(77));
    mounted.register("c", &process);
    let file = mounted.path(FILE);
    let run = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        let output = shell.args(["-c", script, "sh"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let size = mounted.read(FILE).len();
    assert_eq!(run("wc -c < \"$1\"").trim(), size.to_string());
    assert_eq!(run("stat -c %s \"$1\"").trim(), size.to_string());
    assert!(mounted.read(FILE).ends_with(&run("tail -n 1 \"$1\"")));
    assert_eq!(run("head -n 1 \"$1\""), total(77));
    assert_eq!(run("dd if=\"$1\" iflag=direct bs=64k 2>/dev/null | head -n 1"), total(77));
    assert_eq!(run("dd if=\"$1\" iflag=direct bs=64k 2>/dev/null").len(), size);
    let mapped = "python3 -c 'import mmap, sys; f = open(sys.argv[1], \"rb\"); \
        m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); \
        sys.stdout.write(m[:].decode())' \"$1\"";
    let mapped = run(mapped);
    assert!(mapped.starts_with(&total(77)) && mapped.len() == size, "{mapped}");
}

#[test]
fn nothing_can_be_written() {
    let Some(mounted) = Mounted::new("nothing_can_be_written") else { return };
    let process = Process::new("tree-write");
    mounted.register("c", &process);
    let path = mounted.path(FILE);
    let errors = [
        File::options().write(true).open(&path).map(drop),
        File::options().read(true).write(true).open(&path).map(drop),
        std::fs::write(mounted.path("c/proc/new"), "x"),
        std::fs::create_dir(mounted.path("d")),
        std::fs::remove_file(&path),
        std::fs::rename(mounted.path("c"), mounted.path("d")),
        mounted.open(FILE).write(b"x").map(drop),
    ];
    for error in errors {
        let errno = rustix::io::Errno::from_io_error(&error.unwrap_err()).unwrap();
        let refused = [rustix::io::Errno::ROFS, rustix::io::Errno::BADF];
        assert!(refused.contains(&errno), "{errno}");
    }
}
