//! The layer against the real kernel, in mount namespaces of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::place::{Mountpoint, isolated};
use common::{ENTRIES, HELLO, Tree, quiet_panics};
use fuse::{
    Connection, Ended, Errno, Features, InitFlags, MountError, MountOptions, Serve, ServeHandle,
    Session, attach, unmount,
};

fn serve(session: &Session, tree: &Arc<Tree>, threads: usize) -> ServeHandle {
    let threads = NonZeroUsize::new(threads).unwrap();
    session
        .serve(Arc::clone(tree) as Arc<dyn fuse::Filesystem>, Serve::with_threads(threads))
        .unwrap()
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn raw(errno: Errno) -> Option<i32> {
    Some(errno.raw_os_error())
}

#[test]
fn tree_reads_as_it_is_served() {
    isolated("fuse::tree_reads_as_it_is_served", || {
        quiet_panics();
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = at.session();
        let serving = serve(&session, &tree, 2);
        let line = at.line().unwrap();
        assert!(line.starts_with("resview-test "), "{line}");
        assert!(line.contains(" fuse.resview rw,nosuid,nodev,"), "{line}");

        assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
        assert_eq!(fs::read(at.file("link")).unwrap(), HELLO);
        assert_eq!(fs::read_link(at.file("link")).unwrap(), Path::new("hello"));
        assert!(fs::read(at.file("big")).unwrap() == tree.big());
        assert_eq!(fs::read_dir(at.path()).unwrap().count(), 6);
        let stat = fs::metadata(at.file("hello")).unwrap();
        assert_eq!((stat.mode(), stat.ino(), stat.blocks()), (0o100_444, 2, 1));
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (1_700_000_000, 123_456_789));
        assert_eq!(rustix::fs::statfs(at.path()).unwrap().f_namelen, 255);

        assert_eq!(errno(fs::read(at.file("absent"))), raw(Errno::NOENT));
        assert_eq!(errno(fs::write(at.file("hello"), "x")), raw(Errno::ACCESS));
        assert_eq!(errno(File::create(at.file("new"))), raw(Errno::ACCESS));
        assert_eq!(errno(fs::create_dir(at.file("new"))), raw(Errno::ACCESS));
        assert_eq!(errno(fs::remove_file(at.file("hello"))), raw(Errno::ACCESS));
        assert_eq!(errno(fs::rename(at.file("hello"), at.file("x"))), raw(Errno::ACCESS));
        let chmod = fs::set_permissions(
            at.file("hello"),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        );
        assert_eq!(errno(chmod), raw(Errno::PERM));
        let xattr = rustix::fs::getxattr(at.file("hello"), "user.x", &mut [0; 8]);
        assert_eq!(xattr, Err(Errno::OPNOTSUPP));

        assert_eq!(errno(fs::read(at.file("boom"))), raw(Errno::IO));
        assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
        unmount(at.path()).unwrap();
        assert_eq!(serving.wait(), Ended::Unmounted);
        assert_eq!(at.line(), None);
    });
}

#[test]
fn a_detached_mount_is_as_one_made_by_mount() {
    isolated("fuse::a_detached_mount_is_as_one_made_by_mount", || {
        use rustix::mount::MountFlags;
        for read_only in [false, true] {
            let (old, new) = (Mountpoint::new(), Mountpoint::new());
            let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
            let data = format!(
                "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
                std::os::fd::AsRawFd::as_raw_fd(&device)
            );
            let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
            flags.set(MountFlags::RDONLY, read_only);
            let data = std::ffi::CString::new(data).unwrap();
            rustix::mount::mount("resview-test", old.path(), "fuse.resview", flags, &*data)
                .unwrap();

            let options = MountOptions { read_only, ..new.options() };
            let (connection, mount) = Connection::detached(&options).unwrap();
            assert_eq!(new.line(), None);
            // Served before it is anywhere; nobody walks a path in it to attach it.
            let session = connection.init(&Features::default()).unwrap();
            attach(mount.as_fd(), new.path()).unwrap();
            let line =
                |at: &Mountpoint| at.line().unwrap().replace(at.path().to_str().unwrap(), "HERE");
            assert_eq!(line(&new), line(&old));
            drop(mount);
            let serving = serve(&session, &Arc::new(Tree::new()), 1);
            assert_eq!(fs::read(new.file("hello")).unwrap(), HELLO);
            assert_eq!(serving.stop(), Ended::Stopped);
        }
    });
}

#[test]
fn a_detached_mount_that_is_never_attached_goes_with_its_descriptor() {
    isolated("fuse::a_detached_mount_that_is_never_attached_goes_with_its_descriptor", || {
        let at = Mountpoint::new();
        let (connection, mount) = Connection::detached(&at.options()).unwrap();
        let session = connection.init(&Features::default()).unwrap();
        let serving = serve(&session, &Arc::new(Tree::new()), 1);
        drop(mount);
        assert_eq!(serving.wait(), Ended::Unmounted);
    });
}

