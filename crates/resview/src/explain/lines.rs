//! What a file's text says of one of its lines.

/// The lines of a text, by the names that can be asked for.
pub(super) fn names(file: &str, text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    match form(file) {
        Form::Colon => text.lines().filter_map(|line| line.split_once(':')).for_each(|(key, _)| {
            add(key.trim());
        }),
        Form::FirstWord | Form::Zones => text.lines().for_each(|line| add(key_of(file, line))),
        Form::Columns(columns) => columns.iter().for_each(|name| add(name)),
        Form::Header => {
            text.lines().next().unwrap_or_default().split_whitespace().for_each(&mut add);
        }
        Form::Devices(column) => {
            text.lines().filter_map(|line| device(line, column)).for_each(&mut add);
        }
        Form::Rows(_) => ["header", "rows"].into_iter().for_each(&mut add),
        Form::Whole => {}
    }
    names
}

/// What the text says of a line; several values, as of a line that each CPU has, are parted by
/// `; `. `None`: there is no such line.
pub(super) fn value(file: &str, text: &str, name: &str) -> Option<String> {
    let found: Vec<String> = match form(file) {
        Form::Colon => {
            let pairs = text.lines().filter_map(|line| line.split_once(':'));
            pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| tidy(value)).collect()
        }
        Form::FirstWord | Form::Zones => {
            let lines = text.lines().filter(|line| key_of(file, line) == name);
            lines.filter_map(|line| line.trim().strip_prefix(name)).map(tidy).collect()
        }
        Form::Columns(columns) => {
            let words = text.split_whitespace();
            let of_name = words.zip(columns).filter(|(_, column)| **column == name);
            let words: Vec<_> = of_name.map(|(word, _)| word).collect();
            (!words.is_empty()).then(|| words.join(" ")).into_iter().collect()
        }
        Form::Header => {
            let mut lines = text.lines().map(str::split_whitespace);
            let column = lines.next()?.position(|word| word == name)?;
            lines.filter_map(|mut words| words.nth(column)).map(str::to_owned).collect()
        }
        Form::Devices(column) => {
            let rows = text.lines().filter(|line| device(line, column) == Some(name));
            rows.map(tidy).collect()
        }
        Form::Rows(header) => {
            let lines = text.lines().enumerate();
            let wanted = |line: usize| (line < header) == (name == "header");
            let lines = lines.filter(|(line, _)| wanted(*line));
            lines.map(|(_, line)| tidy(line)).take(if name == "header" { 1 } else { 8 }).collect()
        }
        Form::Whole => vec![tidy(text)],
    };
    (!found.is_empty()).then(|| shortened(&found))
}

/// Names by which people ask.
pub(super) fn alias<'a>(file: &str, name: &'a str) -> &'a str {
    match (file, name) {
        ("uptime", "up") => "1st number",
        ("uptime", "idle") => "2nd number",
        ("loadavg", "1" | "5" | "15" | "load") => MINUTES,
        ("loadavg", "running" | "total") => "running/total",
        ("loadavg", "pid") => "last pid",
        ("cpuinfo", "CPUs" | "cpus") => "processor",
        _ => name,
    }
}

const MINUTES: &str = "1, 5, 15 minutes";

/// How a file is laid out.
enum Form {
    /// `key : value`.
    Colon,
    /// `key value …`.
    FirstWord,
    /// Keys in zones.
    Zones,
    /// One line, its columns by name.
    Columns(&'static [&'static str]),
    /// The first line names the columns.
    Header,
    /// One row for each device, whose name is in this column.
    Devices(usize),
    /// So many lines of a header, then rows.
    Rows(usize),
    /// One value.
    Whole,
}

fn form(file: &str) -> Form {
    match file {
        "meminfo" | "cpuinfo" => Form::Colon,
        "stat" | "vmstat" | "schedstat" | "pressure" => Form::FirstWord,
        "zoneinfo" => Form::Zones,
        "uptime" => Form::Columns(&["1st number", "2nd number"]),
        "loadavg" => Form::Columns(&[MINUTES, MINUTES, MINUTES, "running/total", "last pid"]),
        "swaps" => Form::Header,
        "diskstats" => Form::Devices(2),
        "partitions" => Form::Devices(3),
        "slabinfo" => Form::Rows(2),
        "interrupts" | "softirqs" => Form::Rows(1),
        _ => Form::Whole,
    }
}

fn key_of<'a>(file: &str, line: &'a str) -> &'a str {
    let line = line.trim();
    if file == "zoneinfo" && (line.starts_with("Node ") || line.starts_with("cpu:")) {
        return "";
    }
    if line.starts_with("pages free") {
        return "pages free";
    }
    let key = line.split_whitespace().next().unwrap_or_default();
    key.trim_end_matches(':')
}

fn device(line: &str, column: usize) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.clone().next()?.parse::<u32>().ok()?;
    words.nth(column)
}

fn tidy(text: &str) -> String {
    text.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Of a value that says the same many times, one.
fn shortened(found: &[String]) -> String {
    match found {
        [first, rest @ ..] if rest.len() > 1 && rest.iter().all(|one| one == first) => {
            format!("{first} ({} times)", found.len())
        }
        _ => found.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_gives_up_its_values() {
        for (file, text, name, expected) in [
            ("meminfo", "MemTotal:   65536 kB\nMemFree: 1 kB\n", "MemTotal", "65536 kB"),
            ("stat", "cpu  1 2 3\ncpu0 1 2 3\n", "cpu", "1 2 3"),
            (
                "cpuinfo",
                "processor\t: 0\nflags: a\n\nprocessor\t: 3\nflags: a\n",
                "processor",
                "0; 3",
            ),
            ("uptime", "12.50 20.00\n", "2nd number", "20.00"),
            ("loadavg", "0.10 0.20 0.30 1/5 77\n", MINUTES, "0.10 0.20 0.30"),
            ("loadavg", "0.10 0.20 0.30 1/5 77\n", "last pid", "77"),
            ("swaps", "Filename Type Size Used Priority\nnone virtual 64 1 0\n", "Size", "64"),
            ("diskstats", "   8       0 sda 1 2\n", "sda", "8 0 sda 1 2"),
            ("partitions", "major minor  #blocks  name\n\n 8 0 1024 sda\n", "sda", "8 0 1024 sda"),
            (
                "zoneinfo",
                "Node 0, zone DMA\n  pages free     3\n        min 4\n",
                "pages free",
                "3",
            ),
            ("sys/devices/system/cpu", "0-1\n", "online", "0-1"),
            (
                "pressure",
                "some avg10=0.00 total=5\nfull avg10=1.00\n",
                "some",
                "avg10=0.00 total=5",
            ),
        ] {
            assert_eq!(value(file, text, name).as_deref(), Some(expected), "{file}:{name}");
            if !file.starts_with("sys") {
                assert!(names(file, text).iter().any(|known| known == name), "{file}:{name}");
            }
        }
        assert_eq!(value("meminfo", "MemTotal: 1 kB\n", "Mem"), None);
        assert_eq!(value("stat", "cpu0 1\n", "cpu"), None, "a prefix is another line");
    }
}
