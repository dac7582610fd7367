//! `/proc/PID/mountinfo`: one line per mount that a process sees.
//! Source: proc_pid_mountinfo(5), `show_mountinfo` in fs/proc_namespace.c.

use std::borrow::Cow;

use crate::num::{lines, parse_u64};

/// One mount. Paths are as seen from the process's root directory, with the kernel's octal escapes
/// (`\040` for a blank) decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'text> {
    /// The mount's id; unique among living mounts.
    pub id: u64,
    /// The id of the mount that it lies on.
    pub parent: u64,
    /// Major number of the device (`st_dev`); 0 for file systems without one.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// Which directory of the file system is mounted; `/` for all of it. For a cgroup mount this
    /// is relative to the cgroup namespace of whoever reads the file.
    pub root: Cow<'text, [u8]>,
    /// Where it is mounted.
    pub mount_point: Cow<'text, [u8]>,
    /// Options of this mount (not of the file system), separated by commas: `ro,nosuid`.
    pub options: &'text [u8],
    /// `shared:N`: the peer group with which it exchanges mounts. `None`: what is mounted on it
    /// stays in this namespace.
    pub peer_group: Option<u64>,
    /// `master:N`: the peer group from which it receives mounts.
    pub master: Option<u64>,
    /// The file system's type, with subtype: `ext4`, `cgroup2`, `fuse.lxcfs`.
    pub fs_type: &'text [u8],
    /// The mount's source; often a device, for pseudo file systems any word.
    pub source: Cow<'text, [u8]>,
    /// Options of the file system (not of the mount), separated by commas. A cgroup v1 mount has
    /// its controllers here, or `name=` for a hierarchy without any.
    pub super_options: &'text [u8],
}

impl<'text> Mount<'text> {
    /// Parses one line, without its newline; `None` if it has another form.
    #[must_use]
    pub fn parse(line: &'text [u8]) -> Option<Self> {
        // Exactly one blank between fields: a source may be empty, and other white space is escaped
        // or, like a form feed, part of a name.
        let mut fields = line.split(|&byte| byte == b' ');
        let id = parse_u64(fields.next()?)?;
        let parent = parse_u64(fields.next()?)?;
        let mut device = fields.next()?.split(|&byte| byte == b':').map(parse_u64);
        let (major, minor) = (device.next()??, device.next()??);
        let root = unescape(fields.next()?);
        let mount_point = unescape(fields.next()?);
        let options = fields.next()?;
        // Any number of optional fields up to a lone hyphen.
        let (mut peer_group, mut master) = (None, None);
        for field in fields.by_ref().take_while(|field| *field != b"-") {
            let number = |tag: &[u8]| field.strip_prefix(tag).and_then(parse_u64);
            peer_group = peer_group.or(number(b"shared:"));
            master = master.or(number(b"master:"));
        }
        let mut rest = fields;
        Some(Self {
            id,
            parent,
            major: u32::try_from(major).ok()?,
            minor: u32::try_from(minor).ok()?,
            root,
            mount_point,
            options,
            peer_group,
            master,
            fs_type: rest.next()?,
            source: unescape(rest.next()?),
            // A file system may print no options of its own at all.
            super_options: rest.next().unwrap_or_default(),
        })
    }

    /// Whether `option` is one of the file system's options.
    #[must_use]
    pub fn has_super_option(&self, option: &[u8]) -> bool {
        self.super_options.split(|&byte| byte == b',').any(|one| one == option)
    }
}

/// The mounts of a mountinfo text, in its order: a mount comes after the one that it lies on or
/// covers. A line of another form is left out, so that one that a later kernel or an odd source
/// name spoils does not hide the others.
pub fn mounts(text: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    lines(text).filter_map(Mount::parse)
}

/// Decodes the kernel's octal escapes: a backslash and three octal digits.
#[must_use]
pub fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut decoded = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some((byte, after)) = escape(rest) {
            decoded.push(byte);
            rest = after;
        } else {
            decoded.push(first);
            rest = tail;
        }
    }
    Cow::Owned(decoded)
}

/// The byte that an escape at the beginning of `text` stands for, and what follows it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.strip_prefix(b"\\")?.split_at_checked(3)?;
    let code = digits.iter().try_fold(0u32, |code, &digit| {
        matches!(digit, b'0'..=b'7').then(|| code * 8 + u32::from(digit - b'0'))
    })?;
    Some((u8::try_from(code).ok()?, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_of_a_cgroup_mount() {
        let line =
            b"34 31 0:31 /dk /sys/fs/cgroup/cpu rw,nosuid shared:9 master:2 - cgroup cgroup \
                     rw,cpu,cpuacct";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.parent, mount.major, mount.minor), (34, 31, 0, 31));
        assert_eq!(&*mount.root, b"/dk");
        assert_eq!(&*mount.mount_point, b"/sys/fs/cgroup/cpu");
        assert_eq!(mount.fs_type, b"cgroup");
        assert_eq!(mount.options, b"rw,nosuid");
        assert_eq!((mount.peer_group, mount.master), (Some(9), Some(2)));
        assert!(mount.has_super_option(b"cpuacct") && !mount.has_super_option(b"cpus"));
    }

    #[test]
    fn blanks_in_paths_are_octal_escapes() {
        let line = b"5 1 8:1 /a\\040b /c\\134040 rw - ext4 /dev/sda\\0111 rw";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(&*mount.root, b"/a b");
        assert_eq!(&*mount.mount_point, b"/c\\040");
        assert_eq!(&*mount.source, b"/dev/sda\t1");
        let odd = Mount::parse(b"5 1 8:1 /a\x0cb /c rw - cgroup2  rw,x").unwrap();
        assert_eq!((&*odd.root, odd.fs_type), (&b"/a\x0cb"[..], &b"cgroup2"[..]));
        assert!(odd.source.is_empty() && odd.has_super_option(b"x"));
        for text in ["\\", "\\04", "\\049", "\\400", "x\\"] {
            assert_eq!(&*unescape(text.as_bytes()), text.as_bytes(), "not an escape");
        }
    }

    #[test]
    fn a_spoilt_line_does_not_hide_the_others() {
        let text = b"nonsense\n1 2 0:3 / /p rw - proc proc rw\n1 2 03 / /p rw - proc proc rw\n";
        assert_eq!(mounts(text).count(), 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = mounts(&text).count();
            prop_assert!(unescape(&text).len() <= text.len());
        }
    }
}
