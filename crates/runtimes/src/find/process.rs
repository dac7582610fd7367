//! What the kernel says about a process.

use hostfs::Dir;
use procfmt::pid_cgroup::memberships;
use procfmt::pid_stat::PidStat;
use procfmt::pid_status::PidStatus;

/// A process, as far as it matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) cgroup: String,
    /// All the paths of `/proc/PID/cgroup`.
    pub(super) cgroups: Vec<String>,
    /// How many pid namespaces deep it is, the reader's own being 1.
    pub(super) depth: usize,
    /// Whether it is process 1 of its pid namespace.
    pub(super) is_init: bool,
    /// Its pid namespace, such as `pid:[4026531836]`; missing: it cannot be read.
    pub(super) pid_namespace: Option<String>,
}

/// The id of a container that no engine knows.
pub(super) fn made_up_id(pid: u32, start_time: u64) -> String {
    format!("pid-{pid}-{start_time}")
}

/// Process `pid`; none if it is not there (any more), or a zombie.
pub(super) fn read(proc: &Dir, pid: u32) -> Option<Process> {
    let mut text = Vec::new();
    proc.read(format!("{pid}/cgroup"), &mut text).ok()?;
    let cgroups = memberships(&text).map(|one| String::from_utf8_lossy(one.path).into_owned());
    let cgroups: Vec<String> = cgroups.collect();
    let cgroup = main_cgroup(&text);
    proc.read(format!("{pid}/status"), &mut text).ok()?;
    let status = PidStatus::parse(&text)?;
    let pid_namespace = pid_namespace(proc, &pid.to_string());
    proc.read(format!("{pid}/stat"), &mut text).ok()?;
    let stat = PidStat::parse(&text).filter(|stat| !matches!(stat.state, b'Z' | b'X'))?;
    Some(Process {
        pid,
        start_time: stat.start_time.0,
        cgroup,
        cgroups,
        depth: status.ns_pid.len().max(1),
        is_init: status.is_namespace_init(),
        pid_namespace,
    })
}

/// The pid namespace of a process or of `self`.
pub(super) fn pid_namespace(proc: &Dir, pid: &str) -> Option<String> {
    let link = proc.read_link(format!("{pid}/ns/pid")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// The process numbers in a procfs.
pub(super) fn pids(proc: &Dir) -> Vec<u32> {
    let entries = proc.list(".").unwrap_or_default();
    entries.iter().filter_map(|entry| entry.name.to_str()?.parse().ok()).collect()
}

/// The v1 controllers by which limits are usually set, the most telling first.
const CONTROLLERS: [&[u8]; 5] = [b"memory", b"cpu", b"cpuset", b"pids", b"blkio"];

/// The cgroup that stands for the process: on v2 the only one, else that of the first controller
/// in which it is not at the root.
fn main_cgroup(text: &[u8]) -> String {
    let of = |controller: &&[u8]| {
        memberships(text).find(|one| one.has_controller(controller)).map(|one| one.path)
    };
    let v1 = CONTROLLERS.iter().filter_map(of).find(|&path| path != b"/");
    let v2 = || memberships(text).find(procfmt::pid_cgroup::Membership::is_v2).map(|one| one.path);
    String::from_utf8_lossy(v1.or_else(v2).unwrap_or(b"/")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_is_that_of_the_controllers_where_there_are_some() {
        let hybrid = b"9:name=systemd:/s\n4:memory:/docker/1\n1:cpu:/docker/1\n0::/\n";
        assert_eq!(main_cgroup(hybrid), "/docker/1");
        assert_eq!(main_cgroup(b"4:memory:/\n1:cpu:/a/b\n0::/\n"), "/a/b");
        assert_eq!(
            main_cgroup(b"0::/system.slice/docker-1.scope\n"),
            "/system.slice/docker-1.scope"
        );
        assert_eq!(main_cgroup(b""), "/");
    }

    #[test]
    fn this_process_is_found_and_one_that_is_not_there_is_not() {
        let proc = Dir::open("/proc").unwrap();
        let own = read(&proc, std::process::id()).unwrap();
        assert!(own.start_time > 0 && own.cgroup.starts_with('/'));
        assert_eq!(own.pid_namespace, pid_namespace(&proc, "self"));
        assert!(pids(&proc).contains(&std::process::id()));
        assert_eq!(read(&proc, u32::MAX), None);
    }
}
