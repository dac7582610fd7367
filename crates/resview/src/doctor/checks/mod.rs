//! The checks, one file for each.

mod capabilities;
mod cgroups;
mod daemon;
mod fuse;
mod hooks;
mod kernel;
mod limits;
mod mounts;
mod nri;
mod runtimes;
mod security;

use super::finding::Finding;
use super::machine::Machine;

/// One check: its name, and what looks. It changes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) look: fn(&Machine) -> Vec<Finding>,
}

/// All of them, in the order in which they are printed.
pub(super) const CHECKS: [Check; 11] = [
    Check { name: "kernel", look: kernel::look },
    Check { name: "fuse", look: fuse::look },
    Check { name: "cgroups", look: cgroups::look },
    Check { name: "capabilities", look: capabilities::look },
    Check { name: "runtimes", look: runtimes::look },
    Check { name: "hooks", look: hooks::look },
    Check { name: "mounts", look: mounts::look },
    Check { name: "daemon", look: daemon::look },
    Check { name: "nri", look: nri::look },
    Check { name: "limits", look: limits::look },
    Check { name: "security", look: security::look },
];

/// The problems and notes among findings, for tests.
#[cfg(test)]
pub(super) fn said(findings: &[Finding]) -> Vec<String> {
    use super::finding::Outcome;
    let bad = findings.iter().filter(|finding| finding.outcome != Outcome::Ok);
    bad.map(|finding| format!("{:?}: {}", finding.outcome, finding.found)).collect()
}
