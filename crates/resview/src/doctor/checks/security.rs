//! Lockdown, and what security modules have denied.

use std::io::{Read, Seek, SeekFrom};

use rustix::fs::{Mode, OFlags};

use crate::doctor::finding::Finding;
use crate::doctor::machine::Machine;

/// So many records of the kernel's log are read.
const MOST_RECORDS: usize = 20_000;
/// So much of the end of the audit log is read, in bytes.
const TAIL: u64 = 1 << 20;
const AUDIT: &str = "/var/log/audit/audit.log";

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![modules(machine)];
    findings.extend(lockdown(machine));
    findings.extend(denials(machine));
    findings
}

fn modules(machine: &Machine) -> Finding {
    let is_on = |path: &str, yes: &str| machine.text(path).is_some_and(|text| text.trim() == yes);
    let mut on = Vec::new();
    if is_on("/sys/module/apparmor/parameters/enabled", "Y") {
        on.push("AppArmor");
    }
    if is_on("/sys/fs/selinux/enforce", "1") {
        on.push("SELinux");
    }
    match on.as_slice() {
        [] => Finding::ok("neither AppArmor nor SELinux restricts anybody"),
        on => Finding::ok(format!("{} is on", on.join(" and "))),
    }
}

fn lockdown(machine: &Machine) -> Option<Finding> {
    let text = machine.text("/sys/kernel/security/lockdown")?;
    let mode = text.split('[').nth(1)?.split(']').next()?.to_owned();
    (mode != "none").then(|| {
        Finding::note(
            format!("the kernel is locked down ({mode}): no BPF program may answer system calls"),
            "nothing has to be done for the files; see Secure Boot if it matters",
        )
    })
}

/// Lines of the kernel's log and the audit log in which a view was denied to somebody.
fn denials(machine: &Machine) -> Option<Finding> {
    let mut lines = kernel_log(machine);
    lines.extend(audit_log(machine));
    let denied: Vec<_> = lines.iter().filter(|line| is_denial(line)).collect();
    let last: String = denied.last()?.chars().take(300).collect();
    Some(Finding::problem(
        format!("a security module has denied the view {} times, the last: {last}", denied.len()),
        "AppArmor: allow `mount fstype=fuse.*` and the files in the profile that the line names; \
         SELinux: setsebool -P virt_sandbox_use_fusefs on, or a policy for fusefs_t by audit2allow",
    ))
}

fn is_denial(line: &str) -> bool {
    let denied = line.contains("apparmor=\"DENIED\"") || line.contains("avc:  denied");
    let about = ["fuse", "resview", "lxcfs"].iter().any(|word| line.contains(word));
    denied && about
}

/// Each read of /dev/kmsg gives one record; at the end it would block, so it must not.
fn kernel_log(machine: &Machine) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(log) = rustix::fs::open(machine.path("/dev/kmsg"), flags, Mode::empty()) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut record = [0; 8192];
    for _ in 0..MOST_RECORDS {
        match rustix::io::read(&log, &mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                lines.extend(text.lines().map(str::to_owned));
            }
            // Records that were overwritten before they were read.
            Err(rustix::io::Errno::PIPE) => {}
            Err(_) => break,
        }
    }
    lines
}

fn audit_log(machine: &Machine) -> Vec<String> {
    let tail = || {
        let mut log = std::fs::File::open(machine.path(AUDIT))?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        log.take(TAIL).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    tail().map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    #[test]
    fn denials_of_the_view_are_found_in_both_logs() {
        let fake = Fake::new(&[
            (
                "dev/kmsg",
                "5,1,2,-;audit: apparmor=\"DENIED\" operation=\"mount\" fstype=\"fuse.resview\"\n",
            ),
            (
                "var/log/audit/audit.log",
                "type=AVC msg=audit(1): avc:  denied  { read } tcontext=system_u:object_r:fusefs_t\n\
              type=AVC msg=audit(2): avc:  denied  { read } tcontext=system_u:object_r:shadow_t\n",
            ),
        ]);
        let said = said(&look(&fake.machine));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("2 times") && said[0].contains("fusefs_t"), "{said:?}");
    }

    #[test]
    fn lockdown_and_modules_are_told() {
        let fake = Fake::new(&[
            ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
            ("sys/module/apparmor/parameters/enabled", "Y\n"),
        ]);
        let findings = look(&fake.machine);
        assert_eq!(findings[0].found, "AppArmor is on");
        assert!(findings[1].found.contains("(integrity)"));
        fake.file("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
        assert_eq!(said(&look(&fake.machine)), [""; 0]);
    }
}
