//! Id-mapped mounts of a tree, as containers with a user namespace of their own get them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::place::{Mountpoint, isolated};
use common::{HELLO, Tree};
use fuse::{Connection, Errno, Features, InitFlags, MountOptions, Serve, ServeHandle, Session};
use testkit::{UserNamespace, need_command};

/// The host's id of the namespace's root.
const FIRST: u32 = 100_000;

fn serve(session: &Session) -> ServeHandle {
    serve_tree(session, &Arc::new(Tree::new()))
}

fn serve_tree(session: &Session, tree: &Arc<Tree>) -> ServeHandle {
    let threads = Serve::with_threads(NonZeroUsize::new(2).unwrap());
    session.serve(Arc::clone(tree) as Arc<dyn fuse::Filesystem>, threads).unwrap()
}

/// Whether this kernel has them for FUSE, since 6.12.
fn offered(session: &Session) -> bool {
    session.negotiated().offered.contains(InitFlags::ALLOW_IDMAP)
}

#[track_caller]
fn stdout(namespace: &UserNamespace, script: &str) -> String {
    let output = namespace.sh(script);
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whose `path` is, and what one of its files says.
fn looked_at(namespace: &UserNamespace, path: &Path) -> String {
    stdout(namespace, &format!("stat -c %u:%g:%a '{}' && cat '{0}'", path.display()))
}

#[test]
fn a_file_bound_with_ids_mapped_belongs_to_the_namespaces_root() {
    let test = "fuse::a_file_bound_with_ids_mapped_belongs_to_the_namespaces_root";
    if !need_command(test, "nsenter") {
        return;
    }
    isolated(test, || {
        let (at, namespace) = (Mountpoint::new(), UserNamespace::new(FIRST));
        let session = at.session();
        let serving = serve(&session);
        let (file, dir) = (tempfile::NamedTempFile::new().unwrap(), tempfile::tempdir().unwrap());
        let bound = namespace.bind(&at.file("hello"), file.path());
        if !offered(&session) {
            assert!(!session.negotiated().flags.contains(InitFlags::ALLOW_IDMAP));
            assert_eq!(bound, Err(Errno::INVAL.raw_os_error()));
            return;
        }
        assert!(session.negotiated().flags.contains(InitFlags::ALLOW_IDMAP));
        assert_eq!(bound, Ok(()));
        assert_eq!(namespace.bind(&at.file("many"), dir.path()), Ok(()));
        let hello = std::str::from_utf8(HELLO).unwrap();
        assert_eq!(looked_at(&namespace, file.path()), format!("0:0:444\n{hello}"));
        assert_eq!(looked_at(&namespace, &at.file("hello")), format!("65534:65534:444\n{hello}"));
        let list = format!("stat -c %u:%g '{0}' '{0}/f7'; ls '{0}' | wc -l", dir.path().display());
        assert_eq!(stdout(&namespace, &list), "0:0\n0:0\n1000\n");
        for how in [">", ">>", "<>"] {
            let write = namespace.sh(&format!(": {how} '{}'", file.path().display()));
            assert!(!write.status.success(), "{how}: {write:?}");
        }

        // Whoever serves it next need not know.
        serving.stop();
        let negotiated = *session.negotiated();
        let session = Session::adopt(session.into_device().unwrap(), negotiated).unwrap();
        let _serving = serve(&session);
        assert_eq!(looked_at(&namespace, file.path()), format!("0:0:444\n{hello}"));
        let again = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(namespace.bind(&at.file("hello"), again.path()), Ok(()));
    });
}

#[test]
fn permissions_that_the_kernel_checks_cost_no_request() {
    let test = "fuse::permissions_that_the_kernel_checks_cost_no_request";
    isolated(test, || {
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = at.session();
        let _serving = serve_tree(&session, &tree);
        // As cat(1) does. `fs::read` asks for the length besides, and with it for a time that reading
        // has changed.
        let read = || {
            let (file, mut text) = (fs::File::open(at.file("hello")).unwrap(), [0; 4096]);
            let length = rustix::io::read(&file, &mut text).unwrap();
            assert_eq!(text.get(..length), Some(HELLO));
        };
        read();
        let (getattrs, reads) = (&tree.getattrs, &tree.reads);
        let before = (getattrs.load(Ordering::SeqCst), reads.load(Ordering::SeqCst));
        (0..100).for_each(|_| read());
        let asked = getattrs.load(Ordering::SeqCst) - before.0;
        assert!(reads.load(Ordering::SeqCst) - before.1 >= 100);
        assert_eq!(asked, 0);
    });
}

#[test]
fn without_the_flag_a_mount_cannot_have_its_ids_mapped() {
    let test = "fuse::without_the_flag_a_mount_cannot_have_its_ids_mapped";
    isolated(test, || {
        let namespace = UserNamespace::new(FIRST);
        let file = tempfile::NamedTempFile::new().unwrap();
        let usual = Features::default();
        let none = Features { flags: usual.flags - InitFlags::ALLOW_IDMAP, ..usual };
        // As one made by a program that did not know of it; and one without permissions in the kernel,
        // where the flag would end the connection.
        for (features, default_permissions) in [(none, true), (usual, false)] {
            let at = Mountpoint::new();
            let options = MountOptions { default_permissions, ..at.options() };
            let session = Connection::mount(&options).unwrap().init(&features).unwrap();
            assert!(!session.negotiated().flags.contains(InitFlags::ALLOW_IDMAP));
            serve(&session).stop();
            let negotiated = *session.negotiated();
            let session = Session::adopt(session.into_device().unwrap(), negotiated).unwrap();
            let _serving = serve(&session);
            assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
            let bound = namespace.bind(&at.file("hello"), file.path());
            assert_eq!(bound, Err(Errno::INVAL.raw_os_error()));
            assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
        }
    });
}
