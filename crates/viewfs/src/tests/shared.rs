//! The shared tree across a change of processes.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use fuse::{Caller, Errno, Fh, NodeId, Peek};
use testkit::need_root;
use view::policy::Policy;

use super::client::{Client, Process, new_unique};
use crate::contents::{Contents, Opened};
use crate::keep::{Keep, Meta, Owner, What};
use crate::{Degraded, SharedTree, Upkeep};

/// Uptime is another after this time.
const TWO_TICKS: Duration = Duration::from_millis(20);

fn opened() -> Opened {
    Contents::of_this_host(Policy::default(), &Upkeep::default()).unwrap()
}

/// Trees one after another, each as a process would have it that finds only the memory file.
pub(super) struct Machine {
    pub(super) contents: Arc<Contents>,
    pub(super) keep: Arc<Keep>,
}

impl Machine {
    pub(super) fn new(test: &str) -> Option<Self> {
        let keep = Arc::new(Keep::create().unwrap());
        need_root(test).then(|| Self { contents: Arc::new(opened().start().unwrap()), keep })
    }

    /// The process ends as by SIGKILL, and another one begins.
    pub(super) fn crash(&mut self) {
        let fd = self.keep.as_fd().try_clone_to_owned().unwrap();
        self.keep = Arc::new(Keep::adopt(fd).unwrap());
    }

    fn client(&self, process: &Process) -> Client {
        let tree = SharedTree::new(Arc::clone(&self.contents), Arc::clone(&self.keep));
        Client { fs: Arc::new(tree), pid: process.id() }
    }

    fn client_after_crash(&mut self, process: &Process) -> Client {
        self.crash();
        self.client(process)
    }
}

#[test]
fn a_reader_in_the_middle_of_a_file_sees_one_text() {
    let test = "a_reader_in_the_middle_of_a_file_sees_one_text";
    let Some(mut machine) = Machine::new(test) else { return };
    let process = Process::new("keep-middle");
    let client = machine.client(&process);
    let (just_opened, refreshed) = (client.open("proc/stat"), client.open("proc/uptime"));
    let first = client.read(just_opened, 0).unwrap();
    let original = client.read(refreshed, 0).unwrap();
    std::thread::sleep(TWO_TICKS);
    let unique = new_unique();
    let second = client.read_as(unique, refreshed, 0).unwrap();
    assert_ne!(original, second);
    for _ in 0..3 {
        let client = machine.client_after_crash(&process);
        assert_eq!(client.read(just_opened, 10).unwrap(), first[10..]);
        assert_eq!(client.read(refreshed, 1).unwrap(), second[1..]);
        // The answer had arrived, and the request was handled again none the less.
        assert_eq!(client.read_as(unique, refreshed, 0).unwrap(), second);
    }
    std::thread::sleep(TWO_TICKS);
    let client = machine.client_after_crash(&process);
    let third = client.read(refreshed, 0).unwrap();
    assert_ne!(third, second, "a new read at 0 gets new content");
    let client = machine.client_after_crash(&process);
    assert_eq!(client.read(refreshed, 1).unwrap(), third[1..]);
    client.release(refreshed);
    assert_eq!(client.read(refreshed, 0).map(drop).err(), None, "known no more, so made anew");
}

#[test]
fn an_open_that_is_sent_again_gets_its_first_handle() {
    let test = "an_open_that_is_sent_again_gets_its_first_handle";
    let Some(mut machine) = Machine::new(test) else { return };
    let process = Process::new("keep-again");
    let client = machine.client(&process);
    let (file, directory) = (client.lookup("proc/stat").unwrap(), client.lookup("proc").unwrap());
    let (first, second) = (new_unique(), new_unique());
    let opened = client.open_as(first, file, 0).unwrap();
    let listed = client.opendir_as(second, directory).unwrap();
    let client = machine.client_after_crash(&process);
    assert_eq!(client.open_as(first, file, 0), Ok(opened));
    assert_eq!(client.opendir_as(second, directory), Ok(listed));
    let other = client.lookup("proc/uptime").unwrap();
    assert_ne!(client.open_as(first, other, 0), Ok(opened), "another file");
    let new = client.open_as(new_unique(), file, 0).unwrap();
    assert!(new != opened && new != listed);
    client.release((file, opened));
    let reopened = client.open_as(first, file, 0).unwrap();
    assert_ne!(reopened, opened, "no handle is given out twice");
    assert_eq!(client.read((file, Fh(new.0 + 1000)), 0).map(drop), Err(Errno::BADF));
}

