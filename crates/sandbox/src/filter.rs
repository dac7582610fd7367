//! The seccomp filter. Source: seccomp(2), Documentation/userspace-api/seccomp_filter.rst.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use crate::calls;
use crate::{Error, OnViolation, Report, Sandbox, Seccomp};

/// Puts the filter over all threads. What it refuses fails with EPERM.
pub(crate) fn install(sandbox: &Sandbox, report: &mut Report) -> Result<(), Error> {
    let absent = absent()?;
    let allowed = allowed(sandbox)?;
    for program in [&absent, &allowed] {
        match apply_filter_all_threads(program) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => {
                report.weaker.push(format!("this kernel has no seccomp filters: {error}"));
                return Ok(());
            }
            Err(error) => return Err(Error::Filter(error)),
        }
    }
    report.seccomp = match sandbox.on_violation {
        OnViolation::Refuse => Seccomp::Refuses,
        OnViolation::Log => Seccomp::Logs,
    };
    Ok(())
}

/// Puts one more filter over all threads, which refuses to make, move, remove or truncate files.
///
/// To be called when all that is written below [`Sandbox::writable`] is open; not at all where
/// something is made later on, as cgroups are for I/O accounting on v1. Does nothing with
/// [`OnViolation::Log`], and where the kernel has no filters.
///
/// # Errors
/// [`Error::Filter`]: the kernel refuses; so it does before [`enter`](crate::enter).
pub fn settle(sandbox: &Sandbox) -> Result<(), Error> {
    if sandbox.on_violation == OnViolation::Log {
        return Ok(());
    }
    let action = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let program = program(calls::settled(sandbox)?, SeccompAction::Allow, action)?;
    match apply_filter_all_threads(&program) {
        Err(error) if !is_missing(&error) => Err(Error::Filter(error)),
        _ => Ok(()),
    }
}

/// CONFIG_SECCOMP_FILTER is off.
fn is_missing(error: &seccompiler::Error) -> bool {
    let seccompiler::Error::Seccomp(error) = error else { return false };
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS))
}

/// The first filter: calls that have an older form, which callers turn to if the newer one is not
/// there. The flags of clone3(2) lie in memory, where no filter can see them.
fn absent() -> Result<BpfProgram, Error> {
    let action = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    program(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), SeccompAction::Allow, action)
}

/// The second one: what the worker uses, and nothing else.
fn allowed(sandbox: &Sandbox) -> Result<BpfProgram, Error> {
    let mismatch = match sandbox.on_violation {
        OnViolation::Refuse => SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        OnViolation::Log => SeccompAction::Log,
    };
    let mut rules = calls::allowed(sandbox)?;
    // The other filter's business, whose answer is stricter.
    rules.insert(libc::SYS_clone3, Vec::new());
    program(rules, mismatch, SeccompAction::Allow)
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    mismatch: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(Error::rules)?;
    let filter = SeccompFilter::new(rules, mismatch, matching, arch).map_err(Error::rules)?;
    BpfProgram::try_from(filter).map_err(Error::rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_well_within_what_the_kernel_takes() {
        let sandbox = Sandbox { triggers: true, ..Sandbox::default() };
        let length = absent().unwrap().len() + allowed(&sandbox).unwrap().len();
        // BPF_MAXINSNS of linux/bpf_common.h.
        assert!((100..4096).contains(&length), "{length} instructions");
    }
}
