//! Reading a container's cgroup, from captured files in a temporary folder: what the kernel does for it
//! is not counted, all else is.

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use cgroup::{CgroupPaths, Group, Layout};
use hostfs::Kept;
use tempfile::TempDir;
use testkit::{fixture, fixtures_dir};

use crate::HotPath;

const V2_HOST: &str = "x86_64-64-6.12";
const V1_HOST: &str = "x86_64-2-6.18";

pub(crate) fn paths() -> Result<Vec<HotPath>> {
    let mut paths = Vec::new();
    for (host, version) in [(V2_HOST, "v2"), (V1_HOST, "v1")] {
        let tree = Tree::of(host, version)?;
        let at = CgroupPaths::at(&tree.layout, Path::new("/parent/own"));
        let group =
            Arc::new(Group::new(&tree.layout, at.context("the captured cgroup is not there")?));
        let mut add = |what: &str, read: fn(&Group) -> Result<()>| {
            let (group, tree) = (Arc::clone(&group), Arc::clone(&tree));
            paths.push(HotPath::new(format!("cgroup/{what}/{version}"), move || {
                let _there = &tree;
                read(&group)
            }));
        };
        add("memory", |group| some(group.memory()?));
        add("cpu", |group| some(Some(group.cpu()?)));
        add("cpuset", |group| some(group.cpuset()?));
        add("cpu-time", |group| some(group.cpu_time()?));
        add("io", |group| some(group.io()?));
        add("vm", |group| some(group.vm()?));
    }
    Ok(paths)
}

fn some<T>(read: Option<T>) -> Result<()> {
    black_box(read).map(drop).context("the controller is not there")
}

/// A captured cgroup below its parent below the root.
pub(crate) struct Tree {
    pub(crate) layout: Arc<Layout>,
    /// Goes when this goes.
    _dir: TempDir,
}

impl Tree {
    /// Lays out what was captured of a host: `fixtures/HOST/cgroup/v2{,-parent,-root}/…`, and with one
    /// more level, a folder for each controller, for v1.
    fn of(host: &str, version: &str) -> Result<Arc<Self>> {
        let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut mounts = String::new();
        let mut mount = |name: &str, options: &str| -> Result<()> {
            let top = dir.path().join(name);
            let kind = if version == "v2" { "cgroup2" } else { "cgroup" };
            writeln!(mounts, "3 1 0:3 / {} rw - {kind} {kind} rw{options}", top.display())?;
            lay(host, &format!("{version}-root/{name}"), &top)?;
            lay(host, &format!("{version}-parent/{name}"), &top.join("parent"))?;
            lay(host, &format!("{version}/{name}"), &top.join("parent/own"))?;
            // The captured root has none on v2.
            let procs = top.join("cgroup.procs");
            fs::write(&procs, "").with_context(|| procs.display().to_string())
        };
        if version == "v2" {
            mount("", ",nsdelegate")?;
        } else {
            for controller in ["blkio", "cpu", "cpuacct", "cpuset", "memory", "pids"] {
                mount(controller, &format!(",{controller}"))?;
            }
        }
        let layout = Layout::from_mountinfo(mounts.as_bytes(), &Kept::new(500))?;
        Ok(Arc::new(Self { layout: Arc::new(layout), _dir: dir }))
    }

    /// The host on v1, of which a process's own cgroups were captured too.
    pub(crate) fn v1() -> Result<(Arc<Self>, &'static str)> {
        Ok((Self::of(V1_HOST, "v1")?, V1_HOST))
    }
}

/// Copies the files of one captured folder, which are packed where they are large.
fn lay(host: &str, from: &str, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let folder = fixtures_dir().join(host).join("cgroup").join(from);
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let to = to.join(name);
        let text = fixture(host, &format!("cgroup/{from}/{name}"));
        fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}
