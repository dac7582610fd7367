//! The pages of docs/files, which say of every line what it is made from. A test of `view` holds
//! them against the catalogue, so what is printed here cannot be older than the program.

use view::catalogue::FilePolicy;

/// One row of a page's table: what is said of some lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The lines; a name may hold a `*` or an `N`.
    pub(super) names: Vec<&'static str>,
    pub(super) policy: FilePolicy,
    /// What they are made from on cgroup v2.
    pub(super) v2: &'static str,
    /// And on v1.
    pub(super) v1: &'static str,
    pub(super) unit: &'static str,
    /// What is shown where the source is missing.
    pub(super) missing: &'static str,
}

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        const PAGES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../../docs/files/", $name, ".md")))),*
        ];
    };
}

pages!(
    "cpuinfo",
    "meminfo",
    "stat",
    "uptime",
    "swaps",
    "diskstats",
    "loadavg",
    "slabinfo",
    "vmstat",
    "zoneinfo",
    "partitions",
    "interrupts",
    "softirqs",
    "schedstat",
    "pressure",
    "sys-devices-system-cpu",
    "sys-devices-system-node",
    "sys-block",
    "sys-class-block",
);

/// Everything that is said of a file, by its name in the catalogue.
pub(super) fn rules(file: &str) -> Vec<Rule> {
    let name = file.replace('/', "-");
    let page = PAGES.iter().find(|(page, _)| *page == name).map_or("", |(_, text)| text);
    page.lines().filter(|line| line.starts_with("| `")).filter_map(rule).collect()
}

fn rule(row: &'static str) -> Option<Rule> {
    let mut cells = row.split('|').map(str::trim).skip(1);
    let names = cells.next()?.split('`').skip(1).step_by(2).collect();
    let policy = cells.next()?.parse().ok()?;
    let (v2, v1) = (cells.next()?, cells.next()?);
    let v1 = if v1.starts_with("the same") { v2 } else { v1 };
    Some(Rule { names, policy, v2, v1, unit: cells.next()?, missing: cells.next()? })
}

/// A cell without marks: `` `a` of [b](c) `` is `a of b`.
pub(super) fn plain(cell: &str) -> String {
    let mut text = cell.replace('`', "");
    while let Some((before, rest)) = text.split_once('[')
        && let Some((name, rest)) = rest.split_once("](")
        && let Some((_, after)) = rest.split_once(')')
    {
        text = format!("{before}{name}{after}");
    }
    text
}

/// Rows that are about all lines that no other row names.
const ALL_OTHERS: [&str; 4] = ["all other keys", "other lines", "unknown lines", "*/anything else"];

/// What is said of one line of a file. More than one rule: the line has parts of its own, as a row
/// of diskstats has. Empty: the page does not know it.
pub(super) fn rules_of(file: &str, line: &str) -> Vec<Rule> {
    let rules = rules(file);
    let named = |wanted: &dyn Fn(&str) -> bool| {
        let found = rules.iter().filter(|rule| rule.names.iter().any(|name| wanted(name)));
        found.cloned().collect::<Vec<_>>()
    };
    let plain = numbered(line);
    let without_number = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_numbered = without_number != plain;
    let partition = format!("{without_number}N");
    let by_name: [&dyn Fn(&str) -> bool; 4] = [
        &|name| name == line || name == plain,
        &|name| name.ends_with("/*N") && is_numbered && matches(name, &partition),
        &|name| matches(name, &plain) && !ALL_OTHERS.contains(&name),
        &|name| ALL_OTHERS.contains(&name),
    ];
    let found = by_name.iter().map(|wanted| named(wanted)).find(|found| !found.is_empty());
    found.unwrap_or_else(|| match file {
        // A row of a device, all parts of it; and the keys that zones have too many of to list.
        "diskstats" | "partitions" => rules.clone(),
        "zoneinfo" => named(&|name| name.starts_with("per-")),
        _ => Vec::new(),
    })
}

/// `cpu3/topology` as the pages have it: `cpuN/topology`.
fn numbered(line: &str) -> String {
    let part = |part: &str| match part.trim_end_matches(|c: char| c.is_ascii_digit()) {
        kind @ ("cpu" | "node" | "domain" | "memory") if kind != part => format!("{kind}N"),
        _ => part.to_owned(),
    };
    line.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Whether a name with `*`s, each for anything but a slash, is about this line.
fn matches(pattern: &str, line: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let ends = (0..=line.len()).filter(|end| line.is_char_boundary(*end));
            let ends = ends.take_while(|end| !line.get(..*end).is_some_and(|s| s.contains('/')));
            ends.filter_map(|end| line.get(end..)).any(|line| matches(rest, line))
        }),
    }
}

#[cfg(test)]
mod tests {
    use view::catalogue::listing;

    use super::*;

    #[test]
    fn everything_virtual_in_the_catalogue_has_an_answer() {
        for file in listing() {
            assert!(!rules(file.name).is_empty(), "{}", file.name);
            for (line, policy) in &file.lines {
                let rules = rules_of(file.name, &line.replace('N', "0"));
                assert!(!rules.is_empty(), "{}:{line}", file.name);
                assert!(rules.iter().any(|rule| rule.policy == *policy), "{}:{line}", file.name);
                assert!(rules.iter().all(|rule| !rule.v1.is_empty() && !rule.v2.is_empty()));
            }
        }
    }

    #[test]
    fn lines_find_their_rows() {
        let unit = |file, line| rules_of(file, line).first().map(|rule| rule.unit);
        assert_eq!(unit("meminfo", "Dirty"), Some("kB"));
        assert_eq!(unit("vmstat", "pgscan_kswapd"), Some("events"));
        assert_eq!(rules_of("vmstat", "compact_stall")[0].names, ["all other keys"]);
        assert_eq!(rules_of("stat", "cpu7")[0].names, ["cpuN"]);
        assert_eq!(rules_of("diskstats", "sda").len(), 4);
        assert_eq!(rules_of("sys/block", "sda/sda1")[0].names, ["*", "*/*N"]);
        assert_eq!(rules_of("sys/block", "loop0/stat")[0].names, ["*/stat"]);
        let cpu = |path| rules_of("sys/devices/system/cpu", path)[0].policy;
        assert_eq!(cpu("cpu12/topology/thread_siblings_list"), FilePolicy::Virtual);
        assert_eq!(cpu("cpu0/topology/core_id"), FilePolicy::Host);
        assert_eq!(cpu("cpu0/cache/index2/shared_cpu_map"), FilePolicy::Virtual);
    }

    #[test]
    fn marks_are_for_pages_alone() {
        assert_eq!(plain("`rios` of [stat](stat.md), see [b](c)"), "rios of stat, see b");
        assert_eq!(plain("[none"), "[none");
    }

    #[test]
    fn a_star_stands_for_one_part() {
        assert!(matches("*/queue/*", "sda/queue/rotational") && matches("a*", "a"));
        assert!(!matches("*", "sda/stat") && !matches("*/stat", "sda/sda1/stat"));
    }
}
