//! The number of a group, from /etc/group.
//!
//! Not by getgrnam(3): in a program that is linked statically, glibc would load the libraries of the
//! name service at run time, which have to be those of the very version that it was linked with.

use std::path::Path;

use anyhow::Context;

/// Where groups are written down, see group(5).
const GROUPS: &str = "/etc/group";

/// The gid of the group `name`, which may be a gid itself: groups that are kept elsewhere, as in a
/// directory service, are named by that.
pub(super) fn gid(name: &str) -> anyhow::Result<u32> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    let text = std::fs::read(Path::new(GROUPS)).with_context(|| format!("cannot read {GROUPS}"))?;
    find(&String::from_utf8_lossy(&text), name).with_context(|| {
        format!("there is no group {name} in {GROUPS}; make it with groupadd, or say its number")
    })
}

fn find(groups: &str, name: &str) -> Option<u32> {
    // name:password:gid:members
    let line = |line: &str| -> Option<u32> {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        fields.nth(1)?.trim().parse().ok()
    };
    groups.lines().find_map(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\n#note\nresview-x:x:7:\nresview:x:998:ann,bob\nbad:x\n";
        assert_eq!(find(groups, "resview"), Some(998));
        assert_eq!(find(groups, "root"), Some(0));
        assert_eq!(find(groups, "bad"), None);
        assert_eq!(find(groups, "res"), None);
        assert_eq!(find(groups, ""), None);
    }

    #[test]
    fn a_group_may_be_its_number() {
        assert_eq!(gid("4711").unwrap(), 4711);
        assert!(gid("no-such-group").unwrap_err().to_string().contains("groupadd"));
    }
}
