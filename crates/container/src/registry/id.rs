//! The id under which a container is registered: the name of a file and of a directory.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How long an id may be, in bytes.
const MOST: usize = 128;

/// The id of a registered container: a letter or digit, then letters, digits, `_`, `.` and `-`, 128
/// bytes at most. The engine's own id where there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

/// A text that cannot be an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the id of a container: it takes 1 to 128 letters, digits, `_`, `.` and `-`, \
     the first a letter or digit"
)]
pub struct BadId(String);

impl Id {
    /// The id `text`.
    ///
    /// # Errors
    /// [`BadId`] if it is none.
    pub fn new(text: impl Into<String>) -> Result<Self, BadId> {
        let text = text.into();
        let is_first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if is_first && text.len() <= MOST && text.bytes().all(is_plain) {
            Ok(Self(text))
        } else {
            Err(BadId(text))
        }
    }

    /// That of a container of which only a process is known.
    #[must_use]
    pub fn of_process(pid: u32, start_time: u64) -> Self {
        Self(format!("pid-{pid}-{start_time}"))
    }

    /// That of a container of which only the cgroup is known. Slashes become dashes and what an id
    /// cannot have becomes `_` and its number; a path too long for that keeps its end, and a number
    /// stands for the rest.
    #[must_use]
    pub fn of_cgroup(path: &str) -> Self {
        let mut name = String::new();
        for byte in path.trim_start_matches('/').bytes() {
            match byte {
                b'/' => name.push('-'),
                b'-' | b'_' => name.push_str(&format!("_{byte:02x}")),
                plain if is_plain(plain) => name.push(char::from(plain)),
                other => name.push_str(&format!("_{other:02x}")),
            }
        }
        let whole = format!("cgroup-{name}");
        if whole.len() <= MOST {
            return Self(whole);
        }
        let hash = super::hash(&[path.as_bytes()]);
        let kept = name.len().saturating_sub(MOST - "cgroup-".len() - 17);
        Self(format!("cgroup-{hash:016x}-{}", name.get(kept..).unwrap_or_default()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Id {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        Self::new(text)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_file_names() {
        for good in ["a", "4f2a", "pid-1-2", "web_1.x-y", &"a".repeat(128)] {
            assert_eq!(Id::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "-a", "_a", "a/b", "a b", "a\0", "ä", &"a".repeat(129)] {
            assert!(Id::new(bad).unwrap_err().to_string().contains(bad), "{bad:?}");
        }
    }

    #[test]
    fn cgroups_have_ids_of_their_own() {
        let id = |path: &str| Id::of_cgroup(path).as_str().to_owned();
        assert_eq!(id("/docker/4f2a"), "cgroup-docker-4f2a");
        assert_eq!(id("/a b.slice/x-y_z"), "cgroup-a_20b.slice-x_2dy_5fz");
        assert_ne!(id("/a/b"), id("/a-b"));
        let long = format!("/system.slice/{}", "x".repeat(200));
        for path in ["/", "/a/b", "/ä", &long, &format!("{long}/y")] {
            assert!(Id::new(id(path)).is_ok(), "{}", id(path));
        }
        assert_ne!(id(&long), id(&format!("/other{long}")));
        assert_eq!(Id::of_process(7, 8).as_str(), "pid-7-8");
    }
}
