//! `cargo xtask image`: the image of `deploy/Dockerfile`, made without Docker.
//!
//! One archive that `docker load`, `podman load` and `ctr images import` take alike: OCI's layout, with Docker's list
//! of images in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::dockerfile::{self, Recipe};
use crate::program::{self, Program};
use crate::{repo, sbom};

/// Options of `cargo xtask image`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The version of the image and of the program [default: that of the workspace]
    #[arg(long)]
    version: Option<String>,
    /// The name of the image, without a tag
    #[arg(long, default_value = "resview")]
    name: String,
    /// A program that is built already, for this machine's platform
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The folder for the archive, which is also what `docker build` takes [default: target/image]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Makes it and prints the archive's path.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let version = args.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    let program = match &args.program {
        Some(path) => Program { path: path.clone(), version: version.to_owned() },
        None => Program::build(version)?,
    };
    let out = match &args.out {
        Some(dir) => dir.clone(),
        None => repo::target()?.join("image"),
    };
    println!("{}", archive(&program, &args.name, &out)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes an archive of the image `name:VERSION` in `context`, and there what `docker build` takes; returns the
/// archive's path. The same program makes the same bytes.
///
/// # Errors
/// When a file cannot be read or written, or the Dockerfile is not as it has to be.
pub(crate) fn archive(program: &Program, name: &str, context: &Path) -> Result<PathBuf> {
    let architecture = architecture()?;
    lay_out(program, architecture, context)?;
    let recipe = Recipe::read(
        dockerfile::TEXT,
        &[("TARGETARCH", architecture), ("VERSION", &program.version)],
    )?;
    let layer = layer(&recipe, context)?;
    let path = context.join(format!("resview-{}-{architecture}.tar", program.version));
    let archive = image(&recipe, layer, architecture, &format!("{name}:{}", program.version))?;
    fs::write(&path, archive).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The name that images have for this machine's architecture.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no name for the architecture {other} in images"),
    }
}

/// The folder that `docker build` takes.
fn lay_out(program: &Program, architecture: &str, context: &Path) -> Result<()> {
    let (dist, licenses) = (context.join("dist").join(architecture), context.join("licenses"));
    for dir in [&dist, &licenses] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    crate::stage::copy(&program.path, &dist.join("resview"), 0o755)?;
    for file in ["LICENSE", "LICENSE-APACHE", "LICENSE-MIT"] {
        crate::stage::copy(&repo::root().join(file), &licenses.join(file), 0o644)?;
    }
    let bill = dist.join("resview.cdx.json");
    fs::write(&bill, sbom::text(&program::host()?, &program.version)?)
        .with_context(|| format!("cannot write {}", bill.display()))
}

/// The files of the image, as a tar archive.
fn layer(recipe: &Recipe, context: &Path) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (from, to) in &recipe.copies {
        let from = context.join(from);
        let to = to.trim_start_matches('/');
        if !from.is_dir() {
            add(&mut tar, &from, to)?;
            continue;
        }
        let entries =
            fs::read_dir(&from).with_context(|| format!("cannot list {}", from.display()))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
        files.sort();
        let mut header = header(0, 0o755);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, to, std::io::empty())?;
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            add(&mut tar, &file, &format!("{to}{name}"))?;
        }
    }
    Ok(tar.into_inner()?)
}

fn add(tar: &mut tar::Builder<Vec<u8>>, from: &Path, to: &str) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mode = fs::metadata(from)?.permissions().mode();
    append(tar, to, mode & 0o777, &bytes)
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = header(u64::try_from(bytes.len())?, mode);
    tar.append_data(&mut header, path, bytes).with_context(|| format!("cannot pack {path}"))
}

