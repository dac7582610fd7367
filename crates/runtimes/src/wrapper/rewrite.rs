//! Changing a JSON file without anybody seeing half of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use serde_json::Value;

use crate::json_file;

/// Lets `edit` change the value in `path` and, if it says that it did, writes it beside and renames
/// it into place with the mode and the owner of before. Whether the file is another one now.
///
/// # Errors
/// What went wrong, in words; then the file is as it was.
pub(super) fn rewrite(
    path: &Path,
    edit: impl FnOnce(&mut Value) -> Result<bool, String>,
) -> Result<bool, String> {
    // A link stays a link.
    let path = &path.canonicalize().map_err(|error| error.to_string())?;
    let mut value: Value = json_file::read(path).map_err(|error| error.to_string())?;
    if !edit(&mut value)? {
        return Ok(false);
    }
    let text = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    let beside = path.with_extension(format!("json.resview-{}", std::process::id()));
    let written = write_beside(&beside, path, &text).and_then(|()| fs::rename(&beside, path));
    written.map(|()| true).map_err(|error| {
        let _ = fs::remove_file(&beside);
        format!("cannot write {}: {error}", beside.display())
    })
}

fn write_beside(beside: &Path, like: &Path, text: &[u8]) -> std::io::Result<()> {
    let like = fs::metadata(like)?;
    // One of a process of this number that was killed.
    let _ = fs::remove_file(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    fchown(&file, Some(like.uid()), Some(like.gid()))?;
    // After the owner, whose change takes set-user-id bits away.
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn add(value: &mut Value) -> Result<bool, String> {
        value["added"] = json!(true);
        Ok(true)
    }

    #[test]
    fn mode_and_owner_stay_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, "{ \"b\": 1,\n \"a\": 2 }").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(&path, Some(1234), Some(567)).unwrap();
        }
        let before = fs::metadata(&path).unwrap();
        assert_eq!(rewrite(&path, add), Ok(true));
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"b":1,"a":2,"added":true}"#);
        let after = fs::metadata(&path).unwrap();
        assert_eq!(
            (after.mode(), after.uid(), after.gid()),
            (before.mode(), before.uid(), before.gid())
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_changed_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        for text in ["{ }", "{", "\u{1}"] {
            fs::write(&path, text).unwrap();
            let inode = fs::metadata(&path).unwrap().ino();
            assert_eq!(rewrite(&path, |_| Ok(false)).is_ok(), text == "{ }");
            assert!(rewrite(&path, |_| Err("no".to_owned())).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        }
        assert!(rewrite(&dir.path().join("none"), add).is_err());
    }

    #[test]
    fn a_link_to_the_file_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("real.json"), dir.path().join("config.json"));
        fs::write(&path, "{}").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(rewrite(&link, add), Ok(true));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"added":true}"#);
    }
}
