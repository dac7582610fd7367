//! Containers that go, and workers that do.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

use container::registry::{Id, Registration, Target};

use super::super::client::Process;
use super::mounted::{Mounted, registration};
use super::{TWO_TICKS, eventually, limit, total};

fn read_kept(file: &File) -> std::io::Result<String> {
    let mut bytes = vec![0; 64 << 10];
    let length = file.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

#[test]
fn container_gone_is_enoent() {
    let Some(mounted) = Mounted::new("container_gone_is_enoent") else { return };
    let (process, init) = (Process::new("tree-gone"), Process::with_init("tree-gone-init"));
    mounted.register("process", &process);
    mounted.register("init", &init);
    let group = Process::new("tree-gone-cgroup");
    let target = Target::Cgroup { path: group.cgroup.name(), instance: None };
    let registered = Registration::new(Id::new("cgroup").unwrap(), target);
    let names = vec!["web".to_owned()];
    mounted.writer.put(&Registration { names, ..registered }).unwrap();
    let ids = ["process", "init", "cgroup", "web"];
    let path = |id: &str| format!("{id}/sys/devices/system/cpu/online");
    let kept = ids.map(|id| mounted.open(&path(id)));
    for one in [process, init, group] {
        one.end();
    }
    std::thread::sleep(TWO_TICKS);
    for (id, kept) in ids.iter().zip(&kept) {
        for result in [
            std::fs::read_to_string(mounted.path(&path(id))),
            read_kept(kept),
            kept.metadata().map(|_| String::new()),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound, "{id}");
        }
    }
    assert_eq!(std::fs::read_dir(mounted.path("")).unwrap().count(), 0);
}

#[test]
fn a_container_that_is_no_longer_registered_is_not_there() {
    let test = "a_container_that_is_no_longer_registered_is_not_there";
    let Some(mounted) = Mounted::new(test) else { return };
    let process = Process::new("tree-unregistered");
    let registered = mounted.register("c", &process);
    let kept = mounted.open("c/proc/uptime");
    mounted.writer.remove(&registered.id).unwrap();
    assert!(!mounted.path("c").exists(), "at once");
    std::thread::sleep(TWO_TICKS);
    // Who reads while it is detached meets no error.
    assert!(read_kept(&kept).unwrap().ends_with('\n'));
    drop(process);
    std::thread::sleep(TWO_TICKS);
    assert_eq!(read_kept(&kept).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn reused_id_shows_the_new_container_only() {
    let test = "reused_id_shows_the_new_container_only";
    let Some(mounted) = Mounted::new(test) else { return };
    let (one, other) = (Process::new("tree-old"), Process::new("tree-new"));
    one.cgroup.set_memory(limit(40));
    other.cgroup.set_memory(limit(80));
    mounted.register("c", &one);
    let kept = mounted.open("c/proc/meminfo");
    assert!(read_kept(&kept).unwrap().starts_with(&total(40)));
    mounted.register("c", &other);
    // At once: what is bound into the new container must not be the old one's.
    let new = mounted.open("c/proc/meminfo");
    assert!(read_kept(&new).unwrap().starts_with(&total(80)));
    assert_ne!(new.metadata().unwrap().ino(), kept_inode(&mounted, &one));
    std::thread::sleep(TWO_TICKS);
    assert!(read_kept(&kept).unwrap().starts_with(&total(40)), "its own, as long as it runs");
    assert!(mounted.read("c/proc/meminfo").starts_with(&total(80)));
    // The old one under its id again is what it was before.
    mounted.register("c", &one);
    std::thread::sleep(TWO_TICKS);
    assert!(mounted.read("c/proc/meminfo").starts_with(&total(40)));
    assert!(read_kept(&kept).unwrap().starts_with(&total(40)));
    assert!(read_kept(&new).unwrap().starts_with(&total(80)));
    drop(one);
    std::thread::sleep(TWO_TICKS);
    assert_eq!(read_kept(&kept).unwrap_err().kind(), ErrorKind::NotFound);
}

fn kept_inode(mounted: &Mounted, process: &Process) -> u64 {
    let id = "another-id";
    mounted.writer.put(&registration(id, process)).unwrap();
    std::fs::metadata(mounted.path(&format!("{id}/proc/meminfo"))).unwrap().ino()
}

#[test]
fn another_worker_goes_on_with_the_same_files() {
    let test = "another_worker_goes_on_with_the_same_files";
    let Some(mut mounted) = Mounted::new(test) else { return };
    let process = Process::new("tree-worker");
    process.cgroup.set_memory(limit(70));
    let names = vec!["web".to_owned()];
    let registered = Registration { names, ..registration("c", &process) };
    mounted.writer.put(&registered).unwrap();
    let paths = ["c/proc/meminfo", "c/sys/devices/system/cpu/cpu0/topology/core_id", "web"];
    let kept = paths.map(|path| mounted.open(path));
    let swaps = mounted.open("c/proc/swaps");
    let before = (read_kept(&swaps).unwrap(), swaps.metadata().unwrap());
    let inodes = kept.each_ref().map(|file| file.metadata().unwrap().ino());
    for mebibytes in [71, 400] {
        mounted.change_worker();
        process.cgroup.set_memory(limit(mebibytes));
        std::thread::sleep(TWO_TICKS);
        assert!(read_kept(&kept[0]).unwrap().starts_with(&total(mebibytes)));
        assert!(read_kept(&kept[1]).unwrap().ends_with('\n'));
        assert_eq!(kept.each_ref().map(|file| file.metadata().unwrap().ino()), inodes);
        let after = (read_kept(&swaps).unwrap(), swaps.metadata().unwrap());
        assert_eq!((&before.0, before.1.len()), (&after.0, after.1.len()));
        let mtime = |of: &std::fs::Metadata| (of.mtime(), of.mtime_nsec());
        assert_eq!(mtime(&before.1), mtime(&after.1), "the same bytes, so they stay in the cache");
    }
}

#[test]
fn a_change_of_workers_tears_nothing() {
    let Some(mut mounted) = Mounted::new("a_change_of_workers_tears_nothing") else { return };
    let process = Process::new("tree-changes");
    mounted.register("c", &process);
    let file = mounted.open("c/sys/devices/system/cpu/online");
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = [0_usize; 2];
            while !end.load(Ordering::Relaxed) {
                match read_kept(&file).unwrap().trim_end_matches('\n') {
                    "0" => seen[0] += 1,
                    "0-1" => seen[1] += 1,
                    other => panic!("{other:?}"),
                }
            }
            seen
        });
        for round in 0..60 {
            process.cgroup.set_cpuset(["0", "0-1"][round % 2]);
            std::thread::sleep(std::time::Duration::from_millis(9));
            mounted.change_worker();
        }
        end.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap().iter().all(|&count| count > 0));
    });
    eventually("the last limit shows", || read_kept(&file).unwrap() == "0-1\n");
}
