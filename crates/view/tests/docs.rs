//! The pages of docs/files against the catalogue.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use procfmt::meminfo;
use view::catalogue::{FilePolicy, Listed, listing};

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/files")
}

fn page_name(file: &str) -> String {
    file.replace('/', "-")
}

fn page(file: &Listed) -> String {
    let path = pages().join(page_name(file.name)).with_extension("md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines that a page's table names, with the policy it gives each.
fn documented(page: &str) -> BTreeMap<String, FilePolicy> {
    let mut lines = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 9, "seven cells in {row}");
        assert!(cells[1..8].iter().all(|cell| !cell.is_empty()), "an empty cell in {row}");
        let policy = cells[2].parse().unwrap_or_else(|error| panic!("{row}: {error}"));
        for name in cells[1].split('`').skip(1).step_by(2) {
            assert!(lines.insert(name.to_owned(), policy).is_none(), "`{name}` twice");
        }
    }
    lines
}

#[test]
fn every_file_has_a_page_and_every_page_a_file() {
    let files: BTreeSet<_> = listing().iter().map(|file| page_name(file.name)).collect();
    let entries = std::fs::read_dir(pages()).unwrap();
    let on_disk: BTreeSet<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.strip_suffix(".md").expect("only pages are here").to_owned())
        .filter(|name| name != "README")
        .collect();
    assert_eq!(on_disk, files);
    let index = std::fs::read_to_string(pages().join("README.md")).unwrap();
    for name in files {
        assert!(index.contains(&format!("| [{name}]({name}.md) |")), "{name} in the index");
    }
}

#[test]
fn pages_say_what_the_catalogue_says() {
    for file in listing() {
        let page = page(&file);
        let in_lxcfs = if file.in_lxcfs { "yes" } else { "no" };
        let expected = format!(
            "\nPolicy: {} · mode {:04o} · in LXCFS 7: {in_lxcfs}\n",
            file.policy, file.mode
        );
        assert!(page.contains(&expected), "{} has no line{expected}", file.name);
        let documented = documented(&page);
        assert!(!documented.is_empty(), "{} has no table", file.name);
        if file.lines.is_empty() {
            continue;
        }
        let listed: BTreeMap<_, _> =
            file.lines.iter().map(|&(name, policy)| (name.to_owned(), policy)).collect();
        assert_eq!(documented, listed, "{}", file.name);
    }
}

#[test]
fn every_captured_line_of_meminfo_is_documented() {
    let listing = listing();
    let file = listing.iter().find(|file| file.name == "meminfo").unwrap();
    let documented = documented(&page(file));
    let mut seen = 0;
    let mut missing = BTreeSet::new();
    for host in testkit::hosts() {
        if !testkit::fixtures_dir().join(&host).join("proc").is_dir() {
            continue;
        }
        for line in meminfo::parse(&testkit::fixture(&host, "proc/meminfo")) {
            let key = std::str::from_utf8(line.key).unwrap();
            let is_direct_map =
                key.starts_with("DirectMap") && documented.contains_key("DirectMap*");
            if !documented.contains_key(key) && !is_direct_map {
                missing.insert(key.to_owned());
            }
            seen += 1;
        }
    }
    assert_eq!(missing, BTreeSet::new());
    assert!(seen > 100, "{seen} lines in all fixtures");
}
