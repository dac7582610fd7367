//! What was asked about: a file of the catalogue, and perhaps a line of it.

use anyhow::{Context, bail};
use view::catalogue::{PRESSURE, names};

use super::lines::alias;

/// A file, and perhaps a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// In the catalogue.
    pub(super) file: &'static str,
    /// What to read: below `/proc`, or from the root as in `sys/devices/system/cpu/online`.
    pub(super) path: String,
    /// The line, or the path below a directory of the catalogue.
    pub(super) field: Option<String>,
}

/// Takes `FILE[:FIELD]` apart: `meminfo:MemTotal`, `/proc/stat`, `pressure/cpu:some`,
/// `sys/devices/system/cpu/online`.
///
/// # Errors
/// The catalogue has no such file.
pub(super) fn parse(text: &str) -> anyhow::Result<Asked> {
    let (file, field) = match text.split_once(':') {
        Some((file, field)) => (file, Some(field)),
        None => (text, None),
    };
    let file = file.trim_start_matches('/').trim_end_matches('/');
    let file = file.strip_prefix("proc/").unwrap_or(file);
    if let Some(of) = file.strip_prefix(PRESSURE) {
        let of = of.strip_prefix('/').filter(|of| !of.is_empty());
        let of = of.with_context(|| format!("say which: {PRESSURE}/cpu, memory, io or irq"))?;
        let path = format!("{PRESSURE}/{of}");
        return Ok(Asked { file: PRESSURE, path, field: field.map(str::to_owned) });
    }
    for known in names() {
        let Some(below) = file.strip_prefix(known) else { continue };
        let below = below.strip_prefix('/').filter(|below| !below.is_empty());
        if known.starts_with("sys/") && (below.is_some() || file == known) {
            let below = below.or(field).with_context(|| {
                format!("{known} is a directory; say which file: {known}/{}", example(known))
            })?;
            return Ok(Asked {
                file: known,
                path: on_the_way(known, below),
                field: Some(below.to_owned()),
            });
        }
        if file == known {
            let field = field.map(|field| alias(known, field).to_owned());
            return Ok(Asked { file: known, path: known.to_owned(), field });
        }
    }
    bail!(
        "no virtual file is called `{file}`; there are {}",
        names().collect::<Vec<_>>().join(", ")
    )
}

fn example(directory: &str) -> &'static str {
    if directory.starts_with("sys/devices") { "online" } else { "sda/stat" }
}

/// Links of `class/block` lead to `block`.
fn on_the_way(directory: &str, below: &str) -> String {
    match directory {
        "sys/class/block" => format!("sys/block/{below}"),
        _ => format!("{directory}/{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_name_and_by_path() {
        let asked = |text: &str| {
            let Asked { file, path, field } = parse(text).unwrap();
            (file, path, field.unwrap_or_default())
        };
        let of = |file, path: &str, field: &str| (file, path.to_owned(), field.to_owned());
        assert_eq!(asked("meminfo:MemTotal"), of("meminfo", "meminfo", "MemTotal"));
        assert_eq!(asked("/proc/uptime:idle"), of("uptime", "uptime", "2nd number"));
        assert_eq!(asked("pressure/io:full"), of("pressure", "pressure/io", "full"));
        let cpu = "sys/devices/system/cpu";
        let online = of(cpu, "sys/devices/system/cpu/online", "online");
        assert_eq!(asked("/sys/devices/system/cpu/online"), online);
        assert_eq!(asked("sys/devices/system/cpu:online"), online);
        let link = of("sys/class/block", "sys/block/sda/stat", "sda/stat");
        assert_eq!(asked("/sys/class/block/sda/stat"), link);
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        for (text, words) in [
            ("kcore", "meminfo"),
            ("meminfox", "meminfo"),
            ("pressure", "pressure/cpu"),
            ("sys/devices/system/cpu", "say which file"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
