//! How the files behave: offsets, sizes, modes, sharing, and what is not there.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::TestCgroup;

use crate::support::{Daemon, MIB, read};

const FILES: [&str; 7] = [
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/stat",
    "proc/uptime",
    "proc/swaps",
    "proc/diskstats",
    "proc/loadavg",
];

#[test]
fn read_past_end_is_eof() {
    let Some(daemon) = Daemon::start("read_past_end_is_eof", &[]) else { return };
    for name in FILES {
        let file = File::open(daemon.file(name)).unwrap();
        let mut buffer = [0; 16];
        for offset in [1 << 20, u64::MAX / 4] {
            assert_eq!(file.read_at(&mut buffer, offset).unwrap(), 0, "{name}");
        }
    }
}

#[test]
fn first_pread_at_offset() {
    let Some(daemon) = Daemon::start("first_pread_at_offset", &[]) else { return };
    let file = File::open(daemon.file("proc/meminfo")).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(file.read_at(&mut buffer, 3).unwrap(), 8);
    assert_eq!(&buffer, b"Total:  ");
}

#[test]
fn seek_to_zero_refreshes() {
    let Some(daemon) = Daemon::start("seek_to_zero_refreshes", &[]) else { return };
    let mut file = File::open(daemon.file("proc/uptime")).unwrap();
    let mut first = String::new();
    file.read_to_string(&mut first).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut second = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut second).unwrap();
    assert_ne!(first, second);
}

#[test]
fn tail_wc_dd() {
    let Some(daemon) = Daemon::start("tail_wc_dd", &[]) else { return };
    let cpuinfo = daemon.file("proc/cpuinfo");
    let script = "set -e; wc -l < \"$1\"; tail -n 1 \"$1\" | wc -c; dd if=\"$1\" bs=7 status=none | \
        cmp - \"$1\"; head -c 9 \"$1\"";
    let output = Command::new("sh").args(["-c", script, "sh"]).arg(&cpuinfo).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = read(&cpuinfo).lines().count();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, format!("{lines}\n1\nprocessor"));
}

#[test]
fn threads_on_one_descriptor_never_torn() {
    let Some(daemon) = Daemon::start("threads_on_one_descriptor_never_torn", &[]) else { return };
    for name in ["proc/meminfo", "proc/stat"] {
        let lines = read(&daemon.file(name)).lines().count();
        let file = File::open(daemon.file(name)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut buffer = vec![0; 1 << 16];
                    for _ in 0..500 {
                        let size = file.read_at(&mut buffer, 0).unwrap();
                        let text = std::str::from_utf8(&buffer[..size]).unwrap();
                        assert_eq!(text.lines().count(), lines, "{name}");
                        assert!(text.ends_with('\n'), "{name}");
                    }
                });
            }
        });
    }
}

