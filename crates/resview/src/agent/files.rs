//! Which files a container gets.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context, bail};
use attach::Binding;

/// Directories that are mounted whole: what is in them depends on the container.
const DIRECTORIES: [&str; 4] =
    ["sys/devices/system/cpu", "sys/devices/system/node", "sys/block", "sys/class/block"];
/// The pressure files, with their triggers. They are the shared tree's: who opens one is told apart
/// there.
const PRESSURE: &str = "proc/pressure";
/// How long the worker may take to say what there is.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be mounted over which path, for the container with this id.
///
/// # Errors
/// The container tree does not answer, or does not have the container.
pub(super) fn bindings(
    containers: &Path,
    mountpoint: &Path,
    id: &str,
) -> anyhow::Result<Vec<Binding>> {
    let tree = containers.join(id);
    let pressure = mountpoint.join(PRESSURE);
    within(PATIENCE, move || listed(&tree, &pressure))
}

/// Those of the bindings that were asked for; a file of `/proc` may be called by its name alone.
///
/// # Errors
/// There is no such file.
pub(super) fn chosen(all: Vec<Binding>, files: &[String]) -> anyhow::Result<Vec<Binding>> {
    let targets: Vec<PathBuf> = files.iter().map(|file| target(file)).collect();
    let has = |wanted: &Path| all.iter().any(|binding| binding.target == wanted);
    if let Some(wrong) = targets.iter().find(|wanted| !has(wanted)) {
        let known: Vec<_> = all.iter().map(|one| one.target.display().to_string()).collect();
        bail!("there is no view of {}; there are {}", wrong.display(), known.join(", "));
    }
    Ok(all.into_iter().filter(|binding| targets.contains(&binding.target)).collect())
}

fn target(file: &str) -> PathBuf {
    let file = file.trim_start_matches('/');
    let in_proc = !file.contains('/');
    Path::new(if in_proc { "/proc" } else { "/" }).join(file)
}

fn listed(tree: &Path, pressure: &Path) -> anyhow::Result<Vec<Binding>> {
    let proc = tree.join("proc");
    let entries = std::fs::read_dir(&proc)
        .with_context(|| format!("the container tree does not have {}", proc.display()))?;
    let mut bindings = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", proc.display()))?;
        if entry.file_type()?.is_file() {
            bindings.push(Binding::file(entry.path(), Path::new("/proc").join(entry.file_name())));
        }
    }
    bindings.sort_by(|a, b| a.target.cmp(&b.target));
    if pressure.is_dir() {
        bindings.push(Binding::directory(pressure, Path::new("/").join(PRESSURE)));
    }
    for directory in DIRECTORIES {
        let source = tree.join(directory);
        if source.is_dir() {
            bindings.push(Binding::directory(source, Path::new("/").join(directory)));
        }
    }
    Ok(bindings)
}

/// Does something that asks the worker, and does not wait for ever.
fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (sender, receiver) = sync_channel(1);
    let thread = std::thread::Builder::new().name("listing".to_owned());
    // Nobody listens when it took too long.
    thread.spawn(move || drop(sender.send(body()))).context("cannot start a thread")?;
    receiver.recv_timeout(limit).context("the worker does not answer; see resview status")?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in ["c/4f2a/proc/pressure", "c/4f2a/sys/devices/system/cpu", "v/proc/pressure"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for file in ["stat", "meminfo"] {
            std::fs::write(dir.path().join("c/4f2a/proc").join(file), "").unwrap();
        }
        dir
    }

    fn targets(bindings: &[Binding]) -> Vec<&str> {
        bindings.iter().map(|binding| binding.target.to_str().unwrap()).collect()
    }

    #[test]
    fn what_the_tree_has_is_mounted() {
        let dir = tree();
        let of = |id: &str| bindings(&dir.path().join("c"), &dir.path().join("v"), id);
        let all = of("4f2a").unwrap();
        let whole = ["/proc/meminfo", "/proc/stat", "/proc/pressure", "/sys/devices/system/cpu"];
        assert_eq!(targets(&all), whole);
        let some = chosen(all.clone(), &["stat".into(), "/proc/pressure".into()]).unwrap();
        assert_eq!(targets(&some), ["/proc/stat", "/proc/pressure"]);
        let error = chosen(all, &["sys/kernel/x".into()]).unwrap_err().to_string();
        assert!(error.contains("/sys/kernel/x") && error.contains("/proc/meminfo"), "{error}");
        let error = format!("{:#}", of("77ab").unwrap_err());
        assert!(error.contains("77ab/proc"), "{error}");
    }

    #[test]
    fn a_worker_that_hangs_does_not_keep_the_agent() {
        let hang = || {
            std::thread::park_timeout(Duration::from_secs(60));
            Ok(())
        };
        let error = within(Duration::from_millis(20), hang).unwrap_err().to_string();
        assert!(error.contains("does not answer"), "{error}");
    }
}
