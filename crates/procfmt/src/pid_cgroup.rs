//! `/proc/PID/cgroup`: in which cgroup a process is, one line per hierarchy.
//! Source: cgroups(7), `proc_cgroup_show` in kernel/cgroup/cgroup.c.

use crate::num::{lines, parse_u64};

/// One line: `id:controllers:path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership<'text> {
    /// The hierarchy's number; 0 for cgroup v2.
    pub hierarchy: u64,
    /// The v1 hierarchy's controllers, separated by commas, or `name=` and a name; empty for v2.
    pub controllers: &'text [u8],
    /// The cgroup's path, relative to the cgroup namespace of whoever reads the file. It may hold
    /// colons. A process whose cgroup was removed has ` (deleted)` at the end, which a living
    /// cgroup may be called as well.
    pub path: &'text [u8],
}

impl<'text> Membership<'text> {
    /// Parses one line, without its newline; `None` if it has another form.
    #[must_use]
    pub fn parse(line: &'text [u8]) -> Option<Self> {
        // Only the first two colons separate: the path may hold more.
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let hierarchy = parse_u64(parts.next()?)?;
        let controllers = parts.next()?;
        let path = parts.next().filter(|path| path.starts_with(b"/"))?;
        Some(Self { hierarchy, controllers, path })
    }

    /// Whether this is the line of cgroup v2.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.hierarchy == 0 && self.controllers.is_empty()
    }

    /// Whether this is the line of the v1 hierarchy that has `controller`.
    #[must_use]
    pub fn has_controller(&self, controller: &[u8]) -> bool {
        self.controllers.split(|&byte| byte == b',').any(|one| one == controller)
    }
}

/// The lines of the file, in its order. Lines of another form are left out.
pub fn memberships(text: &[u8]) -> impl Iterator<Item = Membership<'_>> {
    lines(text).filter_map(Membership::parse)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn path_with_colon_and_deleted() {
        let text = b"9:name=systemd:/\n4:cpu,cpuacct:/a:b/c (deleted)\n0::/user.slice\n";
        let lines: Vec<_> = memberships(text).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].has_controller(b"name=systemd"));
        assert!(lines[1].has_controller(b"cpuacct") && !lines[1].has_controller(b"cpu,cpuacct"));
        assert_eq!(lines[1].path, b"/a:b/c (deleted)");
        assert!(lines[2].is_v2() && !lines[1].is_v2());
    }

    #[test]
    fn other_lines_are_left_out() {
        for text in ["", "\n", "0:/a", "x::/a", "0::a", "::/"] {
            assert_eq!(memberships(text.as_bytes()).count(), 0, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = memberships(&text).count();
        }
    }
}
