//! Podman's and CRI-O's names: the list that containers/storage keeps.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Finder, Skipped, note};
use crate::json_file;

/// containers/storage's default folder for root (containers-storage.conf(5), `graphroot`).
const STORAGE: &str = "/var/lib/containers/storage";

/// In it a folder per driver, such as `overlay-containers`, with these lists.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
}

/// The names of each id.
pub(super) fn names(finder: &Finder, notes: &mut Vec<Skipped>) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    let folders = finder.names_in(STORAGE, notes);
    for folder in folders.iter().filter(|folder| folder.ends_with("-containers")) {
        for list in LISTS {
            let path = finder.path(Path::new(STORAGE).join(folder).join(list));
            match json_file::read::<Vec<Listed>>(&path) {
                Ok(list) => names
                    .extend(list.into_iter().map(|one| (one.id, one.names.unwrap_or_default()))),
                Err(error) => note(notes, &path, &error),
            }
        }
    }
    names
}
