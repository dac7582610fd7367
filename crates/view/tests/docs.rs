//! The pages of docs/files against the catalogue.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use procfmt::{meminfo, vmstat, zoneinfo};
use view::catalogue::{FilePolicy, Listed, listing};
use view::{Memory, Vm};

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

/// A row of this name is about all keys that no other row names.
const ALL_OTHERS: [&str; 2] = ["all other keys", "other lines"];

/// Whether a row names the key: as it is, or with a `*` that stands for anything.
fn has_row<'a>(names: impl IntoIterator<Item = &'a String>, key: &str) -> bool {
    names.into_iter().any(|name| match name.split_once('*') {
        Some((start, end)) => {
            key.strip_prefix(start).is_some_and(|rest| rest.contains(end) && rest.ends_with(end))
        }
        None => name == key,
    })
}

/// The keys that a file shows, under the names that pages have for them.
fn keys(file: &str, text: &str) -> BTreeSet<String> {
    let first_words = || text.lines().filter_map(|line| line.split_whitespace().next());
    let numbered = |word: &str| match word.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "cpu" if word != "cpu" => "cpuN".to_owned(),
        "domain" => "domainN".to_owned(),
        _ => word.to_owned(),
    };
    let columns = |names: &[&str]| {
        let line = text.lines().next().unwrap_or_default();
        assert!(
            line.is_empty() || line.split_whitespace().count() == names.len(),
            "{file}: {line}"
        );
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    match file {
        "meminfo" | "cpuinfo" => {
            let colons = text.lines().filter_map(|line| line.split_once(':'));
            colons.map(|(key, _)| key.trim_end().to_owned()).collect()
        }
        "stat" | "schedstat" => first_words().map(numbered).collect(),
        "vmstat" => first_words().map(str::to_owned).collect(),
        "zoneinfo" => zone_keys(text),
        "interrupts" | "softirqs" | "slabinfo" => {
            let headers = if file == "slabinfo" { 2 } else { 1 };
            let lines = (0..text.lines().count()).map(|line| line >= headers);
            lines.map(|is_row| if is_row { "rows" } else { "header" }.to_owned()).collect()
        }
        "swaps" => first_line(text),
        "partitions" if text.is_empty() => BTreeSet::new(),
        "partitions" => {
            assert_eq!(text.lines().next(), Some("major minor  #blocks  name"));
            ["major, minor, name", "#blocks"].map(str::to_owned).into()
        }
        "uptime" => columns(&["1st number", "2nd number"]),
        "loadavg" => {
            let minutes = "1, 5, 15 minutes";
            columns(&[minutes, minutes, minutes, "running/total", "last pid"])
        }
        "diskstats" => DISKSTATS.map(str::to_owned).into(),
        _ => panic!("nobody knows the form of {file}"),
    }
}

/// The kinds of columns of diskstats, whose number depends on the kernel.
const DISKSTATS: [&str; 11] = [
    "major, minor, name",
    "reads completed",
    "merged",
    "sectors read",
    "milliseconds",
    "writes completed",
    "sectors written",
    "in flight",
    "discards completed",
    "sectors discarded",
    "flushes",
];

fn first_line(text: &str) -> BTreeSet<String> {
    text.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn zone_keys(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let key = |stat: &zoneinfo::Stat<'_>| String::from_utf8(stat.key.to_vec()).unwrap();
    for zone in zoneinfo::parse(text.as_bytes()) {
        keys.insert("Node N, zone".to_owned());
        keys.extend((!zone.node_stats.is_empty()).then(|| "per-node stats".to_owned()));
        keys.extend((!zone.zone_stats.is_empty()).then(|| "per-zone stats".to_owned()));
        keys.extend((zone.protection > 0).then(|| "protection".to_owned()));
        keys.extend(zone.pages.iter().chain(&zone.tail).map(key));
    }
    keys
}

#[test]
fn every_line_that_containers_see_is_documented() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut seen = 0;
    for file in listing() {
        let rows = documented(&page(&file));
        let has_rest = ALL_OTHERS.iter().any(|rest| rows.contains_key(*rest));
        for host in testkit::hosts() {
            let Ok(text) = std::fs::read_to_string(golden.join(&host).join(file.name)) else {
                continue;
            };
            for key in keys(file.name, &text) {
                // Nobody can name the lines of a kernel to come.
                let is_unknown = host.ends_with("-derived")
                    && key.starts_with("Future")
                    && rows.contains_key("unknown lines");
                let has_row = has_rest || is_unknown || has_row(rows.keys(), &key);
                assert!(has_row, "{host} {}: {key}", file.name);
                seen += 1;
            }
        }
    }
    assert!(seen > 1000, "{seen} lines in all golden files");
}

#[test]
fn every_file_of_sys_that_containers_see_is_documented() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let listing = listing();
    let rows = |directory: &str| {
        let name = format!("sys/devices/system/{directory}");
        documented(&page(listing.iter().find(|file| file.name == name).unwrap()))
    };
    let (cpu, node) = (rows("cpu"), rows("node"));
    let mut seen = 0;
    for host in testkit::hosts() {
        let text = std::fs::read_to_string(golden.join(&host).join("sys")).unwrap_or_default();
        for path in text.lines().filter_map(|line| line.strip_prefix("== ")) {
            let (directory, path) = path.split_once('/').unwrap();
            let rows = if directory == "cpu" { &cpu } else { &node };
            let numbered = |part: &str| match part.trim_end_matches(|c: char| c.is_ascii_digit()) {
                kind @ ("cpu" | "node") => format!("{kind}N"),
                _ => part.to_owned(),
            };
            let path: Vec<_> = path.split('/').map(numbered).collect();
            let path = path.join("/");
            assert!(has_row(rows.keys(), &path), "{host} {directory}: {path}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} files in all golden files");
}

#[test]
fn the_page_of_vmstat_names_what_is_counted_and_nothing_else() {
    let listing = listing();
    let page = page(listing.iter().find(|file| file.name == "vmstat").unwrap());
    let mut rows = documented(&page);
    assert!(rows.remove("all other keys").is_some());
    let (memory, vm) = (Memory::default(), Vm::default());
    for host in testkit::hosts() {
        let dir = testkit::fixtures_dir().join(&host).join("proc");
        if !["vmstat", "vmstat.gz"].iter().any(|name| dir.join(name).exists()) {
            continue;
        }
        for line in vmstat::parse(&testkit::fixture(&host, "proc/vmstat")) {
            let key = std::str::from_utf8(line.key).unwrap();
            let is_counted = view::render::vmstat::value(line.key, &memory, &vm).is_some();
            assert_eq!(is_counted, has_row(rows.keys(), key), "{host}: {key}");
        }
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
            // A kernel to come has these; the page says so of all `unknown lines`.
            let is_unknown = host.ends_with("-derived") && key.starts_with("Future");
            if !documented.contains_key(key) && !is_direct_map && !is_unknown {
                missing.insert(key.to_owned());
            }
            seen += 1;
        }
    }
    assert_eq!(missing, BTreeSet::new());
    assert!(seen > 100, "{seen} lines in all fixtures");
}
