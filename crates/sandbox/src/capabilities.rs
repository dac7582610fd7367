//! Which capabilities the worker keeps.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

use crate::{Error, Report, Sandbox};

/// A capability that the worker cannot do without.
#[derive(Clone, Copy, Debug)]
struct Needed {
    set: CapabilitySet,
    name: &'static str,
}

/// The reasons are in the documentation of the crate.
fn needed(sandbox: &Sandbox) -> Vec<Needed> {
    let mut needed = vec![Needed { set: CapabilitySet::SYS_PTRACE, name: "CAP_SYS_PTRACE" }];
    if sandbox.triggers {
        // Contains the right to read; without the other there is no open_by_handle_at(2).
        needed.push(Needed { set: CapabilitySet::DAC_OVERRIDE, name: "CAP_DAC_OVERRIDE" });
        needed.push(Needed { set: CapabilitySet::SYS_RESOURCE, name: "CAP_SYS_RESOURCE" });
    } else {
        needed.push(Needed { set: CapabilitySet::DAC_READ_SEARCH, name: "CAP_DAC_READ_SEARCH" });
    }
    needed
}

/// Gives up all others, for the calling thread and those that it starts.
pub(crate) fn give_up(sandbox: &Sandbox, report: &mut Report) -> Result<(), Error> {
    let failed = |what| move |source: Errno| Error::Capabilities { what, source };
    let had = capabilities(None).map_err(failed("read"))?.permitted;
    let mut kept = CapabilitySet::empty();
    for one in needed(sandbox) {
        if had.contains(one.set) {
            kept |= one.set;
            report.capabilities.push(one.name);
        } else {
            report.weaker.push(format!("{} is not there to be kept", one.name));
        }
    }
    match bound(kept) {
        // Needs a capability itself. A process that starts no program gains nothing by the set.
        Err(Errno::PERM) => report.weaker.push("the bounding set stays as it was".to_owned()),
        bound => bound.map_err(failed("bound"))?,
    }
    clear_ambient_capability_set().map_err(failed("clear the ambient"))?;
    let empty = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: empty };
    set_capabilities(None, sets).map_err(failed("give up"))
}

/// Takes all but `kept` from the bounding set.
fn bound(kept: CapabilitySet) -> Result<(), Errno> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !kept.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // Behind the last that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
