//! What a daemon that is started from here could do.

use hostfs::HostFs;

use crate::doctor::finding::Finding;
use crate::doctor::machine::Machine;

/// Bit in CapEff, name, what it is for, whether nothing goes without it; capabilities(7).
const WANTED: [(u32, &str, &str, bool); 4] = [
    (21, "CAP_SYS_ADMIN", "mounting the view", true),
    (19, "CAP_SYS_PTRACE", "telling whose process asks", true),
    (2, "CAP_DAC_READ_SEARCH", "reading the cgroups of all containers", true),
    (24, "CAP_SYS_RESOURCE", "short windows of pressure triggers", false),
];

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let status = machine.text("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return vec![Finding::problem("/proc/self/status has no CapEff", "is /proc mounted?")];
    };
    let lacking = WANTED.iter().filter(|(bit, ..)| effective & (1 << bit) == 0);
    let mut findings: Vec<_> = lacking
        .map(|(_, name, what, is_needed)| {
            let found = format!("{name} is missing, for {what}");
            let advice = "run this and the daemon as root, with all capabilities of the host";
            match is_needed {
                true => Finding::problem(found, advice),
                false => Finding::note(found, advice),
            }
        })
        .collect();
    findings.extend(namespaces(machine));
    if findings.is_empty() {
        findings.push(Finding::ok("a daemon started here has what it needs"));
    }
    findings
}

/// From inside of a container, containers look different.
fn namespaces(machine: &Machine) -> Option<Finding> {
    let host = HostFs::at(machine.path("proc"), machine.path("sys")).ok()?;
    let error = container::check_namespaces(&host).err()?;
    Some(Finding::problem(error.to_string(), "start the daemon in the host's namespaces"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    fn with(effective: &str, pid_namespace: &str) -> Vec<String> {
        let fake = Fake::new(&[("proc/self/status", &format!("CapEff:\t{effective}\n"))]);
        std::fs::create_dir(fake.machine.path("sys")).unwrap();
        fake.link("proc/self/ns/pid", pid_namespace);
        said(&look(&fake.machine))
    }

    #[test]
    fn each_missing_capability_is_named() {
        let host = "pid:[4026531836]";
        assert_eq!(with("000001ffffffffff", host), [""; 0]);
        let few = with("0000000000000000", host);
        assert_eq!(few.len(), 4);
        assert!(few[0].starts_with("Problem: CAP_SYS_ADMIN") && few[3].starts_with("Note"));
        assert!(with("garbage", host)[0].contains("no CapEff"));
    }

    #[test]
    fn a_daemon_in_a_container_is_told_where_to_go() {
        let said = with("000001ffffffffff", "pid:[4026532000]");
        assert!(said[0].starts_with("Problem") && said[0].contains("pid namespace"), "{said:?}");
    }
}
