//! Readers that never stop. A binary of its own: they leave little time to others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use attach::Outcome;
use common::container::PLAIN;
use common::{Container, Served, attach_usual, detach_usual, isolated, mounts_of};

/// The container counts its failures itself, in the shell, without a break.
#[test]
fn readers_never_fail_while_the_view_comes_and_goes() {
    isolated("readers_never_fail_while_the_view_comes_and_goes", || {
        let (first, second) = (Served::new("MemTotal: first\n"), Served::new("MemTotal: second\n"));
        let mut container = Container::new(PLAIN);
        let before = mounts_of(container.pid);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        for reader in 0..2 {
            container.begin(&format!(
                "until [ -e {path}/end ]; do \
                   {{ read -r word rest </proc/meminfo && [ \"$word\" = MemTotal: ]; }} \
                     || echo \"$word\" >>{path}/failures; \
                   read -r word </sys/devices/system/cpu/online || echo cpu >>{path}/failures; \
                   echo >>{path}/reads-{reader}; \
                 done"
            ));
        }
        for _ in 0..100 {
            attach_usual(&first, container.process());
            let files = attach_usual(&second, container.process());
            assert_eq!(files, [Outcome::Replaced, Outcome::Replaced, Outcome::Replaced]);
            assert_eq!(detach_usual(container.process()), 3);
        }
        container.run(&format!("touch {path}/end; wait"));
        let failures = std::fs::read_to_string(dir.path().join("failures")).unwrap_or_default();
        assert_eq!(failures, "");
        let reads = |reader: u32| {
            let text = std::fs::read_to_string(dir.path().join(format!("reads-{reader}")));
            text.unwrap_or_default().len()
        };
        assert!(reads(0) > 0 && reads(1) > 0);
        testkit::figures("readers", &format!("{} reads", reads(0) + reads(1)));
        assert_eq!(mounts_of(container.pid), before);
    });
}
