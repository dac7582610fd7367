//! Which queues there are, and which thread has which.

use super::RingsError;

/// One line, a list of CPUs: Documentation/admin-guide/cputopology.rst.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// How many queues a connection has: the kernel numbers them from 0, one for each possible CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queues(u16);

impl Queues {
    pub(super) fn of_this_machine() -> Result<Self, RingsError> {
        let error = |what| RingsError::Cpus { path: POSSIBLE, what };
        let list = std::fs::read_to_string(POSSIBLE).map_err(|e| error(e.to_string()))?;
        Self::parse(&list).ok_or_else(|| error(format!("it says {:?}", list.trim())))
    }

    /// Of a list of CPUs, such as `0-3,8`.
    fn parse(list: &str) -> Option<Self> {
        let mut count = 0_u16;
        for range in list.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
            count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
        }
        Some(Self(count))
    }
}

/// Shares the queues out among as many threads as there are queues, but no more than `most`.
pub(super) fn share(queues: Queues, most: usize) -> Vec<Vec<u16>> {
    let threads = usize::from(queues.0).min(most);
    let of = |thread: usize| (0..queues.0).skip(thread).step_by(threads.max(1)).collect();
    (0..threads).map(of).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn possible_cpus_are_counted() {
        let count = |list| Queues::parse(list).map(|queues| queues.0);
        assert_eq!(count("0-1\n"), Some(2));
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        for nonsense in ["", "x", "3-1", "0-70000", "0-65535"] {
            assert_eq!(count(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn every_queue_has_one_thread() {
        for (queues, most) in [(1, 15), (2, 15), (15, 15), (16, 15), (4096, 15), (5, 1)] {
            let shares = share(Queues(queues), most);
            assert_eq!(shares.len(), usize::from(queues).min(most));
            assert!(shares.iter().all(|share| !share.is_empty()));
            let mut all = shares.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..queues), "{queues} {most}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_not(text in "[0-9,\\- x\n]{0,20}") {
            let _ = Queues::parse(&text);
        }
    }
}
