//! Every renderer over text that no kernel prints: an error at worst.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use view::catalogue::PROC_FILES;
use view::{CpuTimes, Disks, Memory, Nodes, ResourceView, Vm};

/// A view in which every part is there.
fn view() -> ResourceView {
    ResourceView {
        memory: Some(Memory::default()),
        cpu_times: Some(CpuTimes::default()),
        disks: Some(Disks::default()),
        vm: Some(Vm::default()),
        nodes: Some(Nodes::default()),
        slabs: Some(Vec::new()),
        ..ResourceView::default()
    }
}

/// Words and numbers as they occur in these files, in any order.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        any::<u64>().prop_map(|number| number.to_string()),
        "[a-z]{1,8}|[ \t]{1,9}|[:,()\n-]|cpu[0-9]|Node [0-9], zone|pages free|per-node stats|managed",
    ];
    let words =
        proptest::collection::vec(word, 0..60).prop_map(|words| words.concat().into_bytes());
    prop_oneof![words, proptest::collection::vec(any::<u8>(), 0..300)]
}

proptest! {
    #[test]
    fn arbitrary_host_text_never_panics(text in text()) {
        for file in &PROC_FILES {
            let mut out = Vec::new();
            let _ = (file.render)(&text, &view(), &mut out);
            let mut out = Vec::new();
            (file.render)(&text, &ResourceView::default(), &mut out).unwrap();
            prop_assert_eq!(&out, &text, "without parts, {} is the host's", file.name);
        }
    }
}
