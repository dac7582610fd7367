//! What a text has to look like. Written down here anew, so that a mistake in the project's own parsers
//! does not hide itself.

use std::path::Path;

/// What is expected of one file.
#[derive(Debug)]
pub(super) struct Expected {
    sort: Sort,
    mem_total_kib: Option<u64>,
    /// The counter that was read last, which must not fall.
    counter: f64,
}

/// The files that are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Meminfo,
    Stat,
    Uptime,
    Loadavg,
    Diskstats,
    Cpuinfo,
    Pressure,
    CpuList,
    Other,
}

type Verdict = Result<(), String>;

impl Expected {
    /// What is expected of the file at `path`.
    pub(super) fn of(path: &Path, mem_total_kib: Option<u64>) -> Self {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let (file, dir) = (name(path).unwrap_or_default(), path.parent().and_then(name));
        let sort = match (dir.unwrap_or_default().as_str(), file.as_str()) {
            ("pressure", _) => Sort::Pressure,
            ("cpu", "online" | "present" | "possible") => Sort::CpuList,
            (dir, _) if dir.starts_with("node") => Sort::Other,
            // A disk's.
            (_, "stat") if path.components().any(|part| part.as_os_str() == "block") => Sort::Other,
            (_, "meminfo") => Sort::Meminfo,
            (_, "stat") => Sort::Stat,
            (_, "uptime") => Sort::Uptime,
            (_, "loadavg") => Sort::Loadavg,
            (_, "diskstats") => Sort::Diskstats,
            (_, "cpuinfo") => Sort::Cpuinfo,
            _ => Sort::Other,
        };
        Self { sort, mem_total_kib, counter: 0.0 }
    }

    /// Whether `text` is what was expected; if not, why.
    pub(super) fn check(&mut self, text: &[u8]) -> Verdict {
        let text = std::str::from_utf8(text).map_err(|_| "no text".to_owned())?;
        // A container that has used no disk has an empty diskstats.
        let may_be_empty = [Sort::Other, Sort::Diskstats].contains(&self.sort);
        let complete = text.ends_with('\n') || (text.is_empty() && may_be_empty);
        if !complete {
            return Err(format!("the text has no end: {} bytes", text.len()));
        }
        let mut lines = text.lines();
        match self.sort {
            Sort::Meminfo => self.meminfo(text),
            Sort::Stat => self.stat(text),
            Sort::Uptime => self.uptime(text),
            Sort::Loadavg => fields(text, 5).map(drop),
            Sort::Diskstats => lines.try_for_each(|line| match line.split_whitespace().count() {
                14.. => Ok(()),
                _ => bad(line),
            }),
            Sort::Cpuinfo if !text.starts_with("processor\t: ") => bad(text),
            Sort::Cpuinfo => {
                lines.try_for_each(|line| match line.is_empty() || line.contains(':') {
                    true => Ok(()),
                    false => bad(line),
                })
            }
            Sort::Pressure => lines.try_for_each(|line| match line.split_once(" avg10=") {
                Some(("some" | "full", rest)) if rest.contains(" total=") => Ok(()),
                _ => bad(line),
            }),
            Sort::CpuList => match text.starts_with(|first: char| first.is_ascii_digit()) {
                true => Ok(()),
                false => bad(text),
            },
            Sort::Other => Ok(()),
        }
    }

    fn meminfo(&self, text: &str) -> Verdict {
        let mut total = None;
        for line in text.lines() {
            let (name, rest) = line.split_once(':').ok_or_else(|| wrong(line))?;
            let value: u64 =
                rest.trim().trim_end_matches(" kB").parse().map_err(|_| wrong(line))?;
            total = total.or((name == "MemTotal").then_some(value));
        }
        match (total, self.mem_total_kib) {
            (None, _) => Err("MemTotal is missing".to_owned()),
            (Some(is), Some(should)) if is != should => {
                Err(format!("MemTotal is {is} kB, not {should} kB"))
            }
            _ => Ok(()),
        }
    }

    fn stat(&mut self, text: &str) -> Verdict {
        let first = text.lines().next().unwrap_or_default();
        let Some(numbers) = first.strip_prefix("cpu ") else { return bad(first) };
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map(|number| number.parse().map_err(|_| wrong(first)))
            .collect::<Result<_, _>>()?;
        if numbers.len() < 10 || !text.contains("\nbtime ") {
            return bad(first);
        }
        // user to steal; guest and guest_nice are in user and nice already.
        #[allow(clippy::cast_precision_loss, reason = "ticks of years fit into 53 bits")]
        let sum = numbers.iter().take(8).sum::<u64>() as f64;
        self.counts(sum)
    }

    fn uptime(&mut self, text: &str) -> Verdict {
        let fields = fields(text, 2)?;
        let up = fields.first().and_then(|up| up.parse().ok()).ok_or_else(|| wrong(text))?;
        self.counts(up)
    }

    fn counts(&mut self, now: f64) -> Verdict {
        let before = std::mem::replace(&mut self.counter, now);
        if now < before {
            return Err(format!("has fallen by {:.2}", before - now));
        }
        Ok(())
    }
}

fn fields(text: &str, count: usize) -> Result<Vec<&str>, String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() == count { Ok(fields) } else { Err(wrong(text)) }
}

fn bad(text: &str) -> Verdict {
    Err(wrong(text))
}

fn wrong(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    format!("of another shape: {:?}", line.chars().take(60).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Verdict {
        Expected::of(Path::new(path), None).check(text.as_bytes())
    }

    #[test]
    fn the_kernels_own_files_have_the_right_shape() {
        for path in ["meminfo", "stat", "uptime", "loadavg", "diskstats", "cpuinfo"] {
            let path = format!("/proc/{path}");
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(check(&path, &text), Ok(()), "{path}");
        }
        assert_eq!(check("/sys/devices/system/cpu/online", "0-1\n"), Ok(()));
        let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(check("/proc/pressure/cpu", pressure), Ok(()));
    }

    #[test]
    fn nothing_and_half_a_text_are_refused() {
        for path in ["meminfo", "stat", "uptime", "loadavg", "cpuinfo"] {
            let path = format!("/proc/{path}");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(check(&path, "").is_err(), "{path}");
            assert!(check(&path, &text[..text.len() / 2 + 1]).is_err(), "{path}");
        }
        assert!(check("/proc/pressure/cpu", "avg10=0.00\n").is_err());
        assert!(check("/proc/diskstats", "8 0 sda 1 2\n").is_err());
    }

    #[test]
    fn counters_may_stand_and_rise_and_not_fall() {
        let mut uptime = Expected::of(Path::new("/proc/uptime"), None);
        for up in ["5.00", "5.00", "7.10"] {
            assert_eq!(uptime.check(format!("{up} 1.00\n").as_bytes()), Ok(()));
        }
        assert_eq!(uptime.check(b"6.10 1.00\n"), Err("has fallen by 1.00".to_owned()));
    }
}
