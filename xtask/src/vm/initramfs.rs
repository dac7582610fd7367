//! The initial file system: busybox, the modules that the root needs, and `init.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use crate::sh;

/// What the root file system, the swap disk and the tests need. Some kernels have some built in.
const MODULES: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_blk", "fuse"];

/// Builds the initial file system for `kernel` in `dir` and returns its path.
///
/// It is built for each run: it takes a moment, and cannot be out of date.
///
/// # Errors
/// Without busybox-static, or when the kernel has not the modules.
pub(crate) fn build(dir: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let root = dir.join("initramfs");
    for folder in ["bin", "mod", "proc", "sys", "dev", "lower", "upper", "root"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    let busybox = Path::new("/bin/busybox");
    std::fs::copy(busybox, root.join("bin/busybox"))
        .context("cannot copy /bin/busybox: install busybox-static")?;
    let mut names = Vec::new();
    for file in modules(kernel)? {
        let name = module_name(&file).to_owned();
        let unpack = r#"case "$1" in *.xz) xz -dc "$1" ;; *) cat "$1" ;; esac >"$2""#;
        let target = root.join("mod").join(format!("{name}.ko"));
        let file = kernel.modules.join(&file);
        sh::run(&mut sh::script(unpack, &[file.as_os_str(), target.as_os_str()]))?;
        names.push(name);
    }
    let init = include_str!("init.sh").replace("@MODULES@", &names.join(" "));
    std::fs::write(root.join("init"), init)?;
    let image = dir.join("initrd.gz");
    let pack = r#"chmod 755 "$1/init"; cd "$1"; find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 >"$2""#;
    sh::run(&mut sh::script(pack, &[root.as_os_str(), image.as_os_str()]))?;
    sh::run(Command::new("rm").arg("-rf").arg(&root))?;
    Ok(image)
}

/// The files of [`MODULES`] and what they depend on, in the order in which to load them.
fn modules(kernel: &Kernel) -> Result<Vec<String>> {
    let read = |name| {
        let path = kernel.modules.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    order(MODULES, &read("modules.dep")?, &read("modules.builtin")?)
}

fn order(wanted: &[&str], dependencies: &str, builtin: &str) -> Result<Vec<String>> {
    let mut files: Vec<String> = Vec::new();
    for wanted in wanted {
        if builtin.lines().any(|file| module_name(file) == *wanted) {
            continue;
        }
        let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
        let Some((file, needed)) = lines.into_iter().find(|(file, _)| module_name(file) == *wanted)
        else {
            bail!("this kernel has no module {wanted}: take one that is not a cloud kernel");
        };
        // modules.dep names the nearest dependency first, the deepest last.
        for file in needed.split_whitespace().rev().chain([file]) {
            if !files.iter().any(|known| known == file) {
                files.push(file.to_owned());
            }
        }
    }
    Ok(files)
}

/// `kernel/fs/9p/9p.ko.xz` is the module `9p`.
fn module_name(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split_once(".ko").map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_loaded_first_and_once() {
        let dependencies = "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs.ko.xz\n\
            kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz\n";
        let builtin = "kernel/drivers/virtio/virtio_pci.ko\n";
        let files = order(&["virtio_pci", "9p", "9pnet_virtio"], dependencies, builtin).unwrap();
        let names: Vec<_> = files.iter().map(|file| module_name(file)).collect();
        assert_eq!(names, ["netfs", "9pnet", "9p", "9pnet_virtio"]);
        assert!(order(&["fuse"], dependencies, builtin).is_err());
    }
}
