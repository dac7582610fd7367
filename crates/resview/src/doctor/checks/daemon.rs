//! The running daemon against the installed program, and an LXCFS beside it.

use std::time::Duration;

use control::Client;
use fuse::InitFlags;
use serde_json::Value;

use crate::cli::VERSION;
use crate::doctor::finding::Finding;
use crate::doctor::machine::Machine;
use crate::explain::worker_pid;
use crate::mountinfo;
use crate::mountpoint::{is_view, resolve};
use crate::runtime_dir;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let mut findings = match report(machine) {
        Ok(report) => running(machine, &report),
        Err(error) => vec![not_running(machine, &error)],
    };
    findings.extend(lxcfs(machine));
    findings
}

/// What the daemon says of itself.
pub(super) fn report(machine: &Machine) -> anyhow::Result<Value> {
    let mountpoint = resolve(&machine.place.mountpoint)?;
    let client = Client::connect(&runtime_dir::of(&machine.place.runtime_dir, &mountpoint))?;
    Ok(client.status(PATIENCE)?)
}

fn not_running(machine: &Machine, error: &anyhow::Error) -> Finding {
    let mountpoint = &machine.place.mountpoint;
    let mounts = machine.mounts_of("self");
    if mountinfo::at(&mounts, mountpoint).is_some_and(is_view) {
        return Finding::problem(
            format!(
                "a view is mounted on {} and no daemon answers: {error:#}",
                mountpoint.display()
            ),
            format!("start the daemon, or umount -l {}", mountpoint.display()),
        );
    }
    Finding::note(
        format!("no daemon runs for {}", mountpoint.display()),
        "systemctl start resview, or resview daemon",
    )
}

fn running(machine: &Machine, report: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in ["supervisor", "worker"] {
        let running = &report[part];
        let Some(version) = running["version"].as_str() else {
            findings.push(missing(part));
            continue;
        };
        let pid = running["pid"].as_u64().unwrap_or(0);
        let replaced = machine.link(&format!("/proc/{pid}/exe"));
        let replaced = replaced.is_some_and(|path| path.ends_with(" (deleted)"));
        findings.push(if version != VERSION || replaced {
            let what = if version == VERSION { "of a program that was replaced" } else { version };
            Finding::note(
                format!("the running {part} is {what}, this program is {VERSION}"),
                match part {
                    "worker" => "resview upgrade",
                    _ => "systemctl restart resview, which containers do not notice",
                },
            )
        } else {
            Finding::ok(format!("the {part}, process {pid}, is of version {version}"))
        });
    }
    let degraded = [&report["worker"]["degraded"], &report["supervisor"]["worker"]["degraded"]];
    if degraded.iter().any(|mode| !mode.is_null() && **mode != false) {
        findings.push(Finding::problem(
            "workers keep dying, so containers get the last good content or the host's",
            "see the daemon's log for the last death, and report it",
        ));
    }
    if report["worker"]["virtual"] == false || report["supervisor"]["virtual"] == false {
        findings.push(Finding::note(
            "the daemon is switched to the host's content for all containers",
            "send the main process SIGUSR1 to switch it back",
        ));
    }
    findings.extend(outlived(report));
    findings.extend(transport_of(report));
    findings
}

/// How reads come to it.
fn transport_of(report: &Value) -> Option<Finding> {
    let connections = report["supervisor"]["connections"].as_array()?;
    let of_shared = connections.iter().find(|one| one["role"] == "shared")?;
    match of_shared["transport"].as_str()? {
        "io-uring" => Some(Finding::note(
            "reads of the shared tree come over io_uring, which is not crash-safe: files of it that \
             containers have end with the worker",
            "this is as it was asked for; without --transport io-uring no read fails when a worker dies",
        )),
        _ => Some(Finding::ok("reads come through /dev/fuse")),
    }
}

/// Connections that the kernel was not told of what a newer version can do: they stay as they were
/// made, whoever serves them.
fn outlived(report: &Value) -> Option<Finding> {
    let bits = |one: &Value, key| {
        InitFlags::from_bits_retain(one["negotiated"][key].as_u64().unwrap_or_default())
    };
    let lacks = |one: &Value| {
        let missing = bits(one, "offered") - bits(one, "flags");
        missing.contains(InitFlags::ALLOW_IDMAP)
    };
    let connections = report["supervisor"]["connections"].as_array()?;
    connections.iter().any(lacks).then(|| {
        Finding::note(
            "the view was mounted by a version that did not allow mounts with ids mapped: containers \
             with a user namespace and volumes of it, as pods with hostUsers: false, do not start",
            "when no container needs the mount any longer: resview stop, and start the daemon; \
             attached containers are not concerned",
        )
    })
}

fn missing(part: &str) -> Finding {
    match part {
        "supervisor" => Finding::problem(
            "the supervisor is dead, and its worker goes on alone",
            "systemctl start resview: the next supervisor takes over",
        ),
        _ => Finding::problem(
            "the worker does not answer",
            "see the daemon's log; the supervisor replaces it",
        ),
    }
}

