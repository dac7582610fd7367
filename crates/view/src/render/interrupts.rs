//! `/proc/interrupts` and `/proc/softirqs`: the container's CPUs, and none of the host's counts,
//! which no kernel keeps per cgroup.

use procfmt::per_cpu::{indent, softirqs, write_header, write_softirq};

use crate::ResourceView;
use crate::render::RenderError;

/// The rows name the host's devices, so there are none.
pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    match &view.cpus {
        Some(cpus) => write_header(known_indent("interrupts", host)?, cpus.shown().iter(), out),
        None => out.extend_from_slice(host),
    }
    Ok(())
}

/// The rows are the same on every machine.
pub(crate) fn render_softirqs(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let Some(cpus) = &view.cpus else {
        out.extend_from_slice(host);
        return Ok(());
    };
    write_header(known_indent("softirqs", host)?, cpus.shown().iter(), out);
    for name in softirqs(host) {
        write_softirq(name, cpus.shown().iter().map(|_| 0), out);
    }
    Ok(())
}

/// The header begins where the host's does: that differs by kernel and by machine.
fn known_indent(file: &'static str, host: &[u8]) -> Result<usize, RenderError> {
    let what = || "its first line does not name the CPUs".to_owned();
    indent(host).ok_or_else(|| RenderError::HostText { file, what: what() })
}

#[cfg(test)]
mod tests {
    use procfmt::cpulist::CpuSet;

    use super::*;
    use crate::Cpus;
    use crate::input::CpuInput;
    use crate::policy::CpuCount;

    fn two_of_three() -> ResourceView {
        let input = CpuInput { cpuset: CpuSet::parse_list(b"0,2").ok(), ..Default::default() };
        let cpus = Cpus::new(&input, &CpuSet::first(3), CpuCount::Cpuset);
        ResourceView { cpus: Some(cpus), ..Default::default() }
    }

    #[test]
    fn vmstat_zoneinfo_interrupts_not_host() {
        let host = b"           CPU0       CPU1       CPU2       \n 24:  7  7  7  IO-APIC eth0\n";
        let mut out = Vec::new();
        render(host, &two_of_three(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "           CPU0       CPU2       \n");
    }

    #[test]
    fn the_header_begins_where_the_hosts_does() {
        let host = b"            CPU0       CPU1       CPU2       \n  24:  7  7  7  IO-APIC eth0\n";
        let mut out = Vec::new();
        render(host, &two_of_three(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "            CPU0       CPU2       \n");
    }

    #[test]
    fn garbage_is_an_error_not_an_empty_file() {
        for render in [render, render_softirqs] {
            assert!(render(b"\xff\n", &two_of_three(), &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn intr_ctxt_softirq_not_host() {
        let host = b"                    CPU0       CPU1       CPU2       \n          HI:          7          \
            7          7\n       TIMER:          7          7          7\n";
        let mut out = Vec::new();
        render_softirqs(host, &two_of_three(), &mut out).unwrap();
        let expected = "                    CPU0       CPU2       \n          HI:          0          0\n       \
            TIMER:          0          0\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
