//! What this machine is, in a sentence, for documents with figures.

use anyhow::{Context, Result};
use testkit::Layout;

/// Kernel, cgroup layout, CPUs and memory.
///
/// # Errors
/// When the machine does not say what it is.
pub(crate) fn sentence() -> Result<String> {
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let numbers = kernel.split(|sign: char| !sign.is_ascii_digit() && sign != '.');
    let kernel = numbers.into_iter().next().unwrap_or_default();
    let meminfo = read("/proc/meminfo")?;
    let gib = |key: &str| -> Result<String> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        let kib = kib.with_context(|| format!("/proc/meminfo has no {key}"))?;
        Ok(format!("{:.1} GiB", kib / f64::from(1 << 20)))
    };
    let layout = match testkit::layout() {
        Layout::V1 => "cgroup v1 alone",
        Layout::Hybrid => "controllers on cgroup v1 beside a cgroup2 mount (hybrid)",
        Layout::V2 => "pure cgroup v2",
    };
    let cpus = std::thread::available_parallelism()?;
    let (memory, swap) = (gib("MemTotal")?, gib("SwapTotal")?);
    Ok(format!(
        "Linux {}, {layout}, {cpus} CPUs, {memory} of memory, {swap} of swap.",
        kernel.trim_end_matches('.')
    ))
}

/// What the first CPU calls itself, and whether it is a virtual one (x86); the same on all machines
/// is not to be expected, so without such lines it is empty.
///
/// # Errors
/// Without `/proc/cpuinfo`.
pub(crate) fn cpu() -> Result<String> {
    let cpuinfo = read("/proc/cpuinfo")?;
    let value = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
    };
    let name = value("model name").unwrap_or_default();
    let flags = value("flags").unwrap_or_default();
    let is_virtual = flags.split(' ').any(|flag| flag == "hypervisor");
    Ok(if is_virtual { format!("{name}, in a virtual machine") } else { name })
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_described() {
        let sentence = sentence().unwrap();
        assert!(sentence.starts_with("Linux ") && sentence.contains(" CPUs, "), "{sentence}");
        cpu().unwrap();
    }
}
