//! Configuration of engines in which one bad file keeps every container from starting.

use std::path::Path;

use serde_json::Value;

use crate::doctor::finding::Finding;
use crate::doctor::machine::Machine;

/// Of Podman and CRI-O.
const OCI: [&str; 2] = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];
/// Of Docker, Podman, containerd and CRI-O.
const CDI: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// Of LXC, LXD and Incus.
const LXC: &str = "/usr/share/lxc/config/common.conf.d";
/// Of the OCI's runtime specification.
const STAGES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let mut findings: Vec<_> = files(machine, &OCI, ".json")
        .iter()
        .flat_map(|path| problems(path, oci(machine, path)))
        .collect();
    let cdi = files(machine, &CDI, ".json");
    findings.extend(cdi.iter().flat_map(|path| problems(path, self::cdi(machine, path))));
    findings.extend(docker(machine));
    let lxc = files(machine, &[LXC], ".conf");
    findings.extend(lxc.iter().flat_map(|path| problems(path, self::lxc(machine, path))));
    findings.extend(two_views(machine, &lxc));
    if findings.is_empty() {
        findings.push(Finding::ok("the hooks and devices of engines can be used"));
    }
    findings
}

fn files(machine: &Machine, directories: &[&str], end: &str) -> Vec<String> {
    let below = |dir: &&str| {
        let names = machine.names(dir).into_iter().filter(|name| name.ends_with(end));
        names.map(|name| format!("{dir}/{name}")).collect::<Vec<_>>()
    };
    directories.iter().flat_map(below).collect()
}

/// What is wrong with a file, as problems.
fn problems(path: &str, wrong: Vec<String>) -> Vec<Finding> {
    let advice = format!("mend or remove {path}: engines refuse to start containers because of it");
    let problem = |wrong: String| Finding::problem(format!("{path}: {wrong}"), advice.clone());
    wrong.into_iter().map(problem).collect()
}