/// A process of the real LXCFS.
fn lxcfs(machine: &Machine) -> Option<Finding> {
    let is_lxcfs = |pid: &u32| {
        let comm = machine.text(&format!("/proc/{pid}/comm")).unwrap_or_default();
        let program = machine.link(&format!("/proc/{pid}/exe")).unwrap_or_default();
        // Ours runs under that name, too.
        comm.trim() == "lxcfs" && !program.contains("resview")
    };
    let pid = machine.pids().into_iter().find(is_lxcfs)?;
    Some(Finding::note(
        format!(
            "an LXCFS runs beside Resview (process {pid}); containers have the view of whichever their engine mounts"
        ),
        "when no container needs it any longer: systemctl disable --now lxcfs",
    ))
}

/// The daemon's main process and its worker, as far as they are known.
pub(super) fn processes(machine: &Machine) -> Vec<(&'static str, u32)> {
    let Ok(report) = report(machine) else { return Vec::new() };
    let supervisor = report["supervisor"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let parts = [("supervisor", supervisor), ("worker", worker_pid(&report))];
    parts.into_iter().filter_map(|(part, pid)| Some((part, pid?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    fn of(report: &Value) -> Vec<String> {
        said(&running(&Fake::new(&[]).machine, report))
    }

    #[test]
    fn an_older_worker_is_told_how_to_become_newer() {
        let good = json!({"supervisor": {"pid": 1, "version": VERSION},
                          "worker": {"pid": 2, "version": VERSION, "virtual": true}});
        assert_eq!(of(&good), [""; 0]);
        let old = json!({"supervisor": {"version": VERSION}, "worker": {"version": "0.0.1"}});
        assert_eq!(of(&old).len(), 1);
        assert!(of(&old)[0].contains("worker is 0.0.1"));
        let fake = Fake::new(&[]);
        fake.link("proc/2/exe", "/usr/bin/resview (deleted)");
        assert!(said(&running(&fake.machine, &good))[0].contains("was replaced"));
    }

    #[test]
    fn half_a_daemon_is_a_problem() {
        let orphan = json!({"worker": {"version": VERSION}});
        assert!(of(&orphan)[0].starts_with("Problem: the supervisor is dead"));
        let deaf = json!({"supervisor": {"version": VERSION}, "worker": null});
        assert!(of(&deaf)[0].starts_with("Problem: the worker does not answer"));
        let degraded = json!({"supervisor": {"version": VERSION},
                              "worker": {"version": VERSION, "degraded": "last"}});
        assert!(of(&degraded)[0].starts_with("Problem: workers keep dying"));
    }

    #[test]
    fn a_connection_of_an_older_version_is_told_where_the_kernel_can_more() {
        let with = |flags: u64, offered: u64| {
            let negotiated = json!({"flags": flags, "offered": offered});
            let connections = json!([{"role": "shared", "negotiated": negotiated}]);
            json!({"supervisor": {"version": VERSION, "connections": connections},
                   "worker": {"version": VERSION}})
        };
        assert_eq!(of(&with(0, u64::MAX)).len(), 1);
        assert!(of(&with(0, u64::MAX))[0].contains("hostUsers: false"));
        for (flags, offered) in [(u64::MAX, u64::MAX), (0, 1 << 39), (0, 0)] {
            assert_eq!(of(&with(flags, offered)), [""; 0]);
        }
    }

    #[test]
    fn a_transport_that_is_not_crash_safe_is_named() {
        let over = |transport| {
            let connections = json!([{"role": "shared", "transport": transport}]);
            transport_of(&json!({"supervisor": {"connections": connections}})).unwrap()
        };
        assert_eq!(over("device"), Finding::ok("reads come through /dev/fuse"));
        assert!(over("io-uring").found.contains("not crash-safe"));
    }

    #[test]
    fn a_view_that_nobody_serves_is_a_problem() {
        let fake = Fake::new(&[]);
        assert!(said(&look(&fake.machine))[0].starts_with("Note: no daemon runs"));
        let line = format!(
            "9 1 0:50 / {} rw - fuse.resview resview rw\n",
            fake.machine.place.mountpoint.display()
        );
        std::fs::create_dir_all(&fake.machine.place.mountpoint).unwrap();
        fake.file("proc/self/mountinfo", &line);
        let said = said(&look(&fake.machine));
        assert!(said[0].starts_with("Problem: a view is mounted"), "{said:?}");
    }

    #[test]
    fn an_lxcfs_beside_us_is_named() {
        let fake = Fake::new(&[("proc/77/comm", "lxcfs\n")]);
        fake.link("proc/77/exe", "/usr/bin/resview");
        assert_eq!(said(&look(&fake.machine)).len(), 1, "our own under that name");
        let fake = Fake::new(&[("proc/77/comm", "lxcfs\n")]);
        fake.link("proc/77/exe", "/usr/bin/lxcfs");
        assert!(said(&look(&fake.machine))[1].contains("process 77"));
    }
}
