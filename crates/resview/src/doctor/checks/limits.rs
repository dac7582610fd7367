//! What the daemon may use, what keeps it alive, and where it keeps what has to outlive it.

use std::path::Path;

use super::daemon::processes;
use crate::doctor::finding::Finding;
use crate::doctor::machine::{Machine, version_in};
use crate::mountinfo::Mount;

/// Descriptors are kept open for speed: fewer than this make reads slower with many containers.
const FEW_DESCRIPTORS: u64 = 4096;
/// FileDescriptorStorePreserve= came with this systemd.
const SYSTEMD: u32 = 254;

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let processes = processes(machine);
    let mut findings = vec![systemd(machine), runtime_dir(machine)];
    let daemon = processes.iter().map(|(part, pid)| (format!("the {part}"), pid.to_string()));
    let mut daemon: Vec<_> = daemon.collect();
    if daemon.is_empty() {
        daemon.push(("a daemon started from here".to_owned(), "self".to_owned()));
    }
    findings.extend(daemon.iter().filter_map(|(whose, pid)| descriptors(machine, whose, pid)));
    for (part, pid) in &processes {
        findings.extend(oom(machine, part, *pid));
    }
    findings
}

fn descriptors(machine: &Machine, whose: &str, pid: &str) -> Option<Finding> {
    let text = machine.text(&format!("/proc/{pid}/limits"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    // The hard limit, to which a worker raises its own. `unlimited` is no number, and enough.
    let limit: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(if limit < FEW_DESCRIPTORS {
        Finding::note(
            format!(
                "{whose} may open {limit} files only, so reads get slower with many containers"
            ),
            "LimitNOFILE=65536 in the unit, or ulimit -Hn 65536",
        )
    } else {
        Finding::ok(format!("{whose} may open {limit} files"))
    })
}

fn oom(machine: &Machine, part: &str, pid: u32) -> Option<Finding> {
    let value = machine.number(&format!("/proc/{pid}/oom_score_adj"))?;
    Some(if value >= 0 {
        Finding::note(
            format!("the {part} is as likely as any process to be killed when memory runs out"),
            "OOMScoreAdjust=-1000 in the unit (the packaged one has it)",
        )
    } else {
        Finding::ok(format!("the {part} has an oom_score_adj of {value}"))
    })
}

/// The runtime directory has to be gone with the machine's next boot, and quick.
fn runtime_dir(machine: &Machine) -> Finding {
    let path = &machine.place.runtime_dir;
    let mounts = machine.mounts_of("self");
    let shown = path.display();
    match holding(&mounts, path) {
        Some(mount) if mount.fs_type == "tmpfs" => Finding::ok(format!("{shown} is on a tmpfs")),
        Some(mount) => Finding::note(
            format!(
                "{shown} is on {}, not on a tmpfs: histories cost disk writes, and those of the \
                 last boot are thrown away",
                mount.fs_type
            ),
            "mount a tmpfs on /run, or choose another --runtime-dir",
        ),
        None => Finding::note(format!("nothing is known of {shown}"), "is /proc mounted?"),
    }
}

/// The mount on which a path lies: of those at the longest path above it, the last.
fn holding<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.mount_point));
    above.max_by_key(|mount| mount.mount_point.components().count())
}

fn systemd(machine: &Machine) -> Finding {
    let manages = machine.has("/run/systemd/system");
    let text = machine.program("systemctl").filter(|_| manages);
    let text = text.and_then(|program| machine.output(&program, &["--version"]));
    let word = text.as_deref().and_then(|text| text.split_whitespace().nth(1));
    let version = word.and_then(|word| word.parse::<u32>().ok());
    let version = version.or_else(|| text.as_deref().and_then(version_in).map(|found| found[0]));
    match version {
        Some(version) if version >= SYSTEMD => {
            Finding::ok(format!("systemd {version} keeps the daemon's descriptors"))
        }
        Some(version) => Finding::note(
            format!(
                "systemd {version} keeps the daemon's descriptors over a crash, not over stop and \
                 start (FileDescriptorStorePreserve= came with {SYSTEMD})"
            ),
            "use restart instead of stop and start; dead views are healed by resview attach --all",
        ),
        None => Finding::note(
            "systemd does not run here: if the supervisor and its worker die at once, nobody keeps \
             the view",
            "have the daemon started again by your service manager",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    /// A machine with a tmpfs for the runtime directory, systemd and a limit of files.
    fn machine(fs_type: &str, systemd: &str, files: &str) -> Fake {
        let fake = Fake::new(&[("run/systemd/system/x", "")]);
        fake.script("systemctl", &format!("echo 'systemd {systemd} (x)'"));
        let run = fake.root().join("run");
        let mounts = format!(
            "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {} rw - {fs_type} x rw\n",
            run.display()
        );
        fake.file("proc/self/mountinfo", &mounts);
        let limits = format!("Max open files            1024     {files}     files\n");
        fake.file("proc/self/limits", &limits);
        fake
    }

    #[test]
    fn each_limit_that_is_too_low_is_named() {
        let on = |fs_type, systemd, files| said(&look(&machine(fs_type, systemd, files).machine));
        assert_eq!(on("tmpfs", "257", "65536"), [""; 0]);
        assert_eq!(on("tmpfs", "257", "unlimited"), [""; 0]);
        assert!(on("ext4", "257", "65536")[0].contains("on ext4, not on a tmpfs"));
        assert!(on("tmpfs", "252", "65536")[0].contains("systemd 252 keeps"));
        assert!(on("tmpfs", "257", "1024")[0].contains("1024 files only"));
    }

    #[test]
    fn a_machine_without_systemd_is_told_what_that_means() {
        let fake = machine("tmpfs", "257", "65536");
        std::fs::remove_dir_all(fake.machine.path("run/systemd")).unwrap();
        assert!(said(&look(&fake.machine))[0].contains("systemd does not run here"));
    }

    #[test]
    fn a_daemon_that_the_kernel_would_kill_first_is_noted() {
        let fake =
            Fake::new(&[("proc/5/oom_score_adj", "0\n"), ("proc/6/oom_score_adj", "-500\n")]);
        let outcome = |pid| oom(&fake.machine, "worker", pid).unwrap().outcome;
        assert_eq!(outcome(5), crate::doctor::finding::Outcome::Note);
        assert_eq!(outcome(6), crate::doctor::finding::Outcome::Ok);
    }
}
