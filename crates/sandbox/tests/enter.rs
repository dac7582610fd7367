//! What a process can do after it has entered the sandbox, and what it cannot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use common::*;
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::CapabilitySet;
use sandbox::{OnViolation, Sandbox, Seccomp, enter};
use testkit::need_root;

fn main() -> ExitCode {
    run(
        &[
            ("status_shows_the_exact_capabilities", status_shows_the_exact_capabilities),
            ("with_triggers_two_more_are_kept", with_triggers_two_more_are_kept),
            ("forbidden_calls_fail_with_eperm", forbidden_calls_fail_with_eperm),
            ("allowed_calls_work", allowed_calls_work),
            ("only_what_is_named_has_a_path", only_what_is_named_has_a_path),
            ("a_process_with_threads_is_refused", a_process_with_threads_is_refused),
            ("a_leak_ends_by_abort", a_leak_ends_by_abort),
            ("a_panic_is_caught_and_has_a_backtrace", a_panic_is_caught_and_has_a_backtrace),
            ("violations_can_be_logged_instead", violations_can_be_logged_instead),
            ("limits_are_lowered_for_good", limits_are_lowered_for_good),
        ],
        &[
            ("status", || status(false)),
            ("status with triggers", || status(true)),
            ("forbidden", forbidden),
            ("allowed", allowed),
            ("files", files),
            ("threads", threads),
            ("leak", leak),
            ("panic", panics),
            ("log", log),
            ("limits", limits),
        ],
    )
}

fn status_shows_the_exact_capabilities() {
    if need_root("status_shows_the_exact_capabilities") {
        output_of(child("status"));
    }
}

fn with_triggers_two_more_are_kept() {
    if need_root("with_triggers_two_more_are_kept") {
        output_of(child("status with triggers"));
    }
}

fn status(triggers: bool) {
    let field = |name: &str| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(value.trim_start_matches(':').trim(), 16).unwrap()
    };
    let had = field("CapPrm");
    let report = enter(&Sandbox { triggers, ..Sandbox::default() }).unwrap();
    let needed = if triggers {
        CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_OVERRIDE | CapabilitySet::SYS_RESOURCE
    } else {
        CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH
    };
    let kept = needed.bits() & had;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(set), kept, "{set}");
    }
    assert_eq!((field("CapInh"), field("CapAmb")), (0, 0));
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), (1, 2));
    assert_eq!(report.capabilities.len(), usize::try_from(kept.count_ones()).unwrap());
    assert!(report.no_new_privs && report.seccomp == Seccomp::Refuses && !report.core_dumps);
    // What is missing is said, and nothing else is.
    assert_eq!(report.weaker.len(), usize::try_from((needed.bits() & !had).count_ones()).unwrap());
    assert_eq!(report.files.readable, [PathBuf::from("/proc")]);
}

fn forbidden_calls_fail_with_eperm() {
    if need_root("forbidden_calls_fail_with_eperm") {
        output_of(child("forbidden"));
    }
}

