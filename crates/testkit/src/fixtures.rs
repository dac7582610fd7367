//! Trees captured from real hosts: `fixtures/<arch>-<cpus>-<kernel>/{proc,sys,cgroup}/…`.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Where the captured trees are: `RESVIEW_FIXTURES`, else `fixtures/` of this repository.
#[must_use]
pub fn fixtures_dir() -> PathBuf {
    std::env::var_os("RESVIEW_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures"), PathBuf::from)
}

/// The captured hosts by name (`x86_64-2-6.18`), sorted.
///
/// # Panics
/// Where there is no folder of fixtures.
#[must_use]
pub fn hosts() -> Vec<String> {
    let dir = fixtures_dir();
    let entries = std::fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("cannot list the fixtures in {}: {error}", dir.display()));
    let mut hosts: Vec<String> = entries
        .map(|entry| entry.expect("an entry of the fixtures' folder"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a host's name in UTF-8"))
        .collect();
    hosts.sort();
    hosts
}

/// The bytes of a captured file, such as `fixture("x86_64-2-6.18", "proc/meminfo")`.
///
/// Large files are stored compressed, as `<path>.gz`; the caller does not see the difference.
///
/// # Panics
/// Where there is no such file.
#[must_use]
pub fn fixture(host: &str, path: &str) -> Vec<u8> {
    let plain = fixtures_dir().join(host).join(path);
    let packed = PathBuf::from(format!("{}.gz", plain.display()));
    if packed.is_file() {
        return unpack(&packed);
    }
    std::fs::read(&plain)
        .unwrap_or_else(|error| panic!("no fixture {}[.gz]: {error}", plain.display()))
}

fn unpack(packed: &Path) -> Vec<u8> {
    let file = std::fs::File::open(packed)
        .unwrap_or_else(|error| panic!("cannot open {}: {error}", packed.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .unwrap_or_else(|error| panic!("cannot unpack {}: {error}", packed.display()));
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn packed_files_unpack() {
        let dir = tempfile::tempdir().unwrap();
        let packed = dir.path().join("meminfo.gz");
        let file = std::fs::File::create(&packed).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        encoder.write_all(b"MemTotal: 1 kB\n").unwrap();
        encoder.finish().unwrap();
        assert_eq!(unpack(&packed), b"MemTotal: 1 kB\n");
    }

    #[test]
    fn the_folder_is_that_of_the_repository() {
        assert!(fixtures_dir().is_dir(), "{}", fixtures_dir().display());
    }
}
