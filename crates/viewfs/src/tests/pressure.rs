//! The pressure files across a change of processes.

use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fuse::{Errno, NodeId, PollHandle};
use testkit::{Layout, layout};

use super::client::{Client, Process, new_unique};
use super::shared::Machine;
use crate::PressureTree;

const TRIGGER: &str = "some 50000 2000000";
const WAITER: u64 = 77;
/// Only bounds a hang.
const PATIENCE: Duration = Duration::from_secs(60);
const READ_WRITE: u32 = 2;
const PRI: u32 = 2;
const ERR: u32 = 8;

/// As a process would have it that finds only the memory file, and whom it wakes.
fn client(machine: &mut Machine, pid: u32) -> (Client, Receiver<PollHandle>) {
    machine.crash();
    let (sender, woken) = channel();
    let sender = Mutex::new(sender);
    let wake = move |waiter| {
        // Nobody listens any more once a tree is dropped.
        let _ = sender.lock().unwrap().send(waiter);
    };
    let (contents, keep) = (Arc::clone(&machine.contents), Arc::clone(&machine.keep));
    let tree = PressureTree::start_waking(contents, Some(wake), keep).unwrap();
    (Client { fs: Arc::new(tree), pid }, woken)
}

/// More processes than CPUs, in one cgroup.
struct Busy(Vec<Child>);

impl Busy {
    fn in_cgroup_of(process: &Process) -> Self {
        let cpus = std::thread::available_parallelism().unwrap().get();
        let spin = |_| {
            let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
            process.cgroup.add_pid(child.id());
            child
        };
        Self((0..=cpus).map(spin).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `None`: containers have no pressure files here, which is checked instead.
fn open(client: &Client) -> Option<(NodeId, u64, fuse::Fh)> {
    let node = client.child(NodeId::ROOT, "cpu").unwrap();
    let unique = new_unique();
    let opened = client.open_as(unique, node, READ_WRITE);
    if layout() == Layout::V1 {
        assert_eq!(opened, Err(Errno::OPNOTSUPP));
        return None;
    }
    Some((node, unique, opened.unwrap()))
}

#[test]
fn triggers_fire_after_a_restart() {
    let Some(mut machine) = Machine::new("triggers_fire_after_a_restart") else { return };
    let process = Process::new("keep-trigger");
    let (first, _woken) = client(&mut machine, process.id());
    let Some((node, opened_by, fh)) = open(&first) else { return };
    let file = (node, fh);
    let written_by = new_unique();
    let written = first.write_as(written_by, file, TRIGGER).unwrap();
    let ready = first.poll(file, WAITER).unwrap();
    assert_eq!(ready & (PRI | ERR), 0);
    drop(first);

    let (second, woken) = client(&mut machine, process.id());
    assert_eq!(woken.recv_timeout(PATIENCE), Ok(PollHandle(WAITER)), "woken once to ask anew");
    assert_eq!(second.open_as(opened_by, node, READ_WRITE), Ok(fh), "sent again");
    assert_eq!(second.write_as(written_by, file, TRIGGER), Ok(written), "sent again");
    assert_eq!(second.write_as(new_unique(), file, TRIGGER), Err(Errno::BUSY));
    assert_eq!(second.poll(file, WAITER).unwrap() & ERR, 0);
    let busy = Busy::in_cgroup_of(&process);
    assert_eq!(woken.recv_timeout(PATIENCE), Ok(PollHandle(WAITER)), "the trigger fires");
    assert_eq!(second.poll(file, WAITER).unwrap() & (PRI | ERR), PRI);
    drop((second, busy));

    // It fires also where nobody has polled since the restart.
    let (third, woken) = client(&mut machine, process.id());
    assert_eq!(woken.recv_timeout(PATIENCE), Ok(PollHandle(WAITER)));
    let busy = Busy::in_cgroup_of(&process);
    assert_eq!(woken.recv_timeout(PATIENCE), Ok(PollHandle(WAITER)));
    drop(busy);
    third.release(file);
    drop(third);
    let (fourth, woken) = client(&mut machine, process.id());
    assert!(woken.try_recv().is_err(), "a closed file wakes nobody");
    assert_eq!(fourth.write_as(new_unique(), file, "nonsense"), Err(Errno::INVAL), "no trigger");
}

#[test]
fn triggers_of_a_container_that_has_ended_say_so() {
    let test = "triggers_of_a_container_that_has_ended_say_so";
    let Some(mut machine) = Machine::new(test) else { return };
    let (process, other) = (Process::new("keep-gone"), Process::new("keep-else"));
    let (first, _woken) = client(&mut machine, process.id());
    let Some((node, _, fh)) = open(&first) else { return };
    let file = (node, fh);
    first.write_as(new_unique(), file, TRIGGER).unwrap();
    first.poll(file, WAITER).unwrap();
    drop(first);
    process.end();
    let (second, woken) = client(&mut machine, other.id());
    assert_eq!(woken.recv_timeout(PATIENCE), Ok(PollHandle(WAITER)));
    assert_eq!(second.poll(file, WAITER).unwrap() & (PRI | ERR), PRI | ERR);
    assert_eq!(second.read(file, 0), Err(Errno::NODEV));
    assert_eq!(second.write_as(new_unique(), file, TRIGGER), Err(Errno::BUSY), "still has one");
}
