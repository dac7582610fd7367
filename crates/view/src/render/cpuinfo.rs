//! `/proc/cpuinfo`: the stanzas of the visible CPUs, with the numbers that the container sees.

use procfmt::cpuinfo::{Stanza, head_line_cpu, key_value, stanzas};

use super::cpuinfo_x86::Packages;
use crate::render::RenderError;
use crate::{Cpus, ResourceView};

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let differs = |cpus: &&Cpus| {
        let hidden = |cpu| !cpus.visible().contains(cpu);
        cpus.renumbers() || stanzas(host).filter_map(|stanza| stanza.cpu).any(hidden)
    };
    let Some(cpus) = view.cpus.as_ref().filter(differs) else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let packages = Packages::of(host, cpus.visible());
    for stanza in stanzas(host) {
        match stanza.cpu {
            Some(cpu) => {
                if let Some(shown) = cpus.shown_number(cpu) {
                    packages.write(&stanza, shown, out);
                }
            }
            None => write_machine_lines(&stanza, cpus, out),
        }
    }
    Ok(())
}

/// Lines about the whole machine: s390x counts and lists the CPUs there, others do not.
fn write_machine_lines(stanza: &Stanza<'_>, cpus: &Cpus, out: &mut Vec<u8>) {
    for line in stanza.text.split_inclusive(|&byte| byte == b'\n') {
        if let Some(cpu) = head_line_cpu(line) {
            let rest = line.iter().position(|&byte| byte == b':').and_then(|at| line.get(at..));
            if let (Some(shown), Some(rest)) = (cpus.shown_number(cpu), rest) {
                out.extend_from_slice(format!("processor {shown}").as_bytes());
                out.extend_from_slice(rest);
            }
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
    use crate::policy::{CpuNumbers, Policy};

    fn rendered(host: &str, online: &str, cpuset: &str) -> String {
        rendered_by(host, online, cpuset, &Policy::default())
    }

    fn packed(host: &str, online: &str, cpuset: &str) -> String {
        let policy = Policy { cpu_numbers: CpuNumbers::Packed, ..Policy::default() };
        rendered_by(host, online, cpuset, &policy)
    }

    fn rendered_by(host: &str, online: &str, cpuset: &str, policy: &Policy) -> String {
        let set = |list: &str| CpuSet::parse_list(list.as_bytes()).unwrap();
        let input = CpuInput { cpuset: Some(set(cpuset)), ..Default::default() };
        let cpus = Cpus::by_policy(&input, &set(online), policy);
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
    fn packed_rows_have_no_gaps() {
        let host: String = (0..8).map(|cpu| x86(cpu, cpu / 4, 4, cpu / 2 % 2, 2)).collect();
        // Of CPU 3 and of CPU 6, one thread each on packages of their own.
        let expected = [x86(0, 0, 1, 1, 1), x86(1, 1, 1, 1, 1)];
        assert_eq!(packed(&host, "0-7", "3,6"), expected.concat());
    }

    #[test]
    fn packed_s390x_numbers_head_and_stanzas_alike() {
        let host = "vendor_id       : IBM/S390\n# processors    : 2\nprocessor 0: version = FF\n\
            processor 1: version = FE\n\ncpu number      : 0\nv : 0\n\ncpu number      : 1\nv : 1\n\n";
        let expected = "vendor_id       : IBM/S390\n# processors    : 1\n\
            processor 0: version = FE\n\ncpu number      : 0\nv : 1\n\n";
        assert_eq!(packed(host, "0-1", "1"), expected);
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
