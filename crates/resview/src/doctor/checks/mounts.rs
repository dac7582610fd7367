//! Views that are mounted, ours and LXCFS's, on the host and in containers: which are dead.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::doctor::finding::Finding;
use crate::doctor::machine::Machine;
use crate::mountinfo::Mount;
use crate::mountpoint::is_view;
use crate::run::Answers;

/// So many file systems are asked, each for some seconds if it hangs.
const MOST_ASKED: usize = 8;

/// One view's file system, wherever it is mounted.
struct View {
    fs_type: String,
    /// Where it can be asked.
    at: PathBuf,
    /// Where it is mounted on the host.
    on_host: Vec<PathBuf>,
    /// A process in each mount namespace of a container that has it.
    containers: Vec<u32>,
}

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let views = views(machine);
    if views.is_empty() {
        return vec![Finding::ok("no view is mounted, neither ours nor LXCFS's")];
    }
    let (asked, rest) = views.split_at(views.len().min(MOST_ASKED));
    let mut findings: Vec<_> = asked.iter().map(|view| of(machine, view)).collect();
    if !rest.is_empty() {
        findings.push(Finding::note(
            format!("{} more views are mounted and were not asked", rest.len()),
            "mend those above, then look again",
        ));
    }
    findings
}

fn of(machine: &Machine, view: &View) -> Finding {
    let View { fs_type, on_host, containers, .. } = view;
    let on_host: Vec<_> = on_host.iter().map(|path| path.display().to_string()).collect();
    let mut places = on_host.clone();
    if !containers.is_empty() {
        let pids: Vec<_> = containers.iter().take(5).map(u32::to_string).collect();
        let more = if containers.len() > 5 { ", …" } else { "" };
        places.push(format!("{} containers (process {}{more})", containers.len(), pids.join(", ")));
    }
    let places = places.join(" and ");
    let advice = match on_host.as_slice() {
        [] => "resview attach --all puts a living view in its place".to_owned(),
        all => format!("start the daemon again, or umount -l {}", all.join(" ")),
    };
    match machine.ask(&view.at) {
        Answers::Yes => Finding::ok(format!("{fs_type} answers, on {places}")),
        Answers::Dead => Finding::problem(format!("{fs_type} is dead, on {places}"), advice),
        Answers::Late => Finding::problem(
            format!("{fs_type} hangs, on {places}"),
            format!(
                "restart its daemon; if that does not help, write 1 to the abort file of its \
                     connection below /sys/fs/fuse/connections, and then: {advice}"
            ),
        ),
        Answers::No => Finding::note(
            format!("{fs_type} cannot be asked, on {places}"),
            "it may have been unmounted meanwhile; look again",
        ),
    }
}

/// All views, each file system once.
fn views(machine: &Machine) -> Vec<View> {
    let mut views: BTreeMap<(u32, u32), View> = BTreeMap::new();
    let host = machine.mounts_of("self");
    for mount in host.iter().filter(|mount| is_view(mount)) {
        let at = mount.mount_point.clone();
        let view = entry(&mut views, mount, at.clone());
        view.on_host.push(at);
    }
    let own_namespace = machine.link("/proc/self/ns/mnt");
    let mut seen: Vec<_> = own_namespace.into_iter().collect();
    for pid in machine.pids() {
        let Some(namespace) = machine.link(&format!("/proc/{pid}/ns/mnt")) else { continue };
        if seen.contains(&namespace) {
            continue;
        }
        seen.push(namespace);
        for mount in machine.mounts_of(&pid.to_string()).iter().filter(|mount| is_view(mount)) {
            let below = mount.mount_point.strip_prefix("/").unwrap_or(&mount.mount_point);
            let at = PathBuf::from(format!("/proc/{pid}/root")).join(below);
            let view = entry(&mut views, mount, at);
            if view.containers.last() != Some(&pid) {
                view.containers.push(pid);
            }
        }
    }
    // The host's come first: not all may be asked.
    let mut views: Vec<_> = views.into_values().collect();
    views.sort_by_key(|view| view.on_host.is_empty());
    views
}

fn entry<'a>(
    views: &'a mut BTreeMap<(u32, u32), View>,
    mount: &Mount,
    at: PathBuf,
) -> &'a mut View {
    views.entry(mount.device).or_insert_with(|| View {
        fs_type: mount.fs_type.clone(),
        at,
        on_host: Vec::new(),
        containers: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::machine::fake::Fake;

    const MOUNT: &str = "9 1 0:50 / /var/lib/lxcfs rw - fuse.lxcfs lxcfs rw\n";

    /// The host has LXCFS; processes 7 and 8 are in one container that has a file of it.
    fn machine() -> Fake {
        let fake = Fake::new(&[
            ("proc/self/mountinfo", MOUNT),
            ("proc/7/mountinfo", "20 1 0:50 /proc/stat /proc/stat rw - fuse.lxcfs lxcfs rw\n"),
            ("proc/8/mountinfo", "20 1 0:50 /proc/stat /proc/stat rw - fuse.lxcfs lxcfs rw\n"),
            ("proc/9/mountinfo", MOUNT),
        ]);
        for (pid, namespace) in [("self", 1), ("7", 2), ("8", 2), ("9", 1)] {
            fake.link(&format!("proc/{pid}/ns/mnt"), &format!("mnt:[{namespace}]"));
        }
        fake
    }

    #[test]
    fn each_file_system_is_asked_once_and_its_places_are_named() {
        let said = |answer: fn(&std::path::Path) -> Answers| {
            let findings = look(&machine().answering(answer).machine);
            assert_eq!(findings.len(), 1, "{findings:?}");
            findings[0].clone()
        };
        let places = "on /var/lib/lxcfs and 1 containers (process 7)";
        let dead = said(|path| {
            assert!(path.ends_with("var/lib/lxcfs"));
            Answers::Dead
        });
        assert_eq!(dead.found, format!("fuse.lxcfs is dead, {places}"));
        assert_eq!(dead.outcome, crate::doctor::finding::Outcome::Problem);
        assert!(said(|_| Answers::Late).advice.unwrap().contains("abort"));
        assert_eq!(said(|_| Answers::Yes), Finding::ok(format!("fuse.lxcfs answers, {places}")));
    }

    #[test]
    fn a_view_that_only_containers_have_is_healed_there() {
        let fake = machine().answering(|path| {
            assert!(path.ends_with("proc/7/root/proc/stat"), "{path:?}");
            Answers::Dead
        });
        fake.file("proc/self/mountinfo", "");
        fake.file("proc/9/mountinfo", "");
        let findings = look(&fake.machine);
        assert!(findings[0].advice.as_ref().unwrap().contains("attach --all"), "{findings:?}");
    }

    #[test]
    fn a_machine_without_views_is_fine() {
        assert_eq!(look(&Fake::new(&[]).machine)[0].outcome, crate::doctor::finding::Outcome::Ok);
    }
}
