//! `/proc/diskstats` and `/sys/block`, and what sysstat makes of them. Tests with a disk of their own,
//! which count what is read from it, are in the binary `disks`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::{Daemon, in_every_container};

/// The names of the disks in the text of `/proc/diskstats`, of those rows that `of` takes.
fn names(diskstats: &str, of: impl Fn(&[u64]) -> bool) -> BTreeSet<&str> {
    let lines = diskstats.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let numbers: Vec<u64> = words[3..].iter().map(|word| word.parse().unwrap()).collect();
        of(&numbers).then_some(words[2])
    });
    lines.collect()
}

#[test]
fn iostat_shows_the_disks_of_the_container() {
    if !testkit::need_command("iostat_shows_the_disks_of_the_container", "iostat") {
        return;
    }
    let script = "export LC_ALL=C S_TIME_FORMAT=ISO; cat /proc/diskstats && echo ---- && \
                  iostat -d -k && iostat -x 1 2 && echo ---- && cat /proc/diskstats";
    in_every_container("iostat_shows_the_disks_of_the_container", script, |way, text| {
        let parts: Vec<_> = text.split("----\n").collect();
        let [before, iostat, after] = parts[..] else { panic!("{way:?}: {text}") };
        let all = names(after, |_| true);
        // It leaves out what has never been used.
        let used = names(before, |numbers| numbers[0] + numbers[4] > 0);
        for report in iostat.split("\nDevice ").skip(1) {
            let rows: BTreeSet<_> = report
                .lines()
                .skip(1)
                .take_while(|line| !line.is_empty())
                .map(|line| line.split_whitespace().next().unwrap())
                .collect();
            assert!(rows.is_subset(&all) && rows.is_superset(&used), "{way:?}: {text}");
        }
        let totals = iostat.lines().skip_while(|line| !line.starts_with("Device"));
        for row in totals.skip(1).take_while(|line| !line.is_empty()) {
            let words: Vec<_> = row.split_whitespace().collect();
            let read: u64 = words[5].parse().unwrap();
            let kib = |text| sectors_read(text, words[0]) / 2;
            assert!((kib(before)..=kib(after)).contains(&read), "{way:?} {row}: {text}");
        }
    });
}

fn sectors_read(diskstats: &str, name: &str) -> u64 {
    let mut rows = diskstats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row[2] == name).map_or(0, |row| row[5].parse().unwrap())
}

#[test]
fn sys_block_has_the_disks_of_diskstats() {
    let script = "cat /proc/diskstats; echo ----; ls /sys/block; echo ----; ls /sys/class/block
                  echo ----; cd /sys/block; for disk in *; do [ -d \"$disk\" ] || continue
                  cat \"$disk/stat\" \"$disk/inflight\" \"$disk/dev\" >/dev/null || exit 1
                  [ ! -e \"$disk/device/\" ] || echo \"$disk\"; done";
    in_every_container("sys_block_has_the_disks_of_diskstats", script, |way, text| {
        let lists: Vec<_> = text.split("----\n").collect();
        let [diskstats, block, class, with_device] = lists[..] else { panic!("{way:?}: {text}") };
        let disks = names(diskstats, |_| true);
        for listed in [block, class] {
            assert_eq!(listed.lines().collect::<BTreeSet<_>>(), disks, "{way:?}");
        }
        // sysstat takes the others for virtual ones.
        let has_device = |name: &&str| Path::new("/sys/block").join(name).join("device").exists();
        let expected: Vec<_> = disks.iter().copied().filter(has_device).collect();
        assert_eq!(with_device.lines().collect::<Vec<_>>(), expected, "{way:?}");
    });
}

#[test]
fn nothing_in_sys_block_leads_out_of_it_or_can_be_written() {
    let test = "nothing_in_sys_block_leads_out_of_it_or_can_be_written";
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    let tops = ["sys/block", "sys/class/block"].map(|directory| daemon.file(directory));
    // Disks are alike, and in an emulated machine each takes seconds.
    let some = |top: &PathBuf| std::fs::read_dir(top).unwrap().take(2);
    let mut directories: Vec<_> =
        tops.iter().flat_map(some).map(|entry| entry.unwrap().path()).collect();
    let mut files = 0;
    while let Some(directory) = directories.pop() {
        // Another test may take its disk away.
        for entry in std::fs::read_dir(&directory).into_iter().flatten() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            assert_eq!(metadata.file_type(), kind, "{}", path.display());
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_symlink() {
                let target = std::fs::canonicalize(&path).unwrap();
                assert!(tops.iter().any(|top| target.starts_with(top)), "{}", path.display());
            } else {
                let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
                assert_eq!(mode & 0o222, 0, "{}", path.display());
                assert!(std::fs::OpenOptions::new().write(true).open(&path).is_err());
                files += 1;
            }
        }
    }
    // A machine without any disk has none to show.
    let host_has_disks = std::fs::read_dir("/sys/block").unwrap().next().is_some();
    assert_eq!(files > 0, host_has_disks, "{files} files");
}
