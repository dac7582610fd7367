//! What a container should not learn of the host.

use std::collections::HashMap;

use anyhow::{Result, ensure};

use crate::container::Container;
use crate::not_applicable;
use crate::text::stat_line;
use crate::tree::Tree;

/// A number this large is nobody's by chance.
const LARGE: u64 = 200_000;

/// The numbers of each line, by the line's words that are no numbers and how often they came.
fn numbers(text: &str) -> HashMap<(String, usize), Vec<u64>> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut all = HashMap::new();
    for line in text.lines() {
        let (mut key, mut row) = (String::new(), Vec::new());
        for word in line.split([' ', '\t', '=', ',', ':']).filter(|word| !word.is_empty()) {
            match word.split('.').next().unwrap_or_default().parse() {
                Ok(number) => row.push(number),
                Err(_) => key.push_str(word),
            }
        }
        let nth = seen.entry(key.clone()).or_default();
        all.insert((key, *nth), row);
        *nth += 1;
    }
    all
}

/// What of the host's counters is in `text`: at least as large as the host's `before` it was read,
/// and at most as large as the host's `after`.
fn leaked(before: &str, text: &str, after: &str) -> Vec<String> {
    let (before, after) = (numbers(before), numbers(after));
    let mut leaked = Vec::new();
    for (line, row) in numbers(text) {
        let (Some(low), Some(high)) = (before.get(&line), after.get(&line)) else { continue };
        for ((number, low), high) in row.iter().zip(low).zip(high) {
            if *low >= LARGE && (low..=high).contains(&number) {
                leaked.push(format!("{} {number}", line.0));
            }
        }
    }
    leaked.sort_unstable();
    leaked
}

/// Lines that are the same for everybody; and a container without limits has as much free memory as
/// the machine.
const SHARED: [&str; 2] = ["btime", "nr_free_pages"];

pub(super) fn no_host_number(tree: &Tree, path: &str) -> Result<()> {
    let mut container = Container::new(tree)?;
    let path = format!("/{path}");
    let Ok(before) = std::fs::read_to_string(&path) else {
        return not_applicable("the host's own cannot be read");
    };
    // A file that says "not here" by an error says nothing of the host.
    let text = container.sh(&format!("cat {path} || true"))?;
    let after = std::fs::read_to_string(&path)?;
    let mut leaked = leaked(&before, &text, &after);
    leaked.retain(|line| !SHARED.iter().any(|shared| line.starts_with(shared)));
    let shown = leaked.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    ensure!(leaked.is_empty(), "{} numbers of the host: {shown}", leaked.len());
    Ok(())
}

pub(super) fn intr_ctxt_softirq_not_host(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/stat"])?;
    let mut container = Container::new(tree)?;
    let host = std::fs::read_to_string("/proc/stat")?;
    let text = container.read("/proc/stat")?;
    for key in ["intr", "ctxt", "softirq", "processes"] {
        let (Some(own), Some(host)) = (stat_line(&text, key), stat_line(&host, key)) else {
            continue;
        };
        ensure!(own < host, "{key} is {own}, the host's was {host}");
    }
    Ok(())
}

/// A read by somebody without rights.
fn as_nobody(container: &mut Container, path: &str) -> Result<String> {
    container.python(&format!(
        "
import os
os.setgid(65534)
os.setuid(65534)
try:
    print('read', open('{path}', 'rb').read(40))
except OSError as error:
    print('refused', error)"
    ))
}

pub(super) fn crash_notes_not_served(tree: &Tree) -> Result<()> {
    tree.needs(&["sys/devices/system/cpu/uevent"])?;
    let path = "/sys/devices/system/cpu/cpu0/crash_notes";
    if !std::path::Path::new(path).exists() {
        return not_applicable("this kernel has no crash_notes");
    }
    let text = as_nobody(&mut Container::new(tree)?, path)?;
    ensure!(text.starts_with("refused"), "anybody gets {text}");
    Ok(())
}

pub(super) fn mode_0400_enforced(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/slabinfo"])?;
    let text = as_nobody(&mut Container::new(tree)?, "/proc/slabinfo")?;
    ensure!(text.starts_with("refused"), "anybody gets {text}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_between_two_of_the_host_is_the_hosts() {
        let before = "pgfault 1000000\nnr_free 500\nintr 700000 1 2\n";
        let after = "pgfault 1000900\nnr_free 400\nintr 700009 1 2\n";
        assert_eq!(leaked(before, "pgfault 1000100\n", after), ["pgfault 1000100"]);
        assert_eq!(leaked(before, "intr 700000 0 0\n", after), ["intr 700000"]);
        assert!(leaked(before, "pgfault 12\nnr_free 450\nintr 0 1 2\n", after).is_empty());
    }
}