/// Root's, and without a time.
fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>, and the `manifest.json` of `docker save`.
fn image(recipe: &Recipe, layer: Vec<u8>, architecture: &str, name: &str) -> Result<Vec<u8>> {
    let mut blobs = Blobs(tar::Builder::new(Vec::new()));
    let layer_digest = digest(&layer);
    let layer = blobs.add("application/vnd.oci.image.layer.v1.tar", &layer)?;
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "User": recipe.user, "Entrypoint": recipe.entrypoint, "Labels": recipe.labels, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        "history": [{ "created_by": "cargo xtask image" }],
    });
    let config = blobs.add_json("application/vnd.oci.image.config.v1+json", &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = blobs.add_json("application/vnd.oci.image.manifest.v1+json", &manifest)?;
    let tag = name.rsplit(':').next().unwrap_or_default();
    manifest["annotations"] = json!({
        // containerd takes the whole name here, and the other where it was told a prefix.
        "io.containerd.image.name": reference(name),
        "org.opencontainers.image.ref.name": tag,
    });
    manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let docker =
        json!([{ "Config": path_of(&config), "RepoTags": [name], "Layers": [path_of(&layer)] }]);
    let mut tar = blobs.0;
    append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut tar, "index.json", 0o644, index.to_string().as_bytes())?;
    append(&mut tar, "manifest.json", 0o644, docker.to_string().as_bytes())?;
    Ok(tar.into_inner()?)
}

/// The whole name of an image, as containerd and the kubelet complete it.
fn reference(name: &str) -> String {
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

/// What an image consists of, each under its digest.
struct Blobs(tar::Builder<Vec<u8>>);

impl Blobs {
    /// Adds one; returns its descriptor.
    fn add(&mut self, kind: &str, bytes: &[u8]) -> Result<Value> {
        let descriptor = json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() });
        append(&mut self.0, &path_of(&descriptor), 0o644, bytes)?;
        Ok(descriptor)
    }

    fn add_json(&mut self, kind: &str, value: &Value) -> Result<Value> {
        self.add(kind, value.to_string().as_bytes())
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn path_of(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    fn unpacked(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (path, (entry.header().mode().unwrap(), bytes))
        });
        entries.collect()
    }

    fn made(dir: &Path) -> Vec<u8> {
        let program = dir.join("program");
        fs::write(&program, "I am a program").unwrap();
        let program = Program { path: program, version: "1.2.3".to_owned() };
        fs::read(archive(&program, "example.org/resview", dir).unwrap()).unwrap()
    }

    #[test]
    fn an_archive_holds_the_program_and_whatever_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let archive = made(dir.path());
        let files = unpacked(&archive);
        let json = |path: &str| -> Value { serde_json::from_slice(&files[path].1).unwrap() };
        let index = json("index.json");
        let manifest = json(&path_of(&index["manifests"][0]));
        let config = json(&path_of(&manifest["config"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/resview"]));
        let layer = &files[&path_of(&manifest["layers"][0])].1;
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(layer));
        let inside = unpacked(layer);
        assert_eq!(inside["resview"], (0o755, b"I am a program".to_vec()));
        assert_eq!(inside["licenses/LICENSE-MIT"].0, 0o644);
        assert!(inside.contains_key("resview.cdx.json"), "{:?}", inside.keys());
        let docker = json("manifest.json");
        assert_eq!(docker[0]["RepoTags"], json!(["example.org/resview:1.2.3"]));
        for named in [&docker[0]["Config"], &docker[0]["Layers"][0]] {
            assert!(files.contains_key(named.as_str().unwrap()), "{named}");
        }
        for (path, (_, bytes)) in files.iter().filter(|(path, _)| path.starts_with("blobs/")) {
            assert_eq!(path, &path_of(&json!({ "digest": digest(bytes) })));
        }
        assert_eq!(made(dir.path()), archive, "the same program, the same bytes");
    }

    #[test]
    fn names_are_completed_as_by_containerd() {
        for (name, whole) in [
            ("resview:1", "docker.io/library/resview:1"),
            ("me/resview:1", "docker.io/me/resview:1"),
            ("example.org/resview:1", "example.org/resview:1"),
            ("localhost/resview:1", "localhost/resview:1"),
        ] {
            assert_eq!(reference(name), whole);
        }
    }
}
