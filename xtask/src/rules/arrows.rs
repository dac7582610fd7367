//! Which crate may depend on which: the arrows of the architecture point down only.

use serde_json::Value;

/// Each crate and those of ours that it may use, besides in its tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("procfmt", &[]),
    ("view", &["procfmt"]),
    ("hostfs", &[]),
    ("cgroup", &["hostfs", "procfmt", "view"]),
    ("container", &["cgroup", "hostfs", "procfmt"]),
    ("fuse", &[]),
    ("attach", &["procfmt"]),
    ("control", &["fuse"]),
    ("children", &["control"]),
    ("inheritance", &["children", "control", "fuse"]),
    ("supervisor", &["children", "control", "fuse", "inheritance"]),
    ("viewfs", &["cgroup", "container", "fuse", "hostfs", "procfmt", "view"]),
    (
        "resview",
        &[
            "api",
            "attach",
            "cgroup",
            "container",
            "control",
            "fuse",
            "hostfs",
            "kube",
            "nri",
            "procfmt",
            "runtimes",
            "sandbox",
            "supervisor",
            "view",
            "viewfs",
        ],
    ),
    ("nri", &[]),
    ("sandbox", &[]),
    ("api", &[]),
    ("kube", &["api"]),
    ("runtimes", &["api", "hostfs", "procfmt"]),
    ("testkit", &[]),
    ("conformance", &["procfmt", "testkit", "view"]),
    ("bench", &["conformance", "fuse", "testkit", "view"]),
    ("hotpaths", &["cgroup", "fuse", "hostfs", "procfmt", "testkit", "view"]),
    ("xtask", &["conformance", "testkit"]),
];

/// The dependencies that the table does not have.
pub(super) fn broken(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    packages.iter().flat_map(broken_arrows).collect()
}

fn broken_arrows(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, allowed)) = ARROWS.iter().find(|(of, _)| *of == name) else {
        return vec![format!("the crate {name} is not in the table of xtask/src/rules/arrows.rs")];
    };
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    dependencies
        .iter()
        // A dependency with a path is ours. Tests may use what they like.
        .filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev")
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|dependency| !allowed.contains(dependency))
        .map(|dependency| format!("{name} must not depend on {dependency}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let ours = |name: &str, kind: Value| json!({ "name": name, "kind": kind, "path": "/r" });
        let view = json!({ "name": "view", "dependencies": [
            ours("procfmt", Value::Null),
            ours("cgroup", Value::Null),
            ours("testkit", json!("dev")),
            { "name": "thiserror", "kind": null },
        ]});
        let found = broken(&json!({ "packages": [view] }));
        assert_eq!(found, ["view must not depend on cgroup"]);
        let unknown = json!({ "name": "new", "dependencies": [] });
        assert_eq!(broken(&json!({ "packages": [unknown] })).len(), 1);
    }
}
