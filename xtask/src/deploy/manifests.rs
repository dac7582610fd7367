//! `cargo xtask manifests`: what the chart makes, as files for those who have no Helm.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{repo, sh};

/// Options of `cargo xtask manifests`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write them, instead of looking whether they are sound
    #[arg(long)]
    write: bool,
}

/// A file of `deploy/manifests`, and the values that it is made with.
struct Manifest {
    file: &'static str,
    values: &'static [&'static str],
}

const MANIFESTS: &[Manifest] = &[
    Manifest { file: "nri.yaml", values: &["injection=nri"] },
    Manifest { file: "webhook.yaml", values: &["injection=webhook"] },
    Manifest { file: "mutating-admission-policy.yaml", values: &["injection=policy"] },
    Manifest {
        file: "mutating-admission-policy-v1beta1.yaml",
        values: &["injection=policy", "mutatingAdmissionPolicy.apiVersion=v1beta1"],
    },
];

/// Writes them, or looks at them and the chart.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    if args.write {
        let helm = helm()?;
        for manifest in MANIFESTS {
            let path = dir().join(manifest.file);
            std::fs::write(&path, manifest.render(&helm)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}", path.display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    check()?;
    println!("the chart and the manifests are sound");
    Ok(ExitCode::SUCCESS)
}

/// The manifests that are not what the chart makes.
///
/// # Errors
/// When `helm` fails.
fn differing(helm: &Path) -> Result<Vec<&'static str>> {
    let mut differing = Vec::new();
    for manifest in MANIFESTS {
        let there = std::fs::read_to_string(dir().join(manifest.file)).unwrap_or_default();
        if there != manifest.render(helm)? {
            differing.push(manifest.file);
        }
    }
    Ok(differing)
}

impl Manifest {
    fn render(&self, helm: &Path) -> Result<String> {
        let mut command = Command::new(helm);
        command.args(["template", "resview"]).arg(chart());
        // The API that every supported cluster has.
        command.args(["--namespace", "resview", "--kube-version", "1.36.0"]);
        command.args(["--set", "namespace.create=true"]);
        for value in self.values {
            command.args(["--set", value]);
        }
        let rendered = sh::output(&mut command)?;
        Ok(format!("{HEADER}{rendered}"))
    }
}

const HEADER: &str = "# Made from deploy/helm/resview by `cargo xtask manifests --write`: change the chart instead.\n";

const AGAIN: &str = "run `cargo xtask manifests --write`";

/// The chart.
fn chart() -> PathBuf {
    repo::root().join("deploy/helm/resview")
}

fn dir() -> PathBuf {
    repo::root().join("deploy/manifests")
}

/// Helm: the one that `cargo xtask kubernetes build` has built, else that of `PATH`.
fn helm() -> Result<PathBuf> {
    let built = repo::cache()?.join("kubernetes");
    let folders = std::fs::read_dir(&built).into_iter().flatten().flatten();
    match folders.map(|folder| folder.path().join("helm")).find(|helm| helm.is_file()) {
        Some(helm) => Ok(helm),
        None if sh::has("helm") => Ok("helm".into()),
        None => bail!("no helm: `cargo xtask kubernetes build --only control-plane` builds one"),
    }
}

/// Values that have to be refused, each with what is said about it.
const WRONG_VALUES: &[(&str, &str)] = &[
    ("injection=nir", "value must be one of 'nri', 'webhook', 'policy', 'none'"),
    ("injektion=nri", "'injektion' not allowed"),
    ("node.sytemd=true", "'sytemd' not allowed"),
    ("node.resources.limits.memroy=1Mi", "'memroy' not allowed"),
    ("policy.default=maybe", "value must be one of 'on', 'off'"),
    ("policy.namespaces.of={a}", "'of' not allowed"),
    ("inject.files={proc/pressure/cpu}", "value must be one of"),
    ("webhook.timeoutSeconds=10", "maximum"),
    ("image.digest=abc", "does not match pattern"),
];

