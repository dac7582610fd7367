//! `/proc/diskstats` in a container: its own I/O on a disk that others use too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;
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
            daemon.diskstats().exists()
        });
        daemon
    }

    fn diskstats(&self) -> PathBuf {
        self.dir.path().join("view/proc/diskstats")
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
/// reads completed and sectors read, and what `iostat -x` makes of it since the beginning.
fn told(disk: &Disk, daemon: &Daemon) -> (u64, u64, String) {
    disk.fill("own", OWN);
    disk.fill("neighbour", NEIGHBOURS);
    done(Command::new("sh").args(["-c", &disk.read("neighbour")]));
    let name = disk.name();
    let script = format!(
        "[ $({}) = {} ] && cat /proc/diskstats && echo ---- && iostat -x -k {name}",
        disk.read("own"),
        OWN << 16
    );
    let container = oci::Container::new("runc", &["sh", "-c", &script]);
    let container = container.mount(&daemon.diskstats(), "/proc/diskstats");
    let at = disk.mountpoint.path();
    let text = stdout_of(&container.mount(at, at.to_str().unwrap()).run());
    let (stats, iostat) = text.split_once("----\n").unwrap();
    let [reads, _, sectors, _] = row(stats, &name)[..4] else { panic!("{stats}") };
    // The host's numbers for the same disk have the neighbour's I/O too.
    let host = row(&std::fs::read_to_string("/proc/diskstats").unwrap(), &name);
    assert!(host[0] >= NEIGHBOURS, "{host:?}");
    (reads, sectors, iostat.to_owned())
}

/// The counters of a disk.
fn row(stats: &str, name: &str) -> Vec<u64> {
    let row = stats.lines().find(|line| line.split_whitespace().nth(2) == Some(name));
    let row = row.unwrap_or_else(|| panic!("no {name} in:\n{stats}"));
    row.split_whitespace().skip(3).map(|number| number.parse().unwrap()).collect()
}

fn can_test(test: &str) -> bool {
    let commands = ["runc", "mkfs.ext4", "losetup", "perl", "iostat", "dd"];
    can_run(test) && commands.iter().all(|command| need_command(test, command))
}

/// What the file system reads of its own accord comes on top, and is little.
#[track_caller]
fn assert_own(disk: &Disk, (reads, sectors, iostat): (u64, u64, String)) {
    assert!((OWN..NEIGHBOURS).contains(&reads), "{reads} reads");
    let own = OWN * SECTORS..NEIGHBOURS * SECTORS / 4;
    assert!(own.contains(&sectors), "{sectors} sectors");
    assert!(iostat.lines().any(|line| line.starts_with(&disk.name())), "{iostat}");
}

#[test]
fn v2_diskstats_show_only_own_io() {
    let test = "v2_diskstats_show_only_own_io";
    if layout() != Layout::V2 || !can_test(test) {
        return;
    }
    let disk = Disk::new(231);
    let daemon = Daemon::start(&[]);
    assert_own(&disk, told(&disk, &daemon));
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
    let (reads, sectors, _) = told(&disk, &daemon);
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
    assert_own(&disk, told(&disk, &daemon));
    // The cgroup in which the rule was set has gone.
    let blkio = testkit::hierarchies().into_iter();
    let blkio = blkio.filter(|one| one.controllers.iter().any(|name| name == "blkio"));
    let left = blkio.flat_map(|one| std::fs::read_dir(one.mount).unwrap().flatten());
    let name = format!("resview-blkio-{}", daemon.child.id());
    assert!(left.into_iter().all(|entry| entry.file_name() != *name));
}
