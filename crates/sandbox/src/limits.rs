//! Resource limits. Source: getrlimit(2).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Error, Report, Sandbox};

/// Lowers RLIMIT_NOFILE to `most`, or leaves it where it is lower; returns what holds.
///
/// To be called before anything is opened: what keeps descriptors open goes by the limit that it
/// finds.
///
/// # Errors
/// [`Error::Limit`]: the kernel refuses.
pub fn limit_descriptors(most: u64) -> Result<u64, Error> {
    lower(Resource::Nofile, "descriptors", most)
}

/// Sets the limits for memory and core dumps.
pub(crate) fn set(sandbox: &Sandbox, report: &mut Report) -> Result<(), Error> {
    if !sandbox.core_dumps {
        lower(Resource::Core, "core dumps", 0)?;
    }
    // Not RLIMIT_AS: the allocator reserves 64 MiB of addresses for each thread, and uses little.
    if let Some(bytes) = sandbox.memory {
        report.memory = Some(lower(Resource::Data, "memory", bytes)?);
    }
    report.core_dumps = getrlimit(Resource::Core).current != Some(0);
    report.descriptors = getrlimit(Resource::Nofile).current;
    Ok(())
}

fn lower(resource: Resource, what: &'static str, most: u64) -> Result<u64, Error> {
    let most = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(resource, limit).map_err(|source| Error::Limit { what, most, source })?;
    Ok(most)
}