#[test]
fn a_listing_goes_on_where_it_was() {
    let Some(mut machine) = Machine::new("a_listing_goes_on_where_it_was") else { return };
    let process = Process::new("keep-listing");
    let client = machine.client(&process);
    for path in ["proc", "sys/devices/system/cpu"] {
        let node = client.lookup(path).unwrap();
        let directory = (node, client.opendir_as(new_unique(), node).unwrap());
        let (all, _) = client.readdir(directory, 0, 1 << 20).unwrap();
        let (mut names, mut offset) = client.readdir(directory, 0, 100).unwrap();
        assert!(!names.is_empty() && names.len() < all.len());
        loop {
            let client = machine.client_after_crash(&process);
            let (more, next) = client.readdir(directory, offset, 200).unwrap();
            if more.is_empty() {
                break;
            }
            names.extend(more);
            offset = next;
        }
        assert_eq!(names, all);
    }
}

#[test]
fn nodes_that_were_looked_up_are_known() {
    let Some(mut machine) = Machine::new("nodes_that_were_looked_up_are_known") else { return };
    let process = Process::new("keep-nodes");
    let client = machine.client(&process);
    let cpu = client.lookup("sys/devices/system/cpu").unwrap();
    let (names, _) = {
        let directory = (cpu, client.opendir_as(new_unique(), cpu).unwrap());
        client.readdir(directory, 0, 1 << 20).unwrap()
    };
    let is_cpu =
        |name: &&String| name.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok());
    let name = names.iter().find(is_cpu).unwrap();
    let node = client.child(cpu, name).unwrap();
    let topology = client.child(node, "topology").unwrap();
    let file = client.child(topology, "core_id").unwrap();
    for _ in 0..2 {
        let client = machine.client_after_crash(&process);
        client.getattr(file).unwrap();
        assert_eq!(client.child(topology, "core_id"), Ok(file));
        let fh = client.open_as(new_unique(), file, 0).unwrap();
        assert!(client.read((file, fh), 0).unwrap().ends_with(b"\n"));
    }
    let unknown = NodeId(file.0 ^ 1);
    assert_eq!(machine.client(&process).getattr(unknown), Err(Errno::STALE));
}

#[test]
fn a_container_that_has_ended_keeps_its_content() {
    let test = "a_container_that_has_ended_keeps_its_content";
    let Some(mut machine) = Machine::new(test) else { return };
    let (process, other) = (Process::new("keep-ended"), Process::new("keep-other"));
    process.cgroup.set_memory(64 << 20);
    let client = machine.client(&process);
    let file = client.open("proc/meminfo");
    let content = client.read(file, 0).unwrap();
    assert!(content.starts_with(b"MemTotal:          65536 kB\n"));
    process.end();
    for _ in 0..2 {
        let client = machine.client_after_crash(&other);
        assert_eq!(client.read(file, 0).unwrap(), content);
        assert_eq!(client.read(file, 5).unwrap(), content[5..]);
    }
}

/// Whoever has the process id or the cgroup by now, an old handle must not show them.
#[test]
fn a_reused_process_id_does_not_show_another_containers_content() {
    let test = "a_reused_process_id_does_not_show_another_containers_content";
    let Some(mut machine) = Machine::new(test) else { return };
    let (with_init, without) = (Process::with_init("keep-init"), Process::new("keep-reused"));
    for process in [&with_init, &without] {
        let container = machine.contents.identify(process.id()).unwrap().unwrap();
        let own = Owner::of(&container);
        assert_eq!(own.has_init, process.id() == with_init.id());
        let another_start = Owner { start_time: own.start_time ^ 1, ..own.clone() };
        let another_namespace = Owner { pid_namespace: Some(7), ..own.clone() };
        let another_key = Owner { key: own.key ^ 1, ..own.clone() };
        let mut others = vec![another_key];
        if own.has_init {
            others = vec![another_start, another_namespace];
        }
        let node = machine.client(process).lookup("proc/uptime").unwrap();
        let read = |machine: &mut Machine, owner: Owner| {
            let meta = Meta { owner: Some(owner), ..file_meta(&machine.keep, node) };
            machine.keep.open(&meta, b"somebody's");
            let client = machine.client_after_crash(process);
            client.read((node, Fh(meta.fh)), 0).unwrap()
        };
        assert_ne!(read(&mut machine, own), b"somebody's", "its own is made anew");
        for other in others {
            assert_eq!(read(&mut machine, other.clone()), b"somebody's", "{other:?}");
        }
    }
}

fn file_meta(keep: &Keep, node: NodeId) -> Meta {
    Meta {
        fh: keep.new_fh().0,
        node: node.0,
        owner: None,
        opened_by: 0,
        opened_at: 0,
        refreshed_by: 0,
        is_good: true,
        what: What::File { is_linux32: false },
    }
}

