//! `/proc/diskstats` and `/sys/block` in a container: its own I/O on a disk that others use too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use common::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::process::Signal;
use testkit::{Layout, layout, need_command, oci};

/// Reads of 64 KiB, past the page cache.
const OWN: u64 = 8;
const NEIGHBOURS: u64 = 200;
const SECTORS: u64 = 65536 / 512;

/// A daemon that switches on the counting does so for every disk, those of other tests too.
static ALONE: Mutex<()> = Mutex::new(());

/// A disk of the test's own, new to the kernel: on v1, one that was ever throttled counts for good.
struct Disk {
    number: u32,
    image: tempfile::NamedTempFile,
    mountpoint: tempfile::TempDir,
    /// A devtmpfs, because nobody may be there to make new device nodes in /dev.
    dev: tempfile::TempDir,
}

impl Disk {
    /// In a mount namespace of the thread, which must not have one of its own yet.
    fn new(number: u32) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        // Fails where the kernel has loop devices built in.
        let _ = Command::new("modprobe").arg("loop").output();
        assert!(control(LOOP_CTL_ADD, number), "cannot make a loop device");
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(64 << 20).unwrap();
        let [mountpoint, dev] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let no_data = None::<&str>;
        mount(no_data, dev.path(), Some("devtmpfs"), MsFlags::empty(), no_data).unwrap();
        let disk = Self { number, image, mountpoint, dev };
        done(Command::new("mkfs.ext4").arg("-q").arg(disk.image.path()));
        done(Command::new("losetup").arg(disk.device()).arg(disk.image.path()));
        let at = disk.mountpoint.path();
        mount(Some(&disk.device()), at, Some("ext4"), MsFlags::empty(), no_data).unwrap();
        disk
    }

    fn name(&self) -> String {
        format!("loop{}", self.number)
    }

    fn device(&self) -> PathBuf {
        self.dev.path().join(self.name())
    }

    /// Makes a file of so many blocks.
    fn fill(&self, file: &str, blocks: u64) {
        let blocks = vec![7; usize::try_from(blocks).unwrap() << 16];
        std::fs::write(self.mountpoint.path().join(file), blocks).unwrap();
        done(Command::new("sync").arg("-f").arg(self.mountpoint.path()));
    }

    /// The shell command that reads it.
    fn read(&self, file: &str) -> String {
        let file = self.mountpoint.path().join(file);
        format!("dd if={} bs=64k iflag=direct status=none | wc -c", file.display())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.mountpoint.path(), MntFlags::MNT_DETACH);
        let _ = Command::new("losetup").arg("-d").arg(self.device()).output();
        let _ = umount2(self.dev.path(), MntFlags::MNT_DETACH);
        for _ in 0..250 {
            // Busy until the last mount namespace with the file system in it has gone.
            if control(LOOP_CTL_REMOVE, self.number) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// linux/loop.h
const LOOP_CTL_ADD: u32 = 0x4C80;
const LOOP_CTL_REMOVE: u32 = 0x4C81;

fn control(request: u32, number: u32) -> bool {
    let script = format!(
        "open(my $control, '+<', '/dev/loop-control') or die $!;
         defined(ioctl($control, {request}, {number})) or die $!"
    );
    Command::new("perl").args(["-e", &script]).output().unwrap().status.success()
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr_of(&output));
}

struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("view")).unwrap();
        let mut command = Command::new(RESVIEW);
        command.args(["daemon", "--log", "warn", "--mountpoint"]).arg(dir.path().join("view"));
        command.arg("--runtime-dir").arg(dir.path().join("run")).args(options);
        let mut daemon = Self { child: command.stdin(Stdio::null()).spawn().unwrap(), dir };
        eventually("the daemon mounts", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon has ended");
            daemon.file("proc/diskstats").exists()
        });
        daemon
    }

    fn file(&self, path: &str) -> PathBuf {
        self.dir.path().join("view").join(path)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
    }
}