fn json(machine: &Machine, path: &str) -> Result<Value, String> {
    let text = machine.read(path).map_err(|error| format!("cannot be read: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))
}

fn oci(machine: &Machine, path: &str) -> Vec<String> {
    let value = match json(machine, path) {
        Ok(value) => value,
        Err(wrong) => return vec![wrong],
    };
    let mut wrong = Vec::new();
    if value["version"] != "1.0.0" {
        wrong.push("its version is not \"1.0.0\"".to_owned());
    }
    match value["hook"]["path"].as_str() {
        None => wrong.push("it names no program (hook.path)".to_owned()),
        Some(program) if !Path::new(program).is_absolute() => {
            wrong.push(format!("hook.path is not absolute: {program}"));
        }
        // Readers skip a hook whose program is missing.
        Some(_) => {}
    }
    let stages: Vec<_> = value["stages"].as_array().into_iter().flatten().collect();
    if stages.is_empty() {
        wrong.push("it has no stages".to_owned());
    }
    for stage in stages.iter().filter_map(|stage| stage.as_str()) {
        // Podman's own; CRI-O refuses it.
        let is_podmans = stage == "precreate" && machine.program("crio").is_none();
        if !STAGES.contains(&stage) && !is_podmans {
            wrong.push(format!("there is no stage `{stage}`"));
        }
    }
    wrong
}

fn cdi(machine: &Machine, path: &str) -> Vec<String> {
    let value = match json(machine, path) {
        Ok(value) => value,
        Err(wrong) => return vec![wrong],
    };
    let mut wrong = Vec::new();
    for field in ["cdiVersion", "kind", "devices"] {
        if value.get(field).is_none() {
            wrong.push(format!("it has no {field}"));
        }
    }
    let devices = value["devices"].as_array().into_iter().flatten();
    let edits = devices.map(|device| &device["containerEdits"]).chain([&value["containerEdits"]]);
    for hook in edits.flat_map(|edits| edits["hooks"].as_array().into_iter().flatten()) {
        let program = hook["path"].as_str().unwrap_or_default();
        if !machine.has(program) {
            wrong.push(format!("its hook {program:?} is missing"));
        }
    }
    wrong
}

fn lxc(machine: &Machine, path: &str) -> Vec<String> {
    let text = machine.text(path).unwrap_or_default();
    let hooks = text.lines().filter_map(|line| line.trim().strip_prefix("lxc.hook."));
    let programs = hooks.filter_map(|line| line.split_once('=')?.1.split_whitespace().next());
    let missing = programs.filter(|program| program.starts_with('/') && !machine.has(program));
    missing.map(|program| format!("its hook {program} is missing")).collect()
}

/// Both would mount over the same files.
fn two_views(machine: &Machine, files: &[String]) -> Option<Finding> {
    let mounts = |word: &str| {
        files.iter().find(|path| {
            let text = machine.text(path).unwrap_or_default();
            text.lines().any(|line| line.contains("lxc.hook.mount") && line.contains(word))
        })
    };
    let (lxcfs, own) = (mounts("lxcfs")?, mounts("resview")?);
    Some(Finding::note(
        format!("{lxcfs} and {own} both mount a view; the later one hides the other"),
        "remove the package that is not wanted",
    ))
}

fn docker(machine: &Machine) -> Vec<Finding> {
    const PATH: &str = "/etc/docker/daemon.json";
    if !machine.has(PATH) {
        return Vec::new();
    }
    let value = match json(machine, PATH) {
        Ok(value) => value,
        Err(wrong) => {
            let advice = format!("mend {PATH}: dockerd does not start with it");
            return vec![Finding::problem(format!("{PATH} {wrong}"), advice)];
        }
    };
    let mut findings = Vec::new();
    let runtimes = value["runtimes"].as_object();
    for (name, runtime) in runtimes.into_iter().flatten() {
        let program = runtime["path"].as_str().unwrap_or_default();
        let there = if program.contains('/') {
            machine.path(program).exists()
        } else {
            program.is_empty() || machine.program(program).is_some()
        };
        if !there {
            findings.push(Finding::problem(
                format!("{PATH}: the runtime {name} is {program}, which is missing"),
                "install it, or leave the name pointing to runc while containers use it",
            ));
        }
    }
    if let Some(default) = value["default-runtime"].as_str() {
        let known = runtimes.is_some_and(|runtimes| runtimes.contains_key(default));
        let built_in = matches!(default, "runc" | "io.containerd.runc.v2");
        findings.push(match known || built_in {
            true => Finding::ok(format!("docker's default runtime is {default}")),
            false => Finding::problem(
                format!("{PATH}: the default runtime {default} is not among its runtimes"),
                "add it to runtimes, or remove default-runtime",
            ),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    const HOOK: &str = "usr/share/containers/oci/hooks.d/50-x.json";

    fn of(path: &str, text: &str) -> Vec<String> {
        said(&look(&Fake::new(&[(path, text)]).machine))
    }

    #[test]
    fn a_bad_hook_is_found_before_it_stops_every_container() {
        let good =
            r#"{"version":"1.0.0","hook":{"path":"/bin/x"},"when":{},"stages":["poststop"]}"#;
        assert_eq!(of(HOOK, good), [""; 0]);
        for (text, words) in [
            ("{", "no JSON"),
            (&good.replace("1.0.0", "2"), "version"),
            (&good.replace("/bin/x", "x"), "not absolute"),
            (&good.replace("poststop", "poststopp"), "no stage `poststopp`"),
            (&good.replace("\"poststop\"", ""), "no stages"),
        ] {
            let said = of(HOOK, text);
            assert!(said[0].starts_with("Problem") && said[0].contains(words), "{said:?}");
        }
        let precreate = good.replace("poststop", "precreate");
        assert_eq!(of(HOOK, &precreate), [""; 0], "Podman's own");
        let fake = Fake::new(&[(HOOK, precreate.as_str())]);
        fake.script("crio", "true");
        assert!(said(&look(&fake.machine))[0].contains("precreate"), "and CRI-O reads it too");
    }

    #[test]
    fn a_device_whose_hook_is_gone_is_found() {
        let text = r#"{"cdiVersion":"0.3.0","kind":"resview.dev/view","devices":[{"name":"on",
            "containerEdits":{"hooks":[{"hookName":"createRuntime","path":"/usr/bin/resview"}]}}]}"#;
        assert!(of("etc/cdi/resview.json", text)[0].contains("/usr/bin/resview\" is missing"));
        let fake = Fake::new(&[("etc/cdi/resview.json", text), ("usr/bin/resview", "")]);
        assert_eq!(said(&look(&fake.machine)), [""; 0]);
        assert_eq!(of("etc/cdi/x.json", "{}").len(), 3);
    }

    #[test]
    fn dockers_runtimes_have_to_be_there() {
        let of = |text| of("etc/docker/daemon.json", text);
        assert!(of("{,}")[0].contains("dockerd") || of("{,}")[0].contains("no JSON"));
        let missing = of(r#"{"runtimes":{"resview":{"path":"/usr/bin/resview-runtime"}}}"#);
        assert!(missing[0].contains("which is missing"), "{missing:?}");
        let unknown = of(r#"{"default-runtime":"resview"}"#);
        assert!(unknown[0].contains("not among its runtimes"), "{unknown:?}");
        assert_eq!(of(r#"{"default-runtime":"runc"}"#), [""; 0]);
    }

    #[test]
    fn lxc_hooks_are_looked_at() {
        let (own, lxcfs) = (format!("{LXC}/00-resview.conf"), format!("{LXC}/00-lxcfs.conf"));
        let text = |name: &str| format!("lxc.hook.mount = /usr/share/{name}/hook\n");
        let said_alone = of(&own, &text("resview"));
        assert!(said_alone[0].contains("/usr/share/resview/hook is missing"), "{said_alone:?}");
        let fake = Fake::new(&[
            (&own, text("resview").as_str()),
            (&lxcfs, text("lxcfs").as_str()),
            ("usr/share/resview/hook", ""),
            ("usr/share/lxcfs/hook", ""),
        ]);
        let said = said(&look(&fake.machine));
        assert!(said[0].starts_with("Note") && said[0].contains("both mount a view"), "{said:?}");
    }
}