#[test]
fn o_rdwr_refused() {
    let Some(daemon) = Daemon::start("o_rdwr_refused", &[]) else { return };
    let online = "sys/devices/system/cpu/cpu0/topology/core_id";
    for name in FILES.into_iter().chain([online]) {
        for options in [OpenOptions::new().write(true), OpenOptions::new().read(true).write(true)] {
            let error = options.open(daemon.file(name)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{name}");
        }
    }
    assert!(std::fs::write(daemon.file("proc/new"), "x").is_err());
    assert!(std::fs::remove_file(daemon.file("proc/stat")).is_err());
    assert!(
        std::fs::set_permissions(daemon.file("proc/stat"), PermissionsExt::from_mode(0o777))
            .is_err()
    );
}

#[test]
fn size_is_zero_or_exact() {
    let Some(daemon) = Daemon::start("size_is_zero_or_exact", &[]) else { return };
    for name in FILES {
        let metadata = std::fs::metadata(daemon.file(name)).unwrap();
        assert_eq!((metadata.size(), metadata.mode()), (0, 0o100_444), "{name}");
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
    }
}

#[test]
fn mode_0400_enforced() {
    let test = "mode_0400_enforced";
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    let slabinfo = daemon.file("proc/slabinfo");
    let metadata = std::fs::metadata(&slabinfo).unwrap();
    assert_eq!((metadata.size(), metadata.mode()), (0, 0o100_400));
    let cat = |file: &Path| {
        let mut cat = Command::new("cat");
        let nobody = cat.arg(file).uid(65534).gid(65534).stderr(Stdio::piped());
        nobody.output().unwrap()
    };
    assert!(cat(&daemon.file("proc/vmstat")).status.success(), "anybody gets as far as this");
    let refused = cat(&slabinfo);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    assert!(read(&slabinfo).starts_with("slabinfo - version"), "and root may read it");
}

#[test]
fn a_file_that_the_host_lacks_is_not_there() {
    let test = "a_file_that_the_host_lacks_is_not_there";
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    let names = ["slabinfo", "vmstat", "zoneinfo", "partitions", "interrupts", "softirqs"];
    for name in names.into_iter().chain(["schedstat"]) {
        let on_host = Path::new("/proc").join(name).exists();
        assert_eq!(daemon.file(&format!("proc/{name}")).exists(), on_host, "{name}");
        let mut listed = std::fs::read_dir(daemon.file("proc")).unwrap();
        assert_eq!(listed.any(|entry| entry.unwrap().file_name() == name), on_host, "{name}");
    }
}

#[test]
fn cpu_dirs_once_with_d_type() {
    let Some(daemon) = Daemon::start("cpu_dirs_once_with_d_type", &[]) else { return };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(daemon.file("sys/devices/system/cpu")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok()) {
            assert!(entry.file_type().unwrap().is_dir(), "{name}");
        }
        names.push(name);
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "a name is listed twice");
    // LXC's mount hook takes the directory as a whole if it has this file.
    assert!(names.contains(&"uevent".to_owned()), "{names:?}");
    for name in ["online", "possible", "present", "offline", "kernel_max"] {
        assert!(names.contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn crash_notes_not_served() {
    let Some(daemon) = Daemon::start("crash_notes_not_served", &[]) else { return };
    let cpu0 = daemon.file("sys/devices/system/cpu/cpu0");
    for name in ["crash_notes", "crash_notes_size", "thermal_throttle"] {
        assert!(!cpu0.join(name).exists(), "{name}");
    }
    for entry in std::fs::read_dir(&cpu0).unwrap() {
        assert!(!entry.unwrap().file_name().to_string_lossy().starts_with("crash_notes"));
    }
}

#[test]
fn lstat_outside_tree_refused() {
    let Some(daemon) = Daemon::start("lstat_outside_tree_refused", &[]) else { return };
    for path in ["proc/1", "proc/../sys/kernel", "sys/kernel", "sys/devices/system/memory", "etc"] {
        assert!(std::fs::symlink_metadata(daemon.file(path)).is_err(), "{path}");
    }
}

#[test]
fn poll_elsewhere_is_enosys() {
    let Some(daemon) = Daemon::start("poll_elsewhere_is_enosys", &[]) else { return };
    // The kernel then answers by itself: ready for reading, and never waits for us.
    let mut program = Command::new("python3");
    program.args([
        "-c",
        "import select,sys; p=select.poll(); f=open(sys.argv[1]); p.register(f); \
        print(p.poll(0)[0][1] & select.POLLIN)",
    ]);
    let output = program.arg(daemon.file("proc/swaps")).output().unwrap();
    assert_eq!(output.stdout, b"1\n");
}

#[test]
fn cgroup_that_disappears_mid_read_keeps_the_last_content() {
    let test = "cgroup_that_disappears_mid_read_keeps_the_last_content";
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    let cgroup = TestCgroup::new("mid-read");
    cgroup.set_memory(32 * MIB);
    // The shell opens the file while it is in the cgroup, and reads it again when that is gone.
    let script = "read go; exec 3<\"$1\"; head -n 1 <&3; echo opened; read go; \
        cat <&3 | head -n 1; exec 3<\"$1\"; head -n 1 <&3";
    let mut shell = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(daemon.file("proc/meminfo"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    cgroup.add_pid(shell.id());
    let mut stdin = shell.stdin.take().unwrap();
    writeln!(stdin).unwrap();
    let mut stdout = std::io::BufReader::new(shell.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("opened") {
        assert!(std::io::BufRead::read_line(&mut stdout, &mut text).unwrap() > 0, "{text}");
    }
    assert!(text.starts_with("MemTotal:          32768 kB\n"), "{text}");
    let elsewhere = TestCgroup::new("elsewhere");
    elsewhere.add_pid(shell.id());
    drop(cgroup);
    writeln!(stdin).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(shell.wait().unwrap().success());
    assert!(rest.contains("MemTotal:"), "a new open shows where the process is now: {rest}");
}
