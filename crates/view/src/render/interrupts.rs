//! `/proc/interrupts` and `/proc/softirqs`: the container's CPUs, and none of the host's counts,
//! which no kernel keeps per cgroup.

use procfmt::per_cpu::{INTERRUPTS_INDENT, SOFTIRQS_INDENT, softirqs, write_header, write_softirq};

use crate::ResourceView;
use crate::render::RenderError;

/// The rows name the host's devices, so there are none.
pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    match &view.cpus {
        Some(cpus) => write_header(INTERRUPTS_INDENT, cpus.shown().iter(), out),
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
    write_header(SOFTIRQS_INDENT, cpus.shown().iter(), out);
    for name in softirqs(host) {
        write_softirq(name, cpus.shown().iter().map(|_| 0), out);
    }
    Ok(())
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
