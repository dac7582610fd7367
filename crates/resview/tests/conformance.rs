//! The conformance suite over our own tree, on the cgroup layout of this machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use conformance::{Server, Tree, Verdict};
use testkit::{need_command, need_fuse, need_root};

#[test]
fn ours_passes_every_check_that_applies() {
    let test = "ours_passes_every_check_that_applies";
    let programs = ["dd", "nsenter", "timeout", "unshare", "/usr/bin/python3"];
    if !need_root(test) || !need_fuse(test) || !programs.iter().all(|name| need_command(test, name))
    {
        return;
    }
    conformance::private_mounts().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_resview"));
    let server = Server::resview(binary, &[]).unwrap();
    let tree = Tree::mounted("ours", &server.dir()).unwrap().served_by(binary);
    let mut passed = 0;
    let column = conformance::run_all(&tree, conformance::all(), &[], |check, verdict, took| {
        passed += usize::from(*verdict == Verdict::Pass);
        println!("{} ({:.1} s): {verdict:?}", check.name(), took.as_secs_f64());
    });
    let failures = column.failures();
    assert!(failures.is_empty(), "{failures:#?}");
    // A tree without files would pass too.
    assert!(passed >= 40, "only {passed} checks apply");
}
