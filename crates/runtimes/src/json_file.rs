//! JSON files that somebody else wrote.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::de::DeserializeOwned;

/// The largest file that is read, in bytes. config.json of a container with a long seccomp profile
/// has about 100 kB.
const LARGEST: u64 = 8 << 20;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a plain file, or too large to be what it should be.
    #[error("{} is no plain file of at most {LARGEST} bytes", .path.display())]
    Unlikely {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else than it should.
    #[error("{} is not understood: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// In which way.
        reason: String,
    },
}

impl FileError {
    /// Whether there is no such file.
    #[must_use]
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The bytes of a plain file. Never waits, as it would for a FIFO in a hostile place.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    let read = |source| FileError::Read { path: path.to_owned(), source };
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(FileError::Unlikely { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

/// The value in a JSON file; unknown fields are ignored.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    serde_json::from_slice(&read_bytes(path)?)
        .map_err(|error| FileError::Content { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_or_a_folder_is_no_state_file_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(matches!(read_bytes(&fifo), Err(FileError::Unlikely { .. })));
        assert!(matches!(read_bytes(dir.path()), Err(FileError::Unlikely { .. })));
        assert!(read_bytes(&dir.path().join("none")).unwrap_err().is_missing());
    }
}
