//! The comparison from end to end, on the cgroup layout of this machine: as short as it can be, since
//! no time is judged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::{need_command, need_fuse, need_root};

const BENCH: &str = env!("CARGO_BIN_EXE_resview-bench");

/// Our program, which `cargo test --workspace` puts beside the benchmark.
fn resview() -> PathBuf {
    let program = Path::new(BENCH).with_file_name("resview");
    assert!(program.is_file(), "no {}: run `cargo build -p resview`", program.display());
    program
}

fn cell<'a>(results: &'a Value, table: &str, file: &str, tree: &str) -> Option<&'a Value> {
    let find = |list: &'a Value, key: &str, value: &str| {
        list.as_array().unwrap().iter().find(|one| one[key] == value)
    };
    let row = find(&find(&results["tables"], "title", table)?["rows"], "file", file)?;
    find(&row["cells"], "tree", tree)
}

#[test]
fn a_short_comparison_has_a_value_and_both_ratios_everywhere() {
    let test = "a_short_comparison_has_a_value_and_both_ratios_everywhere";
    let programs = ["lxcfs", "unshare"];
    if !need_root(test) || !need_fuse(test) || !programs.iter().all(|name| need_command(test, name))
    {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(BENCH)
        .args(["compare", "--quick", "--rounds", "2", "--reads", "2", "--seconds", "0.01"])
        .args(["--files", "meminfo,vmstat,cpu/online", "--lxcfs", "LXCFS=lxcfs", "--resview"])
        .arg(resview())
        .arg("--out")
        .arg(out.path())
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{says}");

    let text = std::fs::read_to_string(out.path().join("compare.json")).unwrap();
    let results: Value = serde_json::from_str(&text).unwrap();
    let trees = ["kernel", "FUSE alone", "container tree", "shared tree", "LXCFS"];
    let titles: Vec<_> = results["trees"].as_array().unwrap().iter().collect();
    assert_eq!(titles, trees, "{says}");
    let times = ["Read without a pause, p50", "Read after a pause, p99"];
    for table in
        [&times[..], &["Reads per second, one client", "Reads per second, 8 clients"]].concat()
    {
        for tree in trees {
            let cell = cell(&results, table, "meminfo", tree).unwrap();
            for key in ["value", "by_kernel", "by_other"] {
                assert!(cell[key].as_f64().unwrap() > 0.0, "{table}, {tree}, {key}: {cell}");
            }
        }
    }
    for tree in ["container tree", "shared tree", "LXCFS"] {
        let cost = cell(&results, "CPU time of the server per read, 2 clients", "meminfo", tree);
        assert!(cost.unwrap()["by_other"].is_number(), "{tree}: {cost:?}");
    }
    // LXCFS has no vmstat, and what the container finds there is the kernel's.
    assert!(cell(&results, times[0], "vmstat", "LXCFS").is_none());
    assert!(cell(&results, times[0], "vmstat", "shared tree").is_some());
    for tree in trees {
        assert!(cell(&results, times[0], "cpu/online", tree).is_some(), "{tree}");
    }

    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed, std::fs::read_to_string(out.path().join("compare.md")).unwrap());
    assert!(printed.contains("| target ") && printed.contains("| meminfo "), "{printed}");
    let plot = std::fs::read_to_string(out.path().join("compare.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains(">LXCFS<"));
}
