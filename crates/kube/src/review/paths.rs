//! Which paths in a container are in each other's way.

/// A path as the runtime resolves it in the container's root: from the root, without `.`, `..` and
/// doubled slashes. Links in the image are not known here.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Resolved<'a>(Vec<&'a str>);

impl<'a> Resolved<'a> {
    pub(super) fn new(path: &'a str) -> Self {
        let mut parts = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        Self(parts)
    }

    /// Whether one is the other, or above it: a mount on one hides the other or puts something into it.
    pub(super) fn meets(&self, other: &Resolved<'_>) -> bool {
        self.0.iter().zip(&other.0).all(|(one, two)| one == two)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_meets_itself_in_any_spelling_what_is_above_and_what_is_below() {
        let ours = Resolved::new("/sys/devices/system/cpu");
        for theirs in [
            "/sys/devices/system/cpu",
            "/sys/devices/system/cpu/",
            "sys//devices/./system/cpu",
            "/etc/../sys/devices/system/cpu",
            "/../sys/devices/system/cpu",
            "/sys/devices/system/cpu/online",
            "/sys",
            "/",
            "",
        ] {
            assert!(ours.meets(&Resolved::new(theirs)), "{theirs}");
        }
        for theirs in ["/sys/devices/system/cpufreq", "/sys/devices/system/node", "/proc", "/SYS"] {
            assert!(!ours.meets(&Resolved::new(theirs)), "{theirs}");
        }
    }

    proptest! {
        #[test]
        fn meeting_is_mutual(one in "[./a-c]{0,12}", two in "[./a-c]{0,12}") {
            let (one, two) = (Resolved::new(&one), Resolved::new(&two));
            prop_assert_eq!(one.meets(&two), two.meets(&one));
            prop_assert!(one.meets(&one));
        }
    }
}