#[test]
fn many_readers_at_once_read_what_is_there() {
    isolated("fuse::many_readers_at_once_read_what_is_there", || {
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = at.session();
        let serving = serve(&session, &tree, 4);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
                        assert!(fs::read(at.file("big")).unwrap() == tree.big());
                        let many = fs::read_dir(at.file("many")).unwrap();
                        let names: std::collections::BTreeSet<_> =
                            many.map(|entry| entry.unwrap().file_name()).collect();
                        assert_eq!(names.len() as u64, ENTRIES);
                    }
                });
            }
        });
        unmount(at.path()).unwrap();
        assert_eq!(serving.wait(), Ended::Unmounted);
    });
}

#[test]
fn killed_reader_does_not_wait_for_a_slow_handler() {
    isolated("fuse::killed_reader_does_not_wait_for_a_slow_handler", || {
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = at.session();
        let serving = serve(&session, &tree, 2);
        let mut reader =
            Command::new("cat").arg(at.file("slow")).stdout(Stdio::null()).spawn().unwrap();
        while tree.slow_reads.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        reader.kill().unwrap();
        // Uninterrupted, the handler would hold the reader for a minute and answer ETIMEDOUT.
        assert_eq!(reader.wait().unwrap().signal(), Some(9));
        assert_eq!(tree.interrupted.load(Ordering::SeqCst), 1);
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}

#[test]
fn adopted_descriptor_goes_on_serving() {
    isolated("fuse::adopted_descriptor_goes_on_serving", || {
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = at.session();
        let negotiated = *session.negotiated();
        assert_eq!(negotiated.major, 7);
        assert!(negotiated.offered.contains(negotiated.flags));
        assert!(negotiated.flags.contains(InitFlags::ASYNC_READ));
        let kept = session.device().try_clone_to_owned().unwrap();
        let serving = serve(&session, &tree, 2);
        let mut open = File::open(at.file("hello")).unwrap();
        assert_eq!(serving.stop(), Ended::Stopped);
        drop(session);

        // Nobody serves: this read waits in the kernel. It is in a process of its own because it
        // could not be killed along with the descriptor that it waits for.
        let waiting =
            Command::new("cat").arg(at.file("big")).stdout(Stdio::piped()).spawn().unwrap();
        let second = Session::adopt(kept, negotiated).unwrap();
        let serving = serve(&second, &tree, 2);
        assert!(waiting.wait_with_output().unwrap().stdout == tree.big());
        let mut text = Vec::new();
        io::Read::read_to_end(&mut open, &mut text).unwrap();
        assert_eq!(text, HELLO);
        drop(open);
        unmount(at.path()).unwrap();
        assert_eq!(serving.wait(), Ended::Unmounted);
    });
}

#[test]
fn changing_servers_loses_no_request() {
    isolated("fuse::changing_servers_loses_no_request", || {
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = at.session();
        let enough = AtomicBool::new(false);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut reads = 0_u32;
                        while !enough.load(Ordering::SeqCst) {
                            assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
                            reads += 1;
                        }
                        reads
                    })
                })
                .collect();
            for _ in 0..100 {
                let before = tree.reads.load(Ordering::SeqCst);
                let serving = serve(&session, &tree, 2);
                while tree.reads.load(Ordering::SeqCst) == before {
                    thread::yield_now();
                }
                assert_eq!(serving.stop(), Ended::Stopped);
            }
            let last = serve(&session, &tree, 2);
            enough.store(true, Ordering::SeqCst);
            assert!(readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u32>() > 0);
            assert_eq!(last.stop(), Ended::Stopped);
        });
    });
}

#[test]
fn stop_ends_idle_threads_and_leaves_the_mount() {
    isolated("fuse::stop_ends_idle_threads_and_leaves_the_mount", || {
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = at.session();
        let serving = serve(&session, &tree, 4);
        let stopper = serving.stopper();
        let stop = thread::spawn(move || stopper.stop());
        assert_eq!(serving.wait(), Ended::Stopped);
        stop.join().unwrap();
        assert!(at.line().is_some());
        assert_eq!(serve(&session, &tree, 1).stop(), Ended::Stopped);
    });
}

#[test]
fn errors_name_the_mountpoint_and_read_only_refuses_writers() {
    isolated("fuse::errors_name_the_mountpoint_and_read_only_refuses_writers", || {
        let at = Mountpoint::new();
        let absent = MountOptions { mountpoint: at.file("absent"), ..at.options() };
        let error = Connection::mount(&absent).unwrap_err();
        assert!(matches!(error, MountError::Attach { errno: Errno::NOENT, .. }), "{error}");
        assert!(error.to_string().contains(absent.mountpoint.to_str().unwrap()), "{error}");
        let nul = MountOptions { source: "a\0b".to_owned(), ..at.options() };
        assert!(matches!(Connection::mount(&nul), Err(MountError::Name { .. })));
        assert_eq!(unmount(at.path()).unwrap_err().errno, Errno::INVAL);

        let read_only = MountOptions { read_only: true, ..at.options() };
        let tree = Arc::new(Tree::new());
        let session = Connection::mount(&read_only).unwrap().init(&Features::default()).unwrap();
        let serving = serve(&session, &tree, 1);
        assert_eq!(errno(fs::write(at.file("hello"), "x")), raw(Errno::ROFS));
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}
