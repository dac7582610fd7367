//! Go itself. The machine's own if it is new enough; else one that can fetch a newer one as a module.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::packages::{self, PrivateSources};
use crate::{repo, sh};

/// The release that is fetched where the machine's own is older.
const RELEASE: &str = "1.26.8";

/// The oldest that every pinned module compiles with.
const OLDEST: (u32, u32, u32) = (1, 26, 6);

/// From this one on, Go can fetch another.
const FETCHES: (u32, u32, u32) = (1, 21, 0);

/// A release of Debian whose Go can, and what it is there.
const SUITE: &str = "trixie";
const IN_SUITE: &str = "1.24";

/// How to call it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Go {
    program: PathBuf,
    /// What `GOTOOLCHAIN` has to be.
    toolchain: String,
}

impl Go {
    /// Finds Go, and gets Debian's if there is none that will do.
    ///
    /// # Errors
    /// When there is none and it cannot be had.
    pub(super) fn find() -> Result<Self> {
        let own = if sh::has("go") { Self::of(&version()?) } else { None };
        if let Some(toolchain) = own {
            return Ok(Self { program: "go".into(), toolchain });
        }
        Ok(Self { program: of_debian()?, toolchain: format!("go{RELEASE}") })
    }

    /// The toolchain to take, by what `go env GOVERSION` says: none if it can be no help.
    fn of(version: &str) -> Option<String> {
        let number = numbers(version.trim())?;
        match number {
            _ if number >= OLDEST => Some("local".to_owned()),
            _ if number >= FETCHES => Some(format!("go{RELEASE}")),
            _ => None,
        }
    }

    /// `go` in `dir`, which adds to go.mod what is missing there.
    pub(super) fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new("nice");
        command.args(["-n", "5"]).arg(&self.program).current_dir(dir).stdin(Stdio::null());
        command.env("GOTOOLCHAIN", &self.toolchain).env("GOFLAGS", "-mod=mod -buildvcs=false");
        command.env("GOWORK", "off");
        command
    }
}

fn version() -> Result<String> {
    sh::output(Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"))
}

/// The program of a newer Debian, unpacked into the cache: nothing of it has to be set up.
fn of_debian() -> Result<PathBuf> {
    let cache = repo::cache()?;
    let dir = cache.join(format!("go-{IN_SUITE}"));
    if !dir.is_dir() {
        println!("fetching Go {IN_SUITE} of Debian {SUITE}, to fetch {RELEASE} with it");
        let part = tempfile::Builder::new().prefix("go-").tempdir_in(&cache)?;
        let sources = PrivateSources::new(&[SUITE])?;
        let names = ["go", "src"].map(|half| format!("golang-{IN_SUITE}-{half}"));
        let mut download = packages::apt_get(&sources.options, &["download", "-qq"]);
        sh::run(download.args(names).current_dir(part.path()))?;
        let unpack = "mkdir root && for deb in *.deb; do dpkg-deb -x \"$deb\" root; done";
        sh::run(sh::script(unpack, &[]).current_dir(part.path()))?;
        std::fs::rename(part.path().join("root"), &dir)
            .with_context(|| format!("cannot move what was unpacked to {}", dir.display()))?;
    }
    Ok(dir.join(format!("usr/lib/go-{IN_SUITE}/bin/go")))
}

/// `go1.26.8` in numbers; a missing one is 0, and what follows them, as in `go1.27rc1`, is ignored.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let digits = |text: &str| -> String { text.chars().take_while(char::is_ascii_digit).collect() };
    let mut parts = version.strip_prefix("go")?.split('.').map(digits);
    let major = parts.next()?.parse().ok()?;
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    Some((major, next(), next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_go_fetches_a_new_one() {
        let fetched = Some(format!("go{RELEASE}"));
        assert_eq!(Go::of("go1.26.6\n").as_deref(), Some("local"));
        assert_eq!(Go::of("go1.27rc1").as_deref(), Some("local"));
        assert_eq!(Go::of("go1.24.4"), fetched);
        assert_eq!(Go::of("go1.26.5"), fetched);
        assert_eq!(Go::of("go1.19.8"), None);
        assert_eq!(Go::of("devel"), None);
    }

    #[test]
    fn what_is_fetched_is_new_enough() {
        assert!(numbers(&format!("go{RELEASE}")).unwrap() >= OLDEST);
    }
}
