//! Building the programs, each once for each version.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::go::Go;
use super::versions::{COMPONENTS, Component, KUBERNETES_MODULE, Language, Needs, Program};
use crate::{packages, repo, sh};

/// The folders that have all programs for `needs`, after building those that are missing.
///
/// # Errors
/// When Go cannot be had, a module cannot be fetched, or a program does not compile.
pub(crate) fn fetch(needs: Needs) -> Result<Vec<PathBuf>> {
    let cache = repo::cache()?.join("kubernetes");
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let components = COMPONENTS.iter().filter(|component| component.wanted(needs).next().is_some());
    let mut go = None;
    let mut folders = Vec::new();
    for component in components {
        let folder = cache.join(component.folder());
        if !missing(component, needs, &folder).is_empty() {
            // Its own: a build takes minutes, in which others may want a virtual machine.
            let _lock = repo::lock(&cache)?;
            let go = match &go {
                Some(go) => go,
                None => go.insert(Go::find()?),
            };
            // Somebody else may have built them meanwhile.
            build(go, component, &missing(component, needs, &folder), &folder)?;
        }
        folders.push(folder);
    }
    Ok(folders)
}

fn missing(component: &Component, needs: Needs, folder: &Path) -> Vec<&'static Program> {
    component.wanted(needs).filter(|program| !folder.join(program.name).is_file()).collect()
}

/// Builds some programs of a module, in a module made for it, which requires nothing else.
fn build(go: &Go, component: &Component, programs: &[&Program], folder: &Path) -> Result<()> {
    match component.language {
        Language::Go => {}
        Language::GoAndC(library) => packages::ensure(&["gcc", "libc6-dev", library])?,
        Language::C => packages::ensure(&["gcc", "libc6-dev"])?,
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let dir = tempfile::Builder::new().prefix("go-").tempdir()?;
    let mut module = module_text(component);
    write_module(dir.path(), &module)?;
    let sources = fetch_module(go, component, dir.path())?;
    if component.module == KUBERNETES_MODULE {
        let own = sources.join("go.mod");
        let own = std::fs::read_to_string(&own)
            .with_context(|| format!("cannot read {}", own.display()))?;
        module.push_str(&replacements(&own, component.version)?);
        write_module(dir.path(), &module)?;
    }
    take_sums(&sources, dir.path())?;
    for program in programs {
        let begin = Instant::now();
        println!("building {} {} of {}", program.name, component.version, component.module);
        // What was interrupted must not be taken for a program.
        let part = folder.join(format!("{}.part", program.name));
        match component.language {
            Language::C => compile_c(&sources.join(program.package), &part)?,
            _ => compile(go, component, program, dir.path(), &part)?,
        }
        std::fs::rename(&part, folder.join(program.name))
            .with_context(|| format!("cannot move {}", part.display()))?;
        println!("built {} in {:.0} s", program.name, begin.elapsed().as_secs_f64());
    }
    Ok(())
}

fn compile(
    go: &Go,
    component: &Component,
    program: &Program,
    dir: &Path,
    part: &Path,
) -> Result<()> {
    let mut command = go.command(dir);
    command.args(["build", "-trimpath", "-tags", component.tags]);
    command.arg("-ldflags").arg(component.linker_flags()).arg("-o").arg(part);
    command.arg(Path::new(component.module).join(program.package));
    command.env("CGO_ENABLED", if component.language == Language::Go { "0" } else { "1" });
    quietly(&mut command)
}

/// All sources of a folder make one program.
fn compile_c(sources: &Path, part: &Path) -> Result<()> {
    let script = "gcc -std=c99 -O2 -static -s -o \"$1\" \"$2\"/*.c";
    sh::run(&mut sh::script(script, &[part.as_os_str(), sources.as_os_str()]))
}

/// Go says what it downloads, a line for each module: shown only if something is wrong.
fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot start go")?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("go: downloading")).collect();
    bail!("go failed: {}\n{}", output.status, lines.join("\n"))
}

fn module_text(component: &Component) -> String {
    format!(
        "module wrapper\n\ngo 1.26.0\n\nrequire {} v{}\n\n",
        component.module, component.version
    )
}

fn write_module(dir: &Path, text: &str) -> Result<()> {
    let path = dir.join("go.mod");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Fetches the module; where its sources are then.
fn fetch_module(go: &Go, component: &Component, dir: &Path) -> Result<PathBuf> {
    let name = format!("{}@v{}", component.module, component.version);
    let answer = sh::output(go.command(dir).args(["mod", "download", "-json", &name]))?;
    let answer: Value = serde_json::from_str(&answer).context("the answer of go is no JSON")?;
    answer["Dir"].as_str().map(PathBuf::from).with_context(|| format!("go did not fetch {name}"))
}

/// What the module says of the content of those that it is built from: not each is in the database
/// where Go would ask for its sum.
fn take_sums(sources: &Path, dir: &Path) -> Result<()> {
    let (from, to) = (sources.join("go.sum"), dir.join("go.sum"));
    let sums = std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    std::fs::write(&to, sums).with_context(|| format!("cannot write {}", to.display()))
}

/// Kubernetes finds its sibling modules in folders of its repository, which are not part of the module. They
/// are published on their own, with 0 in place of 1.
fn replacements(own: &str, version: &str) -> Result<String> {
    let Some(version) = version.strip_prefix("1.") else {
        bail!("the sibling modules of Kubernetes {version} have unknown versions");
    };
    let siblings: Vec<&str> = own
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("replace ").split_once(" => ./staging/"))
        .map(|(sibling, _)| sibling)
        .collect();
    if siblings.is_empty() {
        bail!("the module of Kubernetes replaces none of its siblings");
    }
    Ok(siblings.iter().map(|name| format!("replace {name} => {name} v0.{version}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_have_versions_of_their_own() {
        let own = "module k8s.io/kubernetes\n\nreplace (\n\
            \tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/x => k8s.io/y v1.0.0\n)\n";
        let text = replacements(own, "1.37.1").unwrap();
        assert_eq!(text, "replace k8s.io/api => k8s.io/api v0.37.1\n");
        assert!(replacements("module k8s.io/kubernetes\n", "1.37.1").is_err());
        assert!(replacements(own, "2.0.0").is_err());
    }

    #[test]
    fn every_set_has_programs_and_a_node_has_all() {
        let count = |needs| COMPONENTS.iter().flat_map(|one| one.wanted(needs)).count();
        let sets = [Needs::ControlPlane, Needs::Cri].map(count);
        assert!(sets.iter().all(|count| *count > 3));
        assert!(count(Needs::Node) > sets.iter().sum());
    }

    #[test]
    fn variables_are_filled_in() {
        for component in COMPONENTS {
            let flags = component.linker_flags();
            assert!(!flags.contains('@'), "{flags}");
        }
    }
}