/// What a container is told after it has read from the disk, while somebody else read much more:
/// reads completed and sectors read, and what `script` prints then.
fn told(disk: &Disk, daemon: &Daemon, script: &str) -> (u64, u64, String) {
    disk.fill("own", OWN);
    disk.fill("neighbour", NEIGHBOURS);
    done(Command::new("sh").args(["-c", &disk.read("neighbour")]));
    let name = disk.name();
    let script = format!(
        "[ $({}) = {} ] && cat /proc/diskstats && echo ---- && \
         cmp /sys/block/{name}/stat /sys/class/block/{name}/stat && cat /sys/block/{name}/stat && \
         echo ---- && {script}",
        disk.read("own"),
        OWN << 16
    );
    let container = oci::Container::new("runc", &["sh", "-c", &script]);
    let container = container.mount(&daemon.file("proc/diskstats"), "/proc/diskstats");
    let container =
        ["sys/block", "sys/class/block"].into_iter().fold(container, |container, path| {
            container.mount(&daemon.file(path), &format!("/{path}"))
        });
    let at = disk.mountpoint.path();
    let text = stdout_of(&container.mount(at, at.to_str().unwrap()).run());
    let mut parts = text.splitn(3, "----\n");
    let [stats, stat, printed] = [(); 3].map(|()| parts.next().unwrap());
    let row_of_disk = row(stats, &name);
    assert_eq!(numbers(stat.split_whitespace()), row_of_disk, "stat in sysfs and diskstats");
    let [reads, _, sectors, _] = row_of_disk[..4] else { panic!("{stats}") };
    // The host's numbers for the same disk have the neighbour's I/O too.
    let host = row(&std::fs::read_to_string("/proc/diskstats").unwrap(), &name);
    assert!(host[0] >= NEIGHBOURS, "{host:?}");
    (reads, sectors, printed.to_owned())
}

/// The counters of a disk.
fn row(stats: &str, name: &str) -> Vec<u64> {
    let row = stats.lines().find(|line| line.split_whitespace().nth(2) == Some(name));
    let row = row.unwrap_or_else(|| panic!("no {name} in:\n{stats}"));
    numbers(row.split_whitespace().skip(3))
}

fn numbers<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u64> {
    words.map(|number| number.parse().unwrap()).collect()
}

/// The rows below each header `Device …` that `iostat` prints, split into words.
fn reports(iostat: &str) -> Vec<Vec<Vec<&str>>> {
    let mut reports: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut is_row = false;
    for line in iostat.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if words.first() == Some(&"Device") {
            reports.push(Vec::new());
            is_row = true;
        } else if words.is_empty() {
            is_row = false;
        } else if let (true, Some(report)) = (is_row, reports.last_mut()) {
            report.push(words);
        }
    }
    reports
}

fn can_test(test: &str) -> bool {
    let commands = ["runc", "mkfs.ext4", "losetup", "perl", "iostat", "dd"];
    can_run(test) && commands.iter().all(|command| need_command(test, command))
}

/// What the file system reads of its own accord comes on top, and is little.
#[track_caller]
fn assert_own((reads, sectors): (u64, u64)) {
    assert!((OWN..NEIGHBOURS).contains(&reads), "{reads} reads");
    let own = OWN * SECTORS..NEIGHBOURS * SECTORS / 4;
    assert!(own.contains(&sectors), "{sectors} sectors");
}

#[test]
fn v2_diskstats_show_only_own_io() {
    let test = "v2_diskstats_show_only_own_io";
    if layout() != Layout::V2 || !can_test(test) {
        return;
    }
    let disk = Disk::new(231);
    let daemon = Daemon::start(&[]);
    let (reads, sectors, _) = told(&disk, &daemon, "true");
    assert_own((reads, sectors));
}