/// Versions of Kubernetes with what has to be valid in them. A manifest has to be in a version's schema, word by word;
/// the later ones are also given to a real API server.
const VALID_IN: &[(&str, &[&str])] = &[
    ("1.28", &["nri.yaml", "webhook.yaml"]),
    ("1.30", &["nri.yaml", "webhook.yaml"]),
    ("1.32", &["nri.yaml", "webhook.yaml"]),
    ("1.34", &["nri.yaml", "webhook.yaml", "mutating-admission-policy-v1beta1.yaml"]),
    ("1.35", &["nri.yaml", "webhook.yaml", "mutating-admission-policy-v1beta1.yaml"]),
    ("1.36", &["nri.yaml", "webhook.yaml", "mutating-admission-policy.yaml"]),
    ("1.37", &["nri.yaml", "webhook.yaml", "mutating-admission-policy.yaml"]),
];

/// Has each version's schemas, and validates with them.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";

/// Compares the manifests with the schemas.
fn validate() -> Result<()> {
    let tool = repo::cache()?.join("kubernetes").join(VALIDATOR);
    if !tool.is_dir() {
        let part = tool.with_extension("part");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target"])
            .arg(&part);
        sh::run(pip.arg(VALIDATOR)).context("the schemas of Kubernetes come by pip")?;
        std::fs::rename(&part, &tool).with_context(|| format!("cannot move {}", part.display()))?;
    }
    for (version, files) in VALID_IN {
        let mut python = Command::new("python3");
        python.args(["-m", "kubernetes_validate", "--strict", "--quiet", "--no-warn"]);
        python
            .args(["--kubernetes-version", version])
            .args(files.iter().map(|file| dir().join(file)));
        sh::run(python.env("PYTHONPATH", &tool))
            .with_context(|| format!("in Kubernetes {version}"))?;
    }
    Ok(())
}

/// What a chart can be asked without a cluster: whether helm finds fault with it, whether the manifests come from it,
/// whether they fit the schemas of Kubernetes' versions, and whether values that are not its own are refused.
///
/// # Errors
/// When one of it is not so, or there is no helm.
pub(crate) fn check() -> Result<()> {
    let helm = helm()?;
    sh::run(Command::new(&helm).args(["lint", "--strict", "--quiet"]).arg(chart()))?;
    let differing = differing(&helm)?;
    if !differing.is_empty() {
        bail!("{} are not what the chart makes: {AGAIN}", differing.join(", "));
    }
    validate()?;
    for (value, said) in WRONG_VALUES {
        let mut command = Command::new(&helm);
        command.args(["template", "resview"]).arg(chart()).args(["--set", value]);
        let output = command.output().context("cannot start helm")?;
        let says = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !says.contains(said) {
            bail!("helm does not refuse {value:?} with {said:?}, but says: {says}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_describes_every_value_and_no_other() {
        let read = |name: &str| std::fs::read_to_string(chart().join(name)).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&read("values.schema.json")).unwrap();
        // Two levels of names, without a parser of YAML: what begins a line, and what is below it by two blanks.
        let mut values = Vec::new();
        let mut above = "";
        let text = read("values.yaml");
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', '-'])) {
            let Some((key, _)) = line.split_once(':') else { continue };
            let key = key.trim_end_matches('"');
            match key.strip_prefix("  ") {
                None => {
                    above = key;
                    values.push(key.to_owned());
                }
                Some(below) if !below.starts_with(' ') => values.push(format!("{above}.{below}")),
                Some(_) => {}
            }
        }
        let mut described = Vec::new();
        for (name, part) in schema["properties"].as_object().unwrap() {
            described.push(name.clone());
            let parts = part["properties"].as_object();
            described.extend(
                parts.into_iter().flat_map(|p| p.keys()).map(|key| format!("{name}.{key}")),
            );
        }
        described.retain(|name| name != "global");
        values.sort();
        described.sort();
        assert_eq!(values, described);
    }

    #[test]
    fn chart_and_program_have_one_version() {
        let chart = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
        for field in ["version", "appVersion"] {
            let line = format!("\n{field}: {}\n", env!("CARGO_PKG_VERSION"));
            assert!(chart.contains(&line), "{field}: {chart}");
        }
    }

    #[test]
    fn manifests_say_where_they_come_from_and_have_no_tag_that_moves() {
        for manifest in MANIFESTS {
            let text = std::fs::read_to_string(dir().join(manifest.file)).unwrap();
            assert!(text.starts_with(HEADER), "{}", manifest.file);
            assert!(text.contains("kind: DaemonSet") && !text.contains(":latest"));
        }
    }
}
