//! Which files are compared: those of the catalogue, and of the directories of `/sys` what programs
//! read.

/// Below `/sys`, with the directory that the kernel gives each CPU, node and disk.
const SYS: [&str; 9] = [
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/possible",
    "sys/devices/system/cpu/present",
    "sys/devices/system/cpu/cpu0/topology/core_cpus",
    "sys/devices/system/node/online",
    "sys/devices/system/node/node0/cpulist",
    "sys/devices/system/node/node0/meminfo",
    "sys/devices/system/node/node0/numastat",
    "sys/devices/system/node/node0/vmstat",
];

/// Where the disks are that there may be in the view; it has those that the container uses.
const DISKS: &str = "sys/block";

/// All that may be compared here, without leading slash.
pub(crate) fn candidates() -> Vec<String> {
    let proc = view::catalogue::PROC_FILES.iter().map(|file| format!("proc/{}", file.name));
    let pressure = ["cpu", "memory", "io"].map(|name| format!("proc/pressure/{name}"));
    let mut disks: Vec<String> = std::fs::read_dir(format!("/{DISKS}"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|disk| format!("{DISKS}/{}/stat", disk.file_name().to_string_lossy()))
        .collect();
    disks.sort();
    proc.chain(pressure).chain(SYS.map(str::to_owned)).chain(disks).collect()
}

/// What to compare of them: those that are `wanted`, or all, that the view has; one disk is enough.
pub(crate) fn chosen(candidates: &[String], wanted: &[String], view: &[String]) -> Vec<String> {
    let mut has_disk = false;
    let is_chosen = |file: &&String| {
        let is_wanted = wanted.is_empty() || wanted.iter().any(|name| name == shown(file));
        let is_disk = file.starts_with(DISKS);
        let is_chosen = is_wanted && view.contains(file) && !(is_disk && has_disk);
        has_disk |= is_chosen && is_disk;
        is_chosen
    };
    candidates.iter().filter(is_chosen).cloned().collect()
}

/// The name in the tables, such as `meminfo`, `cpu/online` and `cpu0/topology/core_cpus`.
pub(crate) fn shown(file: &str) -> &str {
    let folders = ["proc/", "sys/devices/system/", "sys/"];
    let short = folders.iter().find_map(|folder| file.strip_prefix(folder)).unwrap_or(file);
    let (folder, below) = short.split_once('/').unwrap_or(("", short));
    // cpu/cpu0 and node/node0
    if !folder.is_empty() && below.starts_with(folder) { below } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disk_and_only_what_the_view_has() {
        let all = ["proc/stat", "proc/swaps", "sys/block/loop0/stat", "sys/block/a/stat"];
        let all = all.map(str::to_owned);
        assert_eq!(chosen(&all, &[], &all), ["proc/stat", "proc/swaps", "sys/block/loop0/stat"]);
        assert_eq!(chosen(&all, &["swaps".to_owned()], &all), ["proc/swaps"]);
        let view = ["sys/block/a/stat".to_owned()];
        assert_eq!(chosen(&all, &[], &view), ["sys/block/a/stat"]);
    }

    #[test]
    fn the_whole_catalogue_of_proc_is_a_candidate() {
        let all = candidates();
        for file in &view::catalogue::PROC_FILES {
            assert!(all.iter().any(|name| shown(name) == file.name), "{}", file.name);
        }
    }

    #[test]
    fn names_are_short_and_tell_files_apart() {
        let names = [
            ("proc/pressure/cpu", "pressure/cpu"),
            ("sys/devices/system/cpu/online", "cpu/online"),
            ("sys/devices/system/node/node0/vmstat", "node0/vmstat"),
            ("sys/block/a/stat", "block/a/stat"),
        ];
        assert!(names.iter().all(|(file, name)| shown(file) == *name));
        let mut all: Vec<_> = candidates().iter().map(|file| shown(file).to_owned()).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