fn forbidden() {
    let tmp = File::open("/tmp").unwrap();
    let namespace = File::open("/proc/self/ns/mnt").unwrap();
    let parent = rustix::process::getppid().unwrap();
    let parent_fd = rustix::process::pidfd_open(parent, rustix::process::PidfdFlags::empty());
    let parent_fd = parent_fd.unwrap();
    // No one else has the right, so that each has to be refused by the filter.
    enter(&Sandbox { triggers: true, ..Sandbox::default() }).unwrap();

    fn refused<T>(what: &str, result: Result<T, impl Into<Error>>) {
        let error = result.err().unwrap_or_else(|| panic!("{what} went well")).into();
        assert_eq!(error.raw_os_error(), Some(Errno::PERM.raw_os_error()), "{what}: {error}");
    }
    refused("a program", Command::new("/proc/self/exe").spawn());
    refused("exec", nix::unistd::execve(c"/proc/self/exe", &[c"x"], &[c""]));
    refused(
        "mount",
        rustix::mount::mount("x", "/", "tmpfs", rustix::mount::MountFlags::empty(), None),
    );
    refused("fsopen", rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::empty()));
    refused("umount", rustix::mount::unmount("/proc", rustix::mount::UnmountFlags::DETACH));
    refused("chroot", rustix::process::chroot("/proc"));
    refused("unshare", nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER));
    refused("setns", nix::sched::setns(&namespace, nix::sched::CloneFlags::empty()));
    refused("a TCP socket", TcpListener::bind("127.0.0.1:0"));
    refused("a UDP socket", UdpSocket::bind("127.0.0.1:0"));
    refused("a file in /etc", File::create("/etc/resview-test"));
    let make = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE;
    refused("a file in /tmp", rustix::fs::openat(&tmp, "resview-test", make, 0o600.into()));
    let append = OpenOptions::new().append(true).open("/proc/self/comm");
    refused("opening to append", append);
    refused("a directory", fs::create_dir("/proc/x"));
    refused("removing", fs::remove_file("/proc/self/comm"));
    refused("renaming", fs::rename("/proc/self/comm", "/proc/x"));
    refused("a link", std::os::unix::fs::symlink("a", "/proc/x"));
    refused(
        "chmod",
        fs::set_permissions("/proc", std::os::unix::fs::PermissionsExt::from_mode(0o0)),
    );
    refused("truncating by path", nix::unistd::truncate("/proc/self/comm", 0));
    refused("kill", rustix::process::kill_process(parent, Signal::CONT));
    refused("kill by pidfd", rustix::process::pidfd_send_signal(&parent_fd, Signal::CONT));
    let flags = rustix::process::PidfdGetfdFlags::empty();
    refused("another's descriptor", rustix::process::pidfd_getfd(&parent_fd, 0, flags));
    let limit = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    refused("a limit", rustix::process::setrlimit(rustix::process::Resource::Core, limit));
    let parent_limit = rustix::process::Resource::Nofile;
    refused("another's limit", rustix::process::prlimit(Some(parent), parent_limit, limit));
    refused("setuid", nix::unistd::setuid(nix::unistd::Uid::from_raw(1)));
    let caps = rustix::thread::capabilities(None).unwrap();
    refused("capset", rustix::thread::set_capabilities(None, caps));
    refused("what nobody has thought of", rustix::process::getgroups());
    refused("the host's name", nix::unistd::sethostname("x"));
}

fn allowed_calls_work() {
    if need_root("allowed_calls_work") {
        output_of(child("allowed"));
    }
}

fn allowed() {
    let proc = File::open("/proc").unwrap();
    enter(&Sandbox { triggers: true, ..Sandbox::default() }).unwrap();
    // A thread, which gets a name, a lock, a channel and an end.
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("one".to_owned());
    let thread = thread.spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1));
        sender.send(fs::read_to_string("/proc/thread-self/comm").unwrap()).unwrap();
    });
    assert_eq!(receiver.recv().unwrap(), "one\n");
    thread.unwrap().join().unwrap();
    assert!(std::thread::available_parallelism().unwrap().get() > 0);

    let flags = rustix::fs::OFlags::RDONLY;
    let meminfo = rustix::fs::openat(&proc, "meminfo", flags, 0.into()).unwrap();
    let mut text = [0; 9];
    assert_eq!(rustix::io::pread(&meminfo, &mut text[..], 0), Ok(9));
    assert_eq!(&text, b"MemTotal:");
    let flags = rustix::fs::OFlags::RDWR;
    drop(rustix::fs::openat(&proc, "self/comm", flags, 0.into()).unwrap());
    assert!(fs::read_dir("/proc/self/task").unwrap().count() > 0);
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero();
    let link = rustix::fs::readlinkat(&proc, format!("{parent}/ns/user"), Vec::new()).unwrap();
    assert!(link.to_bytes().starts_with(b"user:["), "{link:?}");

    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    assert_eq!(rustix::io::write(&other, b"x"), Ok(1));
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    let data = rustix::event::epoll::EventData::new_u64(7);
    let events = rustix::event::epoll::EventFlags::IN;
    rustix::event::epoll::add(&epoll, &one, data, events).unwrap();
    let mut ready = Vec::with_capacity(1);
    let ready = rustix::buffer::spare_capacity(&mut ready);
    assert_eq!(rustix::event::epoll::wait(&epoll, ready, None), Ok(1));
    let memfd = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memfd, 4096).unwrap();
    assert_eq!(rustix::io::pwrite(memfd.as_fd(), b"x", 0), Ok(1));
    let own = rustix::process::getpid();
    rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).unwrap();
    assert!(rustix::process::getrlimit(rustix::process::Resource::Nofile).current.is_some());
}

fn only_what_is_named_has_a_path() {
    if !need_root("only_what_is_named_has_a_path") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.path().join("read"), "text").unwrap();
    let mut command = child("files");
    command.current_dir(dir.path());
    output_of(command);
    assert_eq!(fs::read_to_string(dir.path().join("state/new")).unwrap(), "written");
    // The place was not moved there, nor left behind.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.path().to_str().unwrap()), "{mounts}");
}

