//! What is said once, at the start, about this machine and what was configured.

use cgroup::{Controller, Layout};
use hostfs::HostFs;
use view::policy::Policy;

/// Without a controller nothing limits containers, so they see the host's numbers. Say so.
pub(crate) fn missing_controllers(layout: &Layout) {
    let needed = [
        (Controller::Memory, "meminfo and swaps"),
        (Controller::Cpu, "CPU quotas"),
        (Controller::Cpuset, "CPU sets"),
        (Controller::Cpuacct, "CPU time"),
        (Controller::Io, "diskstats"),
    ];
    for (controller, what) in needed {
        if layout.hierarchy_of(controller).is_none() {
            let name = controller.v1_name();
            tracing::warn!(
                "this kernel has no {name} controller mounted or switched on: containers see the \
                 host's {what}; see cgroup_enable= and cgroup_no_v1= of the kernel command line"
            );
        }
    }
}

/// Nobody shall wonder why a file is not what the documents say.
pub(crate) fn overrides(policy: &Policy) {
    for (file, policy) in policy.files.iter() {
        tracing::info!("{file} is {policy} for all containers, as configured");
    }
}

/// Lines of a newer kernel are shown as 0, because they could tell about the host.
pub(crate) fn unknown_lines(host: &HostFs) -> Result<(), hostfs::Error> {
    let mut meminfo = Vec::new();
    host.kept_proc.read("meminfo", &mut meminfo)?;
    for line in view::render::meminfo::unknown_lines(&meminfo) {
        let line = String::from_utf8_lossy(line);
        tracing::info!(%line, "meminfo has a line that is not known; containers see it as 0");
    }
    Ok(())
}
