//! The integration test binaries, which run again on other cgroup layouts than this machine's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{repo, rules, sh};

/// A built integration test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    /// The crate's folder, where cargo would run it too.
    dir: PathBuf,
    path: PathBuf,
}

/// Hundreds of kills and restarts, and of containers to attach to, which say nothing about cgroups and
/// take too long emulated.
const NATIVE_ONLY: [&str; 4] = ["reach", "store", "supervision", "unbreakable"];

/// Crates that speak with others over sockets and know nothing of cgroups.
const NO_CGROUPS: [&str; 2] = ["kube", "nri"];

/// Builds the integration tests of all crates but those that no cgroup layout touches.
///
/// # Errors
/// When they do not compile.
pub(crate) fn build() -> Result<Vec<Binary>> {
    let mut cargo = repo::cargo();
    cargo.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    read(&String::from_utf8_lossy(&output.stdout))
}

fn read(messages: &str) -> Result<Vec<Binary>> {
    let mut binaries = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo's message is no JSON")?;
        let is_test = message["profile"]["test"] == true && message["target"]["kind"][0] == "test";
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let is_wanted = is_test && !NATIVE_ONLY.contains(&name);
        if let (true, Some(path)) = (is_wanted, message["executable"].as_str()) {
            let manifest = message["manifest_path"].as_str().context("a crate without a path")?;
            let dir = Path::new(manifest).parent().context("a manifest without a folder")?;
            if !rules::PURE.iter().chain(&NO_CGROUPS).any(|one| dir.ends_with(one)) {
                binaries.push(Binary { dir: dir.to_owned(), path: path.into() });
            }
        }
    }
    Ok(binaries)
}

/// A shell script that runs them all and fails if one fails.
pub(crate) fn script(binaries: &[Binary]) -> String {
    let mut script = "status=0\n".to_owned();
    for Binary { dir, path } in binaries {
        let (dir, path) = (dir.to_string_lossy(), path.to_string_lossy());
        let _ = writeln!(
            script,
            "echo Running {path}\ncd {dir} && CARGO_MANIFEST_DIR={dir} timeout -k 9 600 {path} || status=1",
            dir = sh::quote(&dir),
            path = sh::quote(&path),
        );
    }
    script.push_str("exit $status\n");
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_integration_tests_are_taken() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/r/a/Cargo.toml","target":{"kind":["test"]},"profile":{"test":true},"executable":"/t/it-1"}
{"reason":"compiler-artifact","manifest_path":"/r/a/Cargo.toml","target":{"kind":["lib"]},"profile":{"test":true},"executable":"/t/a-1"}
{"reason":"compiler-artifact","manifest_path":"/r/crates/view/Cargo.toml","target":{"kind":["test"]},"profile":{"test":true},"executable":"/t/golden-1"}
{"reason":"compiler-artifact","manifest_path":"/r/a/Cargo.toml","target":{"kind":["bin"]},"profile":{"test":false},"executable":"/t/a"}
{"reason":"build-finished","success":true}"#;
        let binaries = read(messages).unwrap();
        assert_eq!(binaries, [Binary { dir: "/r/a".into(), path: "/t/it-1".into() }]);
        assert!(script(&binaries).contains("'/t/it-1'"));
    }
}
