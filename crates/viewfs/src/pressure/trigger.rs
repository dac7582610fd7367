//! What is written to a pressure file. Source: Documentation/accounting/psi.rst,
//! `psi_trigger_create` in kernel/sched/psi.c.

use procfmt::units::Usec;

use crate::keep::KeptTrigger;

/// Triggers of those who are not privileged may have windows of this length and its multiples: the
/// kernel looks that often anyway, and needs no thread for them.
const UNPRIVILEGED_WINDOW: u32 = 2_000_000;

/// A wish to be told when tasks have been held up for `threshold` within `window`.
///
/// Whether the kernel grants it is the kernel's affair: which windows it takes depends on its
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Trigger {
    stall: Stall,
    threshold: u32,
    window: u32,
}

/// Whose being held up counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stall {
    /// That of any task.
    Some,
    /// That of all tasks at once.
    Full,
}

impl Trigger {
    /// Reads `some 150000 1000000` and the like, times in microseconds. `None` for everything
    /// else, which is EINVAL.
    ///
    /// As the kernel, takes any blanks between the words and ignores what follows the last number:
    /// a NUL, a newline. Unlike it, takes no number beyond 32 bits for its last 32 bits.
    pub(crate) fn parse(written: &[u8]) -> Option<Self> {
        let (stall, rest) = match written {
            [b's', b'o', b'm', b'e', rest @ ..] => (Stall::Some, rest),
            [b'f', b'u', b'l', b'l', rest @ ..] => (Stall::Full, rest),
            _ => return None,
        };
        let (threshold, rest) = number(rest)?;
        let (window, _) = number(rest)?;
        Some(Self { stall, threshold, window })
    }

    /// The trigger as the next worker is told of it.
    pub(crate) fn kept(&self, written_by: u64) -> KeptTrigger {
        let Self { stall, threshold, window } = *self;
        KeptTrigger { is_full: stall == Stall::Full, threshold, window, written_by }
    }

    /// A trigger of the last worker's.
    pub(crate) fn of(kept: &KeptTrigger) -> Self {
        let stall = if kept.is_full { Stall::Full } else { Stall::Some };
        Self { stall, threshold: kept.threshold, window: kept.window }
    }

    /// How long the window is.
    pub(crate) fn window(&self) -> Usec {
        Usec(u64::from(self.window))
    }

    /// Whether somebody without CAP_SYS_RESOURCE may have it. The kernel asks that of whoever
    /// opened the file; it is we who open the container's, so it is for us to ask.
    pub(crate) fn is_for_everybody(&self) -> bool {
        self.window.is_multiple_of(UNPRIVILEGED_WINDOW)
    }

    /// The words for the kernel. With a NUL at the end, which takes the place of the last byte:
    /// `/proc/pressure` drops that, the files of cgroups do not.
    pub(crate) fn text(&self) -> String {
        let stall = match self.stall {
            Stall::Some => "some",
            Stall::Full => "full",
        };
        format!("{stall} {} {}\0", self.threshold, self.window)
    }
}

/// The number that `text` begins with, after any blanks, and what follows it.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let text = text.trim_ascii_start();
    let length = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(length)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(written: &str) -> Option<String> {
        Trigger::parse(written.as_bytes()).map(|trigger| trigger.text())
    }

    #[test]
    fn what_the_kernel_takes_is_taken() {
        for written in [
            "some 100000 1000000",
            "some 100000 1000000\n",
            "some 100000 1000000\0",
            "some 100000 1000000\0\0more",
            "some  100000\t1000000 more",
            "some100000 1000000",
        ] {
            assert_eq!(text(written).as_deref(), Some("some 100000 1000000\0"), "{written:?}");
        }
        assert_eq!(text("full 0 4294967295").as_deref(), Some("full 0 4294967295\0"));
    }

    #[test]
    fn everything_else_is_no_trigger() {
        for written in [
            "",
            "some",
            "some 100000",
            "some 100000\0 1000000",
            "most 100000 1000000",
            "Some 1 2",
            " some 1 2",
            "some -1 2",
            "some 1 x2",
            "some 1 4294967296",
            "some 99999999999999999999 2",
            "some 1.5 2",
        ] {
            assert_eq!(text(written), None, "{written:?}");
        }
    }

    #[test]
    fn windows_of_two_seconds_are_for_everybody() {
        for (window, everybody) in
            [(2_000_000, true), (10_000_000, true), (1_000_000, false), (2_000_001, false)]
        {
            let trigger = Trigger::parse(format!("some 1 {window}").as_bytes()).unwrap();
            assert_eq!(trigger.is_for_everybody(), everybody, "{window}");
            assert_eq!(trigger.window(), Usec(window));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(written in prop::collection::vec(any::<u8>(), 0..60)) {
            Trigger::parse(&written);
        }

        #[test]
        fn what_was_understood_is_what_is_passed_on(
            tail in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let written = [b"full 5 ", &tail[..]].concat();
            if let Some(trigger) = Trigger::parse(&written) {
                prop_assert_eq!(Trigger::parse(trigger.text().as_bytes()), Some(trigger));
                prop_assert_eq!(Trigger::of(&trigger.kept(7)), trigger);
            }
        }
    }
}