#[test]
fn iostat_x_shows_own_io_only() {
    let test = "iostat_x_shows_own_io_only";
    if !can_test(test) {
        return;
    }
    let is_v1 = layout() != Layout::V2;
    let _alone = is_v1.then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner));
    let disk = Disk::new(234);
    let daemon = Daemon::start(if is_v1 { &["--blkio-accounting"] } else { &[] });
    let script = "export LC_ALL=C S_TIME_FORMAT=ISO; ls /sys/block && echo ---- && \
                  iostat -d -k && echo ---- && iostat -x -k 1 2 && echo ---- && cat /proc/diskstats";
    let (reads, sectors, text) = told(&disk, &daemon, script);
    assert_own((reads, sectors));
    let parts: Vec<_> = text.split("----\n").collect();
    let [listed, totals, extended, diskstats] = parts[..] else { panic!("{text}") };
    let disks: Vec<_> =
        diskstats.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert!(listed.lines().all(|name| disks.contains(&name)), "{text}");
    // Device, transfers per second, three rates, and kB read, written and discarded.
    let [report] = &reports(totals)[..] else { panic!("{totals}") };
    let total = report.iter().find(|row| row[0] == disk.name());
    let total = total.unwrap_or_else(|| panic!("no row of the disk: {totals}"));
    assert_eq!(total[5].parse(), Ok(sectors / 2), "kB read: {totals}");
    let reports = reports(extended);
    assert_eq!(reports.len(), 2, "{extended}");
    for row in reports.iter().flatten() {
        assert!(disks.contains(&row[0]), "{} is none of the container's: {text}", row[0]);
    }
    let since_boot = reports[0].iter().find(|row| row[0] == disk.name()).expect(extended);
    assert!(since_boot[2].parse::<f64>().unwrap() > 0.0, "rkB/s: {extended}");
    // Nothing reads from the disk any more.
    let since_then = reports[1].iter().find(|row| row[0] == disk.name()).expect(extended);
    assert!(since_then[1..3].iter().all(|rate| rate.parse() == Ok(0.0)), "{extended}");
}

#[test]
fn a_disk_that_has_gone_is_not_there() {
    let test = "a_disk_that_has_gone_is_not_there";
    if !can_test(test) {
        return;
    }
    let _ = Command::new("modprobe").arg("loop").output();
    let number = 235;
    assert!(control(LOOP_CTL_ADD, number), "cannot make a loop device");
    let daemon = Daemon::start(&[]);
    let block = daemon.file("sys/block");
    let disk = block.join("loop235");
    let listed = |name: &str| {
        std::fs::read_dir(&block).unwrap().any(|entry| entry.unwrap().file_name() == name)
    };
    // This process is the host's, which has all disks.
    assert!(listed("loop235"));
    let directory = std::fs::File::open(&disk).unwrap();
    let stat = std::fs::read_to_string(disk.join("stat")).unwrap();
    assert!(stat.split_whitespace().count() >= 11, "{stat}");
    assert!(control(LOOP_CTL_REMOVE, number), "cannot remove the loop device");
    let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&directory));
    for path in [disk.join("stat"), disk.clone(), Path::new(&through).join("stat")] {
        let error = std::fs::read(&path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
    }
    assert!(!listed("loop235"));
}

#[test]
fn v1_without_throttle_rule_is_zero_not_host() {
    let test = "v1_without_throttle_rule_is_zero_not_host";
    if layout() == Layout::V2 || !can_test(test) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = Disk::new(232);
    let daemon = Daemon::start(&[]);
    let (reads, sectors, _) = told(&disk, &daemon, "true");
    assert_eq!((reads, sectors), (0, 0), "a disk that nobody had counted, or the host's numbers");
}

#[test]
fn v1_blkio_accounting_counts_own_io() {
    let test = "v1_blkio_accounting_counts_own_io";
    if layout() == Layout::V2 || !can_test(test) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = Disk::new(233);
    let daemon = Daemon::start(&["--blkio-accounting"]);
    let (reads, sectors, _) = told(&disk, &daemon, "true");
    assert_own((reads, sectors));
    // The cgroup in which the rule was set has gone.
    let blkio = testkit::hierarchies().into_iter();
    let blkio = blkio.filter(|one| one.controllers.iter().any(|name| name == "blkio"));
    let left = blkio.flat_map(|one| std::fs::read_dir(one.mount).unwrap().flatten());
    let name = format!("resview-blkio-{}", daemon.child.id());
    assert!(left.into_iter().all(|entry| entry.file_name() != *name));
}
