//! `/proc/cpuinfo`: the stanzas of the visible CPUs, with their kernel numbers.

use procfmt::cpuinfo::{Stanza, head_line_cpu, key_value, stanzas};

use super::cpuinfo_x86::Packages;
use crate::render::RenderError;
use crate::{Cpus, ResourceView};

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let hides_any = |cpus: &&Cpus| {
        stanzas(host).filter_map(|stanza| stanza.cpu).any(|cpu| !cpus.visible().contains(cpu))
    };
    let Some(cpus) = view.cpus.as_ref().filter(hides_any) else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let packages = Packages::of(host, cpus.visible());
    for stanza in stanzas(host) {
        match stanza.cpu {
            Some(cpu) if !cpus.visible().contains(cpu) => {}
            Some(_) => packages.write(&stanza, out),
            None => write_machine_lines(&stanza, cpus, out),
        }
    }
    Ok(())
}

/// Lines about the whole machine: s390x counts and lists the CPUs there, others do not.
fn write_machine_lines(stanza: &Stanza<'_>, cpus: &Cpus, out: &mut Vec<u8>) {
    for line in stanza.text.split_inclusive(|&byte| byte == b'\n') {
        if head_line_cpu(line).is_some_and(|cpu| !cpus.visible().contains(cpu)) {
            continue;
        }
        match key_value(line) {
            Some((b"# processors", _)) => {
                out.extend_from_slice(format!("# processors    : {}\n", cpus.count()).as_bytes());
            }
            _ => out.extend_from_slice(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use procfmt::cpulist::CpuSet;

    use super::*;
    use crate::input::CpuInput;
    use crate::policy::CpuCount;

    fn rendered(host: &str, online: &str, cpuset: &str) -> String {
        let set = |list: &str| CpuSet::parse_list(list.as_bytes()).unwrap();
        let input = CpuInput { cpuset: Some(set(cpuset)), ..Default::default() };
        let cpus = Cpus::new(&input, &set(online), CpuCount::Cpuset);
        let mut out = Vec::new();
        let view = ResourceView { cpus: Some(cpus), ..Default::default() };
        render(host.as_bytes(), &view, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn x86(cpu: u32, package: u32, siblings: u32, core: u32, cores: u32) -> String {
        format!(
            "processor\t: {cpu}\nmodel name\t: X\nphysical id\t: {package}\nsiblings\t: {siblings}\n\
             core id\t\t: {core}\ncpu cores\t: {cores}\nflags\t\t: fpu\n\n"
        )
    }

    #[test]
    fn siblings_and_cores_match_rows() {
        // Two packages of two cores with two threads each; the cpuset splits a core.
        let host: String = (0..8).map(|cpu| x86(cpu, cpu / 4, 4, cpu / 2 % 2, 2)).collect();
        let expected =
            [x86(1, 0, 3, 0, 2), x86(2, 0, 3, 1, 2), x86(3, 0, 3, 1, 2), x86(4, 1, 1, 0, 1)];
        assert_eq!(rendered(&host, "0-7", "1-4"), expected.concat());
    }

    #[test]
    fn nothing_hidden_nothing_changed() {
        let host: String = (0..2).map(|cpu| x86(cpu, 0, 99, 0, 99)).collect();
        assert_eq!(rendered(&host, "0-1", "0-1"), host);
    }

    #[test]
    fn cpuinfo_tail_kept() {
        let host =
            "processor\t: 0\nFeatures\t: x\n\nprocessor\t: 1\nFeatures\t: x\n\nHardware\t: Y\n";
        let expected = "processor\t: 0\nFeatures\t: x\n\nHardware\t: Y\n";
        assert_eq!(rendered(host, "0-1", "0"), expected);
    }

    #[test]
    fn s390x_head_counts_what_is_there() {
        let host = "vendor_id       : IBM/S390\n# processors    : 2\nprocessor 0: version = FF\n\
            processor 1: version = FF\n\ncpu number      : 0\nv : 1\n\ncpu number      : 1\nv : 1\n\n";
        let expected = "vendor_id       : IBM/S390\n# processors    : 1\n\
            processor 1: version = FF\n\ncpu number      : 1\nv : 1\n\n";
        assert_eq!(rendered(host, "0-1", "1"), expected);
    }
}
