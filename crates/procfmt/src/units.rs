//! Units as types, so that a kilobyte is never added to a byte.
//!
//! Every conversion saturates and truncates towards zero, as the kernel's own printing does.

use std::ops::{Add, AddAssign};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Zero of this unit.
            pub const ZERO: Self = Self(0);

            /// `self - other`, or zero where that would be negative.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl Add for $name {
            type Output = Self;
            /// Addition that stops at `u64::MAX`.
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self::ZERO, Add::add)
            }
        }
    };
}

unit!(
    /// Bytes, as cgroup files count memory.
    Bytes
);
unit!(
    /// Units of 1024 bytes, as `/proc/meminfo` and `/proc/swaps` count (they print `kB`).
    Kib
);
unit!(
    /// Microseconds, as cgroup v2 counts CPU time.
    Usec
);
unit!(
    /// Clock ticks of `1 / USER_HZ` seconds, as `/proc/stat` counts CPU time.
    Ticks
);

impl Bytes {
    /// Whole kibibytes.
    #[must_use]
    pub const fn kib(self) -> Kib {
        Kib(self.0 / 1024)
    }
}

impl Kib {
    /// The same amount in bytes, stopping at `u64::MAX`.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(1024))
    }
}

impl Usec {
    /// Whole clock ticks: `usec * user_hz / 10^6`, computed in 128 bits.
    #[must_use]
    pub fn ticks(self, user_hz: u64) -> Ticks {
        Ticks(scale(self.0, user_hz, 1_000_000))
    }

    /// From nanoseconds, as cgroup v1 counts CPU time.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos / 1000)
    }

    /// From clock ticks, as `cpuacct.stat` and `/proc/PID/stat` count.
    #[must_use]
    pub fn from_ticks(ticks: u64, user_hz: u64) -> Self {
        Self(scale(ticks, 1_000_000, user_hz.max(1)))
    }
}

/// `value * numerator / denominator` without overflow on the way; saturates at `u64::MAX`.
///
/// `denominator` must not be zero; zero is taken as one.
#[must_use]
pub fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    let wide = u128::from(value) * u128::from(numerator) / u128::from(denominator.max(1));
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_truncate_and_saturate() {
        assert_eq!(Bytes(2047).kib(), Kib(1));
        assert_eq!(Kib(u64::MAX).bytes(), Bytes(u64::MAX));
        assert_eq!(Usec(19_999).ticks(100), Ticks(1));
        assert_eq!(Usec(u64::MAX).ticks(u64::MAX), Ticks(u64::MAX));
        assert_eq!(Usec::from_ticks(3, 100), Usec(30_000));
        assert_eq!(Bytes(1).saturating_sub(Bytes(2)), Bytes::ZERO);
        assert_eq!(Bytes(u64::MAX) + Bytes(1), Bytes(u64::MAX));
    }
}
