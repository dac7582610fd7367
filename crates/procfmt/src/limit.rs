//! A limit that may not be set: cgroup v2's `max`, v1's huge number or −1.

/// A limit, or none.
///
/// Ordered so that `Max` is above every value: the effective limit of an ancestry is its minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit<T> {
    /// A limit of this much. Zero is a limit.
    Value(T),
    /// No limit.
    Max,
}

impl<T> Limit<T> {
    /// The limit's value, if one is set.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Max => None,
        }
    }

    /// The same limit in another unit.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Limit<U> {
        match self {
            Self::Value(value) => Limit::Value(convert(value)),
            Self::Max => Limit::Max,
        }
    }
}

impl<T: Ord> Limit<T> {
    /// What remains of `available` under this limit.
    pub fn cap(self, available: T) -> T {
        match self {
            Self::Value(value) => value.min(available),
            Self::Max => available,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_is_above_every_value() {
        assert_eq!(Limit::Value(u64::MAX).min(Limit::Max), Limit::Value(u64::MAX));
        assert_eq!(Limit::Value(0).min(Limit::Value(1)), Limit::Value(0));
        assert_eq!(Limit::Value(3).cap(2), 2);
        assert_eq!(Limit::Max.cap(2), 2);
    }
}