fn files() {
    let dir = std::env::current_dir().unwrap();
    let (state, read) = (dir.join("state"), dir.join("read"));
    let sandbox = Sandbox {
        writable: vec![state.clone()],
        readable: vec![read.clone(), "/no/such/file".into()],
        ..Sandbox::default()
    };
    let report = enter(&sandbox).unwrap();
    assert_eq!(report.files.writable, std::slice::from_ref(&state));
    assert_eq!(report.files.readable, [read.clone(), PathBuf::from("/proc")]);
    assert!(report.weaker.iter().any(|line| line.contains("/no/such/file")), "{report}");

    fs::write(state.join("new"), "written").unwrap();
    assert_eq!(fs::read_to_string(&read).unwrap(), "text");
    let kind = |result: Result<(), Error>| result.unwrap_err().kind();
    assert_eq!(kind(fs::write(&read, "x")), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(fs::write("/x", "x")), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(fs::write(dir.join("x"), "x")), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(fs::write("/proc/self/comm", "x")), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(fs::read("/etc/passwd").map(|_| ())), ErrorKind::NotFound);
    assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(mounts.lines().count(), 4, "the root and what it keeps:\n{mounts}");
}

fn a_process_with_threads_is_refused() {
    output_of(child("threads"));
}

fn threads() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || receiver.recv());
    let error = enter(&Sandbox::default()).unwrap_err();
    assert!(matches!(error, sandbox::Error::Threads), "{error}");
    assert!(Path::new("/etc/passwd").exists(), "nothing has changed");
    drop(sender);
    assert!(thread.join().unwrap().is_err());
}

fn a_leak_ends_by_abort() {
    if !need_root("a_leak_ends_by_abort") {
        return;
    }
    let output = child("leak").output().unwrap();
    let message = stderr_of(&output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}: {message}", output.status);
    assert!(!output.status.core_dumped());
    assert!(message.contains("memory allocation of 1048576 bytes failed"), "{message}");
}

fn leak() {
    let limit = 192 << 20;
    enter(&Sandbox { memory: Some(limit), ..Sandbox::default() }).unwrap();
    // Threads have stacks and arenas, which are no leak.
    let threads: Vec<_> = (0..16)
        .map(|_| std::thread::spawn(|| drop(std::hint::black_box(vec![1_u8; 1 << 20]))))
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // Far beyond the limit, and no danger to the machine.
    let leaked: Vec<_> = (0..512).map(|_| vec![1_u8; 1 << 20]).collect();
    panic!("{} MiB within a limit of 192 MiB", std::hint::black_box(leaked).len());
}

fn a_panic_is_caught_and_has_a_backtrace() {
    if !need_root("a_panic_is_caught_and_has_a_backtrace") {
        return;
    }
    let output = child("panic").output().unwrap();
    let message = stderr_of(&output);
    assert!(output.status.success(), "{}: {message}", output.status);
    assert!(message.contains("on purpose") && message.contains("the_culprit"), "{message}");
}

fn panics() {
    let program = std::env::current_exe().unwrap();
    enter(&Sandbox { readable: vec![program], ..Sandbox::default() }).unwrap();
    assert!(std::thread::spawn(the_culprit).join().is_err());
}

#[inline(never)]
fn the_culprit() {
    panic!("on purpose");
}

fn violations_can_be_logged_instead() {
    if need_root("violations_can_be_logged_instead") {
        output_of(child("log"));
    }
}

fn log() {
    let sandbox = Sandbox { on_violation: OnViolation::Log, ..Sandbox::default() };
    assert_eq!(enter(&sandbox).unwrap().seccomp, Seccomp::Logs);
    // Not foreseen, and does no harm.
    rustix::process::getgroups().unwrap();
}

fn limits_are_lowered_for_good() {
    if need_root("limits_are_lowered_for_good") {
        output_of(child("limits"));
    }
}

fn limits() {
    assert_eq!(sandbox::limit_descriptors(100).unwrap(), 100);
    assert_eq!(sandbox::limit_descriptors(200).unwrap(), 100, "a lower limit stays");
    let report = enter(&Sandbox { memory: Some(1 << 30), ..Sandbox::default() }).unwrap();
    assert_eq!((report.descriptors, report.memory), (Some(100), Some(1 << 30)));
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let row = |name: &str| -> Vec<String> {
        let row = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        row.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(row("Max open files"), ["100", "100"]);
    assert_eq!(row("Max core file size"), ["0", "0"]);
    assert_eq!(row("Max data size"), ["1073741824", "1073741824"]);
}
