//! Rules for the text of source files: length, unsafe code, what pure crates may call.

use super::Source;

/// No file is longer.
const MOST: usize = 800;
/// Half of the files are no longer, and nine of ten.
const MEDIAN: usize = 170;
const NINE_OF_TEN: usize = 450;

/// The crates whose work needs unsafe code; every other forbids it.
const UNSAFE: &[&str] = &["attach", "container", "fuse", "supervisor", "syscalls"];

/// The crates that open no file, read no clock, no environment.
pub(crate) const PURE: &[&str] = &["procfmt", "view"];
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "File::open",
    "Instant::now",
    "SystemTime",
];

/// What is wrong with the lengths of all files together, and of each.
pub(super) fn lengths(files: &[Source]) -> Vec<String> {
    let mut lengths: Vec<usize> = files.iter().map(|file| file.text.lines().count()).collect();
    lengths.sort_unstable();
    let too_long = |file: &&Source| file.text.lines().count() > MOST;
    let mut broken: Vec<String> = files
        .iter()
        .filter(too_long)
        .map(|file| format!("{} is longer than {MOST} lines", file.path.display()))
        .collect();
    for (share, limit) in [(50, MEDIAN), (90, NINE_OF_TEN)] {
        let at = lengths.get(lengths.len() * share / 100).copied().unwrap_or(0);
        if at > limit {
            broken.push(format!("{share} % of the files reach {at} lines; the limit is {limit}"));
        }
    }
    broken
}

/// What is wrong with one file.
pub(super) fn broken(file: &Source) -> Vec<String> {
    let path = file.path.display();
    let mut broken = Vec::new();
    let mut parts = file.path.iter().map(|part| part.to_string_lossy());
    let (top, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let crate_root = file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs");
    let may_be_unsafe = top == "crates" && UNSAFE.contains(&name.as_ref());
    if crate_root && !may_be_unsafe && !file.text.contains("#![forbid(unsafe_code)]") {
        broken.push(format!("{path} does not say #![forbid(unsafe_code)]"));
    }
    let source = file.path.iter().any(|part| part == "src") && !file.path.ends_with("tests.rs");
    if top == "crates" && PURE.contains(&name.as_ref()) && source {
        let code = file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = (1..).zip(code.lines());
        let lines = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in lines {
            for impure in IMPURE.iter().filter(|impure| line.contains(*impure)) {
                broken.push(format!("{path}:{number}: {impure} in a pure crate"));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn long_files_are_found() {
        let short = || source("crates/a/src/a.rs", "\n");
        assert!(lengths(&[short(), short()]).is_empty());
        let long = source("crates/a/src/long.rs", &"\n".repeat(MOST + 1));
        let broken = lengths(&[short(), short(), long]);
        assert!(broken[0].contains("long.rs"), "{broken:?}");
    }

    #[test]
    fn unsafe_code_is_forbidden_but_where_it_is_needed() {
        assert_eq!(broken(&source("crates/view/src/lib.rs", "//! V\n")).len(), 1);
        assert_eq!(broken(&source("crates/view/src/lib.rs", "#![forbid(unsafe_code)]")).len(), 0);
        assert_eq!(broken(&source("crates/container/src/lib.rs", "//! C\n")).len(), 0);
    }

    #[test]
    fn pure_crates_read_no_clock_outside_tests() {
        let text = "// std::fs is not for us\nlet now = Instant::now();\n";
        let found = broken(&source("crates/view/src/a.rs", text));
        assert_eq!(found, ["crates/view/src/a.rs:2: Instant::now in a pure crate"]);
        assert!(broken(&source("crates/cgroup/src/a.rs", text)).is_empty());
        let tests = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
        assert!(broken(&source("crates/view/src/a.rs", &tests)).is_empty());
    }
}
