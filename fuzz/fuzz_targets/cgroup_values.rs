//! No content of a cgroup's file, and no mountinfo, makes its parser panic; limits that were read
//! print as what they were.
//!
//! Run: `cargo +nightly fuzz run cgroup_values` in the repository's root.

#![no_main]

use libfuzzer_sys::fuzz_target;
use procfmt::limit::Limit;
use procfmt::{keyed, limit_value, mountinfo, numa_stat, pid_cgroup};

fuzz_target!(|text: &[u8]| {
    limits(text);
    for (key, value) in keyed::flat(text).flatten() {
        assert!(keyed::flat_value(text, key).is_some(), "{key:?} = {value} is not found again");
    }
    for line in keyed::by_device(text).flatten() {
        let _ = line.pairs().count();
    }
    let _ = (keyed::blkio(text).count(), keyed::device(text));
    for line in numa_stat::parse(text).flatten() {
        let _ = line.nodes().count();
    }
    for mount in mountinfo::mounts(text) {
        let _ = mount.has_super_option(b"memory");
    }
    assert!(mountinfo::unescape(text).len() <= text.len());
    for membership in pid_cgroup::memberships(text) {
        // Only v2 has a hierarchy without controllers and without a name.
        assert!(!(membership.is_v2() && membership.has_controller(b"memory")));
    }
});

fn limits(text: &[u8]) {
    if let Some(number) = limit_value::number(text) {
        let printed = number.to_string();
        assert_eq!(limit_value::number(printed.as_bytes()), Some(number));
        assert_eq!(limit_value::number_or_max(text), Some(Limit::Value(number)));
    }
    let _ = (limit_value::v1_bytes(text), limit_value::v1_quota(text));
    if let Some((_, period)) = limit_value::cpu_max(text) {
        assert!(period > 0, "a period of nothing");
    }
}
