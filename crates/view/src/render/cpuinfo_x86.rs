//! What changes in a stanza: its number, and on x86 `siblings` and `cpu cores`, counted over the
//! visible CPUs of a package.

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

    /// Appends a stanza under the number `shown`, with its two counts replaced.
    pub(super) fn write(&self, stanza: &Stanza<'_>, shown: u32, out: &mut Vec<u8>) {
        let package = stanza.place().and_then(|place| self.by_id.get(&place.package));
        let renumbered = stanza.cpu.is_some_and(|cpu| cpu != shown);
        if package.is_none() && !renumbered {
            out.extend_from_slice(stanza.text);
            return;
        }
        for line in stanza.text.split_inclusive(|&byte| byte == b'\n') {
            match (key_value(line), package) {
                // The second is s390x's.
                (Some((b"processor" | b"cpu number", _)), _) => write_number(line, shown, out),
                (Some((b"siblings", _)), Some(package)) => {
                    write_number(line, package.siblings, out);
                }
                (Some((b"cpu cores", _)), Some(package)) => {
                    write_number(line, package.cores.len(), out);
                }
                _ => out.extend_from_slice(line),
            }
        }
    }
}

/// The line with another number behind its colon.
fn write_number(line: &[u8], number: impl std::fmt::Display, out: &mut Vec<u8>) {
    let label = line.iter().take_while(|&&byte| byte != b':');
    out.extend(label);
    out.extend_from_slice(format!(": {number}\n").as_bytes());
}
