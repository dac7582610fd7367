//! How much swap the container has: `/proc/meminfo` and `/proc/swaps` print the same two numbers.

use procfmt::limit::Limit;
use procfmt::units::{Bytes, Kib};

use crate::input::{MemoryInput, SwapLevel};
use crate::policy::Policy;

/// The container's swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swap {
    pub(super) total: Kib,
    pub(super) free: Kib,
}

impl Swap {
    /// None where the kernel does not account swap for the container or the operator hides it.
    ///
    /// The host's swap device bounds the total. Free is not bound by the host's SwapFree: what the
    /// neighbours have swapped out is not the container's use.
    pub(super) fn new(input: &MemoryInput, host_total: Kib, policy: &Policy) -> Self {
        let own = input.levels.first().map(|level| level.swap);
        match own {
            _ if !policy.swap => Self::default(),
            Some(SwapLevel::Swap { current, .. }) => Self::v2(input, current, host_total),
            Some(SwapLevel::MemoryPlusSwap { usage, .. }) => {
                Self::v1(input, usage, host_total, policy)
            }
            Some(SwapLevel::Absent) | None => Self::default(),
        }
    }

    /// v2 limits swap alone. total = min(host, `memory.swap.max` of the ancestry); free is what the
    /// container's own use leaves of it, but no more than any limited level has left, because
    /// siblings share that level.
    fn v2(input: &MemoryInput, current: Bytes, host_total: Kib) -> Self {
        let mut limit = Limit::Max;
        let mut room = Limit::Max;
        for level in &input.levels {
            let SwapLevel::Swap { max: Limit::Value(max), current } = level.swap else { continue };
            limit = limit.min(Limit::Value(max));
            room = room.min(Limit::Value(max.saturating_sub(current)));
        }
        let total = limit.cap(host_total.bytes());
        let free = room.cap(total.saturating_sub(current)).min(total);
        Self { total: total.kib(), free: free.kib() }
    }

    /// v1 limits memory and swap together, so the swap is what that limit leaves beyond memory's:
    /// `docker run -m 256m --memory-swap 512m` has 256 MiB of swap. Without such a limit it is the
    /// host's. Swappiness 0 keeps anonymous memory in RAM, so nothing is free for swapping.
    fn v1(input: &MemoryInput, usage: Bytes, host_total: Kib, policy: &Policy) -> Self {
        let (mut both, mut memory) = (Limit::Max, Limit::Max);
        for level in &input.levels {
            memory = memory.min(level.limit);
            if let SwapLevel::MemoryPlusSwap { limit, .. } = level.swap {
                both = both.min(limit);
            }
        }
        let beyond = both.map(|both| match memory {
            Limit::Value(memory) if !policy.v1_swap_includes_memory => both.saturating_sub(memory),
            _ => both,
        });
        let total = beyond.cap(host_total.bytes());
        let memory_usage = input.levels.first().map_or(Bytes::ZERO, |level| level.usage);
        let used = input.stat.swap.unwrap_or_else(|| usage.saturating_sub(memory_usage));
        let free = match input.swappiness {
            Some(0) => Bytes::ZERO,
            _ => total.saturating_sub(used),
        };
        Self { total: total.kib(), free: free.kib() }
    }
}
