//! `/sys/devices/system/cpu/**`: the container's CPUs in the files, directories and masks there.
//! Source: Documentation/ABI/testing/sysfs-devices-system-cpu.

use procfmt::cpulist::{CpuSet, mask_width};
use procfmt::num::{fields, parse_u64};

use crate::render::RenderError;
use crate::{Cpus, ResourceView};

/// `online`, `present`: the visible CPUs.
pub(crate) fn online(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    list_of(host, view, out, |cpus, _| cpus.shown().clone())
}

/// `possible`: never cut below what the container may run on; see [`Cpus::possible`].
pub(crate) fn possible(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    list_of(host, view, out, |cpus, _| cpus.possible().clone())
}

/// `offline`: possible, not visible.
pub(crate) fn offline(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    list_of(host, view, out, |cpus, _| cpus.offline())
}

/// A list of CPUs of which the container sees its own: `isolated`, `core_cpus_list` …
pub(crate) fn list(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    list_of(host, view, out, |cpus, host| cpus.shown_of(host))
}

/// A mask of CPUs of which the container sees its own, as wide as the host prints it.
pub(crate) fn mask(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    let Some(cpus) = &view.cpus else { return unchanged(host, out) };
    match CpuSet::parse_mask(host) {
        Ok(set) => cpus.shown_of(&set).write_mask(mask_width(host.trim_ascii_end()), out),
        Err(error) => return Err(not_understood("a mask of CPUs", &error)),
    }
    out.push(b'\n');
    Ok(())
}

/// CPU numbers separated by blanks: `cpufreq/affected_cpus`, `related_cpus`.
pub(crate) fn numbers(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    let Some(cpus) = &view.cpus else { return unchanged(host, out) };
    let number = |word| parse_u64(word).and_then(|number| u32::try_from(number).ok());
    let shown = fields(host).filter_map(number).filter_map(|cpu| cpus.shown_number(cpu));
    let words: Vec<_> = shown.map(|cpu| cpu.to_string()).collect();
    out.extend_from_slice(words.join(" ").as_bytes());
    out.push(b'\n');
    Ok(())
}

/// `smt/active`: 1 if two of the visible CPUs share a core.
pub(crate) fn smt_active(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    let (Some(cpus), Some(siblings)) = (&view.cpus, &view.thread_siblings) else {
        return unchanged(host, out);
    };
    let shared = |core: &CpuSet| core.intersection(cpus.visible()).len() > 1;
    out.extend_from_slice(if siblings.iter().any(shared) { b"1\n" } else { b"0\n" });
    Ok(())
}

type Rendered = Result<(), RenderError>;

fn list_of(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
    choose: impl FnOnce(&Cpus, &CpuSet) -> CpuSet,
) -> Rendered {
    let Some(cpus) = &view.cpus else { return unchanged(host, out) };
    let host = match host.trim_ascii() {
        // What `nohz_full` says when there is none (6.18; older kernels: an empty line).
        b"(null)" => CpuSet::new(),
        list => {
            CpuSet::parse_list(list).map_err(|error| not_understood("a list of CPUs", &error))?
        }
    };
    choose(cpus, &host).write_list(out);
    out.push(b'\n');
    Ok(())
}

fn unchanged(host: &[u8], out: &mut Vec<u8>) -> Rendered {
    out.extend_from_slice(host);
    Ok(())
}

fn not_understood(expected: &str, error: &dyn std::fmt::Display) -> RenderError {
    RenderError::HostText { file: "cpu directory", what: format!("{expected} expected: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::CpuInput;
    use crate::policy::CpuCount;

    fn text(render: crate::render::Renderer, host: &str) -> String {
        let set = |list: &str| CpuSet::parse_list(list.as_bytes()).unwrap();
        let input = CpuInput { cpuset: Some(set("1,3")), ..Default::default() };
        let cpus = Cpus::new(&input, &set("0-7"), CpuCount::Cpuset);
        let view = ResourceView { cpus: Some(cpus), ..Default::default() };
        let mut out = Vec::new();
        render(host.as_bytes(), &view, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_cpu_files_agree() {
        assert_eq!(text(online, "0-7\n"), "1,3\n");
        assert_eq!(text(possible, "0-15\n"), "0-3\n");
        assert_eq!(text(offline, "8-15\n"), "0,2\n");
        assert_eq!(text(list, "2-3,10-11\n"), "3\n");
        assert_eq!(text(list, "\n"), "\n");
        assert_eq!(text(list, "(null)\n"), "\n");
        assert_eq!(text(mask, "00000000,000000ff\n"), "00000000,0000000a\n");
        assert_eq!(text(numbers, "0 1 2 3\n"), "1 3\n");
    }

    #[test]
    fn smt_is_active_if_two_visible_cpus_share_a_core() {
        let set = |list: &str| CpuSet::parse_list(list.as_bytes()).unwrap();
        for (cores, expected) in [(["0-1", "2-3"], "0\n"), (["1,3", "1,3"], "1\n")] {
            let input = CpuInput { cpuset: Some(set("1,3")), ..Default::default() };
            let view = ResourceView {
                cpus: Some(Cpus::new(&input, &set("0-3"), CpuCount::Cpuset)),
                thread_siblings: Some(cores.map(set).to_vec()),
                ..Default::default()
            };
            let mut out = Vec::new();
            smt_active(b"1\n", &view, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn without_a_view_of_its_own_the_host_is_unchanged() {
        for render in [online, possible, offline, list, mask, numbers, smt_active] {
            let mut out = Vec::new();
            render(b"0-7 \n", &ResourceView::default(), &mut out).unwrap();
            assert_eq!(out, b"0-7 \n");
        }
    }
}
