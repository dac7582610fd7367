//! How often memory is allocated for a request, counted by the allocator of this test.
//!
//! In the steady state nothing is allocated for a read but the open file itself. Content that has to
//! be made, once per millisecond at most, takes what the view of a container and its text are made
//! of. That depends on the machine's cgroup hierarchies, and not on how many containers, tasks or open
//! files there are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fuse::{Dispatcher, InFlight};
use testkit::{TestCgroup, figures, need_command, need_root};
use view::policy::Policy;
use viewfs::{Contents, Keep, SharedTree, Upkeep};

/// Counts what each thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LOOKUP: u32 = 1;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const ROOT: u64 = 1;
const SIZE: u32 = 1 << 16;

/// The init of a pid namespace of its own, in a cgroup of its own.
struct Container {
    unshare: Child,
    init: u32,
    _cgroup: TestCgroup,
}

impl Container {
    fn start() -> Self {
        let cgroup = TestCgroup::new("allocations");
        cgroup.set_memory(64 << 20);
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "sh", "-c", "echo $$; exec sleep 1000"]);
        let mut unshare = unshare.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let init = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        cgroup.add_pid(init);
        Self { unshare, init, _cgroup: cgroup }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// Asks as the kernel does.
struct Client<'d, 's> {
    dispatcher: &'d mut Dispatcher<'s>,
    tid: u32,
    unique: u64,
    request: Vec<u8>,
}

impl Client<'_, '_> {
    /// The first eight bytes of the answer, its length, and how many allocations it took.
    fn ask(&mut self, opcode: u32, node: u64, body: &[&[u8]]) -> (u64, usize, usize) {
        self.unique += 2;
        self.request.clear();
        let length = 40 + body.iter().map(|part| part.len()).sum::<usize>();
        for number in [u32::try_from(length).unwrap(), opcode] {
            self.request.extend(number.to_ne_bytes());
        }
        for number in [self.unique, node, 0] {
            self.request.extend(number.to_ne_bytes());
        }
        for number in [self.tid, 0] {
            self.request.extend(number.to_ne_bytes());
        }
        body.iter().for_each(|part| self.request.extend_from_slice(part));
        let before = ALLOCATIONS.get();
        let reply = self.dispatcher.handle(&self.request).unwrap();
        let allocations = ALLOCATIONS.get() - before;
        assert_eq!(reply[4..8], [0; 4], "request {opcode} was refused");
        let first = reply.get(16..24).map_or(0, |at| u64::from_ne_bytes(at.try_into().unwrap()));
        (first, reply.len() - 16, allocations)
    }

    fn lookup(&mut self, path: &str) -> u64 {
        path.split('/').fold(ROOT, |node, name| self.ask(LOOKUP, node, &[name.as_bytes(), b"\0"]).0)
    }

    /// Opens, reads to the end, closes: the allocations of OPEN, and of the others.
    fn read(&mut self, node: u64) -> (usize, usize) {
        let (fh, _, to_open) = self.ask(OPEN, node, &[&[0; 8]]);
        let (mut offset, mut to_read) = (0_u64, 0);
        let fh = fh.to_ne_bytes();
        loop {
            let (at, size) = (offset.to_ne_bytes(), SIZE.to_ne_bytes());
            let (_, length, allocations) = self.ask(READ, node, &[&fh, &at, &size, &[0; 20]]);
            to_read += allocations;
            if length == 0 {
                break;
            }
            offset += length as u64;
        }
        to_read += self.ask(RELEASE, node, &[&fh, &[0; 16]]).2;
        (to_open, to_read)
    }
}

/// How often memory is allocated to open a file.
fn opens(client: &mut Client<'_, '_>, file: &str) -> Vec<usize> {
    let node = client.lookup(&format!("proc/{file}"));
    let reads: Vec<_> = (0..30).map(|_| client.read(node)).collect();
    // The first ones make room for answers, and open files that are kept.
    let (_, steady) = reads.split_at(20);
    assert!(
        steady.iter().all(|(_, to_read)| *to_read == 0),
        "{file}: to read and close: {steady:?}"
    );
    steady.iter().map(|(to_open, _)| *to_open).collect()
}

/// The open file itself, which is shared by the threads that read it.
const OPEN_FILE: usize = 1;
/// What is read of a container and made of it.
const ANEW: usize = 120;

const FILES: [&str; 6] = ["meminfo", "stat", "loadavg", "uptime", "diskstats", "cpuinfo"];

/// For each file, the most allocations to open it where what was made is used again for `moment`.
fn most(container: &Container, moment: Duration) -> [(&'static str, usize); 6] {
    let upkeep = Upkeep { moment: Some(moment), ..Upkeep::default() };
    let contents = Contents::of_this_host(Policy::default(), &upkeep).unwrap();
    let contents = Arc::new(contents.start().unwrap());
    let tree = SharedTree::new(contents, Arc::new(Keep::create().unwrap()));
    let in_flight = InFlight::new(NonZeroUsize::MIN);
    let mut dispatcher = Dispatcher::new(&tree, &in_flight, 0).unwrap();
    let (tid, request) = (container.init, Vec::with_capacity(4096));
    let mut client = Client { dispatcher: &mut dispatcher, tid, unique: 0, request };
    FILES.map(|file| (file, opens(&mut client, file).into_iter().max().unwrap()))
}

#[test]
fn a_read_allocates_the_open_file_and_nothing_else() {
    let test = "a_read_allocates_the_open_file_and_nothing_else";
    if !need_root(test) || !need_command(test, "unshare") {
        return;
    }
    let container = Container::start();
    // Longer than the test takes on any machine, and none at all.
    let again = most(&container, Duration::from_secs(3600));
    let anew = most(&container, Duration::ZERO);
    figures(test, &format!("allocations to open a file: {again:?}; to make it: {anew:?}"));
    assert!(again.iter().all(|(_, most)| *most <= OPEN_FILE), "{again:?}");
    assert!(anew.iter().all(|(_, most)| *most <= ANEW), "{anew:?}");
}
