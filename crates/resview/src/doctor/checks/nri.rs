//! Kubernetes: whether the container runtime tells us of its containers.

use std::path::Path;

use crate::doctor::finding::Finding;
use crate::doctor::machine::Machine;
use crate::mountpoint::resolve;
use crate::nri::Report;
use crate::runtime_dir;

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let place = &machine.place;
    let mountpoint = resolve(&place.mountpoint).unwrap_or_else(|_| place.mountpoint.clone());
    of(machine, &runtime_dir::socket(&place.runtime_dir, &mountpoint))
}

fn of(machine: &Machine, agent: &Path) -> Vec<Finding> {
    if let Some(report) = Report::read(agent) {
        let words = report.in_words();
        return vec![Finding::ok(format!("the NRI plugin, process {}, is {words}", report.pid))];
    }
    // Without the socket there is no runtime that could tell; see the check of runtimes.
    let offered = machine.has(nri::SOCKET).then(|| {
        Finding::note(
            format!("a container runtime has NRI at {}, and is told nothing by us", nri::SOCKET),
            "if pods are to get the view: resview daemon --nri, or see the daemon's log for why it \
             is not registered",
        )
    });
    offered.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    #[test]
    fn a_socket_that_nobody_of_us_uses_is_told_of() {
        let offered = Fake::new(&[(nri::SOCKET, "")]);
        let agent = offered.root().join("run/resview/resview.sock");
        let findings = said(&of(&offered.machine, &agent));
        assert!(findings[0].starts_with("Note: a container runtime has NRI"), "{findings:?}");
        assert_eq!(of(&Fake::new(&[]).machine, &agent), []);
        // A plugin that is this very process.
        let start_time = attach::Process::running(std::process::id()).unwrap().start_time;
        let pid = std::process::id();
        let report = format!(
            r#"{{"pid":{pid},"start_time":{start_time},"runtime":"containerd","version":"2.1",
                "socket":"/n","since":1}}"#
        );
        offered.file("/run/resview/nri.json", &report);
        let findings = of(&offered.machine, &agent);
        assert_eq!(said(&findings), [""; 0]);
        assert!(findings[0].found.contains("containerd 2.1"), "{findings:?}");
    }
}