#[test]
fn a_handle_that_was_not_written_down_is_opened_anew_for_its_reader() {
    let test = "a_handle_that_was_not_written_down_is_opened_anew_for_its_reader";
    let Some(mut machine) = Machine::new(test) else { return };
    let process = Process::new("keep-unknown");
    process.cgroup.set_memory(32 << 20);
    let client = machine.client(&process);
    let file = client.open("proc/meminfo");
    machine.keep.close(file.1);
    let client = machine.client_after_crash(&process);
    let read = client.read(file, 0).unwrap();
    assert!(read.starts_with(b"MemTotal:          32768 kB\n"));
    assert_eq!(client.read(file, 9).unwrap(), read[9..]);
}

#[test]
fn a_container_with_many_open_files_holds_nobody_else_back() {
    let test = "a_container_with_many_open_files_holds_nobody_else_back";
    let Some(mut machine) = Machine::new(test) else { return };
    let (hog, other) = (Process::new("keep-hog"), Process::new("keep-neighbour"));
    let client = machine.client(&hog);
    let node = client.lookup("sys/devices/system/cpu/online").unwrap();
    let neighbour = Client { pid: other.id(), ..client.clone() };
    let file = neighbour.open("proc/stat");
    let content = neighbour.read(file, 0).unwrap();
    let opened = (0..5000).map_while(|_| client.open_as(new_unique(), node, 0).ok()).count();
    assert_eq!(opened, 4096);
    assert_eq!(client.open_as(new_unique(), node, 0), Err(Errno::NFILE));
    let second = neighbour.open("proc/uptime");
    let uptime = neighbour.read(second, 0).unwrap();
    let neighbour = machine.client_after_crash(&other);
    assert_eq!(neighbour.read(file, 7).unwrap(), content[7..]);
    assert_eq!(neighbour.read(second, 3).unwrap(), uptime[3..]);
}

#[test]
fn requests_are_told_apart_by_container() {
    let Some(mut machine) = Machine::new("requests_are_told_apart_by_container") else { return };
    let (process, other) = (Process::new("keep-class"), Process::new("keep-class-too"));
    let client = machine.client(&process);
    let class = |client: &Client, pid: u32, fh: Option<Fh>| {
        let caller = Caller { tid: pid };
        client.fs.class(&Peek { caller, node: NodeId::ROOT, fh })
    };
    assert_eq!(class(&client, process.id(), None), 0, "not known yet");
    let (_, fh) = client.open("proc/uptime");
    let own = class(&client, process.id(), None);
    assert_ne!(own, 0);
    let neighbour = Client { pid: other.id(), ..client.clone() };
    neighbour.open("proc/uptime");
    assert_ne!(class(&client, other.id(), None), own);
    assert_eq!(class(&client, other.id(), Some(fh)), own, "goes by the file");
    let client = machine.client_after_crash(&process);
    assert_eq!(class(&client, other.id(), Some(fh)), own);
}

#[test]
fn degraded_content_is_the_last_good_or_the_hosts() {
    let test = "degraded_content_is_the_last_good_or_the_hosts";
    let Some(mut machine) = Machine::new(test) else { return };
    let (process, other) = (Process::new("keep-degraded"), Process::new("keep-never"));
    process.cgroup.set_memory(48 << 20);
    other.cgroup.set_memory(16 << 20);
    let client = machine.client(&process);
    let held = client.open("proc/meminfo");
    let closed = client.open("proc/meminfo");
    let good = client.read(closed, 0).unwrap();
    client.release(closed);
    let total = |text: &[u8]| text.split(|&byte| byte == b'\n').next().unwrap().to_vec();
    let mine = total(&good);
    assert_eq!(mine, b"MemTotal:          49152 kB");
    let host = total(&std::fs::read("/proc/meminfo").unwrap());

    for (choice, expected) in [(Degraded::LastGood, &mine), (Degraded::Host, &host)] {
        machine.contents = Arc::new(opened().start_degraded(choice));
        for _ in 0..2 {
            let client = machine.client_after_crash(&process);
            let file = client.open("proc/meminfo");
            assert_eq!(total(&client.read(file, 0).unwrap()), *expected, "{choice:?}");
            assert_eq!(total(&client.read(file, 0).unwrap()), *expected, "{choice:?}");
            client.release(file);
            let neighbour = Client { pid: other.id(), ..client };
            let file = neighbour.open("proc/meminfo");
            assert_eq!(total(&neighbour.read(file, 0).unwrap()), host, "{choice:?}");
            neighbour.release(file);
        }
        assert!(machine.contents.answered_degraded() >= 6);
    }
    // What containers were given in between is no content of theirs.
    machine.contents = Arc::new(opened().start_degraded(Degraded::LastGood));
    let client = machine.client_after_crash(&process);
    let file = client.open("proc/meminfo");
    assert_eq!(total(&client.read(file, 0).unwrap()), mine);
    assert_eq!(total(&client.read(held, 0).unwrap()), mine);
    assert!(machine.contents.answered_degraded() > 0);
}
