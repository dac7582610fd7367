//! `siblings` and `cpu cores` of x86 stanzas, counted over the visible CPUs of a package.

use std::collections::{BTreeMap, BTreeSet};

use procfmt::cpuinfo::{Place, Stanza, key_value, stanzas};
use procfmt::cpulist::CpuSet;

/// What is visible of each package.
#[derive(Debug, Default)]
pub(super) struct Packages {
    by_id: BTreeMap<u32, Package>,
}

#[derive(Debug, Default)]
struct Package {
    siblings: usize,
    cores: BTreeSet<u32>,
}

impl Packages {
    /// Counts the visible CPUs of the host's text. Empty on architectures without packages.
    pub(super) fn of(host: &[u8], visible: &CpuSet) -> Self {
        let mut packages = Self::default();
        let seen = |stanza: &Stanza<'_>| stanza.cpu.is_some_and(|cpu| visible.contains(cpu));
        for Place { package, core } in stanzas(host).filter(seen).filter_map(|s| s.place()) {
            let package = packages.by_id.entry(package).or_default();
            package.siblings += 1;
            package.cores.insert(core);
        }
        packages
    }

    /// Appends a stanza with its two counts replaced.
    pub(super) fn write(&self, stanza: &Stanza<'_>, out: &mut Vec<u8>) {
        let package = stanza.place().and_then(|place| self.by_id.get(&place.package));
        let Some(package) = package else {
            out.extend_from_slice(stanza.text);
            return;
        };
        for line in stanza.text.split_inclusive(|&byte| byte == b'\n') {
            match key_value(line) {
                Some((b"siblings", _)) => write_count(line, package.siblings, out),
                Some((b"cpu cores", _)) => write_count(line, package.cores.len(), out),
                _ => out.extend_from_slice(line),
            }
        }
    }
}

/// The line with another number behind its colon.
fn write_count(line: &[u8], count: usize, out: &mut Vec<u8>) {
    let label = line.iter().take_while(|&&byte| byte != b':');
    out.extend(label);
    out.extend_from_slice(format!(": {count}\n").as_bytes());
}
