//! What the webhook can lay over a container's files by volumes, and where the node has it.

use std::path::Path;
use std::str::FromStr;

use serde_json::{Value, json};

/// A file, or directory, of the view that a pod's specification may mount.
///
/// runc lets a specification cover only a few files of /proc; any other, /proc/vmstat and
/// /proc/pressure among them, fails the container. /sys has no such list. These are the ones that
/// each version of runc takes.
#[derive(Debug, Eq, PartialEq)]
pub struct Mountable {
    /// Its path without the leading slash, the same in the view and in the container.
    pub path: &'static str,
    /// The name of its volume in the pod.
    pub volume: &'static str,
    is_directory: bool,
}

const fn file(path: &'static str, volume: &'static str) -> Mountable {
    Mountable { path, volume, is_directory: false }
}

/// All of them.
pub static MOUNTABLE: [Mountable; 10] = [
    file("proc/cpuinfo", "resview-cpuinfo"),
    file("proc/diskstats", "resview-diskstats"),
    file("proc/loadavg", "resview-loadavg"),
    file("proc/meminfo", "resview-meminfo"),
    file("proc/slabinfo", "resview-slabinfo"),
    file("proc/stat", "resview-stat"),
    file("proc/swaps", "resview-swaps"),
    file("proc/uptime", "resview-uptime"),
    Mountable { is_directory: true, ..file("sys/devices/system/cpu", "resview-cpu") },
    file("sys/devices/system/cpu/online", "resview-cpu-online"),
];

/// Files that are not mounted unless they are asked for, and why: slabinfo is missing on kernels
/// without CONFIG_SLUB_DEBUG, where a pod that mounts it would never start; the directory has online.
const ON_REQUEST: [&str; 2] = ["proc/slabinfo", "sys/devices/system/cpu/online"];

/// The mountable file with this path, with or without a leading slash, or below /proc by its name.
#[must_use]
pub fn mountable(name: &str) -> Option<&'static Mountable> {
    let name = name.trim().trim_start_matches('/');
    MOUNTABLE.iter().find(|file| {
        file.path == name || file.path.strip_prefix("proc/").is_some_and(|short| short == name)
    })
}

/// Which files to mount: none twice and none below another, in the order of [`MOUNTABLE`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Files(Vec<&'static Mountable>);

impl Default for Files {
    /// All but slabinfo; the directory of the CPUs, not `online` alone.
    fn default() -> Self {
        Self::those(|file| !ON_REQUEST.contains(&file.path))
    }
}

impl Files {
    fn those(wanted: impl Fn(&Mountable) -> bool) -> Self {
        let wanted: Vec<_> = MOUNTABLE.iter().filter(|file| wanted(file)).collect();
        let is_below = |file: &&&Mountable| {
            let above = |other: &&Mountable| other.is_directory && file.path != other.path;
            wanted.iter().any(|other| above(other) && Path::new(file.path).starts_with(other.path))
        };
        Self(wanted.iter().filter(|file| !is_below(file)).copied().collect())
    }

    /// The files that `wish` says yes to, and of those that it says nothing about the present ones.
    pub(super) fn choose(&self, wish: impl Fn(&Mountable) -> Option<bool>) -> Self {
        Self::those(|file| wish(file).unwrap_or_else(|| self.0.contains(&file)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Mountable> {
        self.0.iter().copied()
    }
}

/// A list of files that cannot be mounted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FilesError {
    /// runc would refuse the container.
    #[error("{0:?} cannot be mounted by a pod's specification, as runc refuses such pods; use {list}", list = list())]
    Unknown(String),
    /// There is nothing to mount.
    #[error("an empty list leaves nothing to mount")]
    Empty,
}

fn list() -> String {
    MOUNTABLE.each_ref().map(|file| file.path).join(", ")
}

impl FromStr for Files {
    type Err = FilesError;

    fn from_str(text: &str) -> Result<Self, FilesError> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let named = words
            .map(|word| mountable(word).ok_or_else(|| FilesError::Unknown(word.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        if named.is_empty() {
            return Err(FilesError::Empty);
        }
        Ok(Self::those(|file| named.contains(&file)))
    }
}

/// What the kubelet does when a file of the view is not on its node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HostPathType {
    /// `File` or `Directory`: it checks, and the pod waits in ContainerCreating until the view is there.
    #[default]
    Checked,
    /// Empty: it does not check. The runtime makes a directory where the file should be, and the
    /// container fails, or sees an empty directory.
    Unchecked,
}

/// Where nodes have the view, and how pods mount it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The mountpoint of the daemon on the nodes, or its slots; absolute, no slash at the end.
    pub mountpoint: String,
    /// What if it is missing.
    pub host_path_type: HostPathType,
}

impl Source {
    pub(super) fn path(&self, file: &Mountable) -> String {
        format!("{}/{}", self.mountpoint.trim_end_matches('/'), file.path)
    }

    pub(super) fn volume(&self, file: &Mountable) -> Value {
        let kind = match (self.host_path_type, file.is_directory) {
            (HostPathType::Unchecked, _) => "",
            (HostPathType::Checked, false) => "File",
            (HostPathType::Checked, true) => "Directory",
        };
        json!({ "name": file.volume, "hostPath": { "path": self.path(file), "type": kind } })
    }
}

/// How a container mounts a file. HostToContainer: what the daemon mounts over the file later, to heal
/// it after a crash, arrives in the container. No subPath: the kubelet would resolve it anew at each
/// start of a container, and a view that is gone at that moment would keep it from starting.
pub(super) fn mount(file: &Mountable) -> Value {
    json!({
        "name": file.volume,
        "mountPath": format!("/{}", file.path),
        "readOnly": true,
        "mountPropagation": "HostToContainer",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs of runc's checkProcMount over all versions since 1.0.0, and the directory of the CPUs.
    #[test]
    fn only_files_that_runc_permits_can_be_chosen() {
        let permitted =
            ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"];
        for file in &MOUNTABLE {
            let below_proc = file.path.strip_prefix("proc/");
            assert!(
                below_proc.is_some_and(|name| permitted.contains(&name))
                    || file.path.starts_with("sys/devices/system/cpu"),
                "{}",
                file.path
            );
        }
        for refused in ["proc/pressure", "proc/pressure/cpu", "vmstat", "proc/net/dev", "proc", ""]
        {
            assert_eq!(mountable(refused), None, "{refused}");
        }
        let error = "cpuinfo,pressure/io".parse::<Files>().unwrap_err().to_string();
        assert!(error.contains("pressure/io") && error.contains("proc/loadavg"), "{error}");
    }

    #[test]
    fn a_list_may_have_either_form_and_no_doubles() {
        let files: Files = "/proc/stat, cpuinfo,proc/stat,".parse().unwrap();
        assert_eq!(
            files.iter().map(|file| file.path).collect::<Vec<_>>(),
            ["proc/cpuinfo", "proc/stat"]
        );
        let nested: Files = "sys/devices/system/cpu/online,sys/devices/system/cpu".parse().unwrap();
        assert_eq!(nested.iter().map(|file| file.volume).collect::<Vec<_>>(), ["resview-cpu"]);
        assert_eq!(" ,".parse::<Files>(), Err(FilesError::Empty));
        let usual: Vec<_> = Files::default().iter().map(|file| file.volume).collect();
        assert_eq!(usual.len(), 8);
        assert!(usual.contains(&"resview-cpu") && !usual.contains(&"resview-slabinfo"));
    }
}
