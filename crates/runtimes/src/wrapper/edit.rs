//! What the wrapper adds to a container's config.json.

use std::collections::BTreeMap;

use api::{Policy, View};
use serde_json::{Map, Value, json};

use super::config::Config;
use super::hints;

/// How long the runtime waits for a hook, in seconds. The hook has a deadline of its own, but not
/// before it runs, and on an overloaded machine that takes its time; past this the container fails.
pub(crate) const TIMEOUT_S: u64 = 10;

/// Variables of the container that mean the same as annotations. `docker run` of Docker before 25
/// cannot set annotations, and labels never reach config.json.
const VARIABLES: [(&str, &str); 3] = [
    ("RESVIEW_VIEW", Policy::VIEW),
    ("RESVIEW_CPU_COUNT", Policy::CPU_COUNT),
    ("RESVIEW_FILES", Policy::FILES),
];

/// A hook as every hook format has it: `args` includes the program's name.
pub(crate) fn hook(path: &str, stage: &str, required: bool) -> Value {
    let mut args = vec!["resview", "oci-hook", stage];
    if required {
        args.push("--required");
    }
    json!({ "path": path, "args": args, "timeout": TIMEOUT_S })
}

/// Edits a specification. Whether there is anything to write.
///
/// # Errors
/// What in it is of an unexpected kind; then it is unchanged or harmlessly so.
pub(super) fn edit(spec: &mut Value, config: &Config) -> Result<bool, String> {
    if !spec.is_object() {
        return Err("it is no object".to_owned());
    }
    let mut changed = copy_variables(spec)?;
    let said = said(spec);
    if !config.view.wants(said) {
        return Ok(changed);
    }
    let path = config.hook.to_string_lossy();
    changed |= add_hook(spec, "createRuntime", hook(&path, "createRuntime", config.required))?;
    changed |= add_hook(spec, "poststop", hook(&path, "poststop", false))?;
    changed |= hints::add(spec, &config.hints);
    Ok(changed)
}

/// What the container says about the view; what is not understood is left to the hook to report.
fn said(spec: &Value) -> Option<View> {
    let annotations = spec.get("annotations").cloned().unwrap_or_default();
    let all: BTreeMap<String, String> = serde_json::from_value(annotations).unwrap_or_default();
    let value = all.get(Policy::VIEW)?.clone();
    Policy::from_annotations(&[(Policy::VIEW.to_owned(), value)].into()).ok()?.view
}

/// Turns our variables into annotations, which hooks see.
fn copy_variables(spec: &mut Value) -> Result<bool, String> {
    let env = spec.get("process").and_then(|process| process.get("env")).and_then(Value::as_array);
    let mut found = Vec::new();
    for (variable, annotation) in VARIABLES {
        let value = env.into_iter().flatten().filter_map(Value::as_str).find_map(|one| {
            let (name, value) = one.split_once('=')?;
            (name == variable).then(|| value.to_owned())
        });
        found.extend(value.map(|value| (annotation, value)));
    }
    if found.is_empty() {
        return Ok(false);
    }
    let annotations = object(spec, "annotations")?;
    let before = annotations.len();
    for (annotation, value) in found {
        annotations.entry(annotation).or_insert(Value::from(value));
    }
    Ok(annotations.len() > before)
}

fn add_hook(spec: &mut Value, stage: &str, hook: Value) -> Result<bool, String> {
    let hooks = object(spec, "hooks")?.entry(stage).or_insert(Value::Null);
    if hooks.is_null() {
        *hooks = Value::Array(Vec::new());
    }
    let hooks = hooks.as_array_mut().ok_or_else(|| format!("hooks.{stage} is no list"))?;
    // A CDI device or a hooks.d file may have added it already, perhaps with another path.
    let same = |one: &Value| {
        let arg = |at: usize| one.get("args").and_then(|args| args.get(at)).and_then(Value::as_str);
        arg(1) == Some("oci-hook") && arg(2) == Some(stage)
    };
    if hooks.iter().any(same) {
        return Ok(false);
    }
    hooks.push(hook);
    Ok(true)
}

/// The object under `key`, made if it is missing or null.
fn object<'a>(spec: &'a mut Value, key: &str) -> Result<&'a mut Map<String, Value>, String> {
    let spec = spec.as_object_mut().ok_or("it is no object")?;
    let value = spec.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or_else(|| format!("{key} is no object"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::OptIn;

    fn config(view: OptIn) -> Config {
        Config { view, hook: "/usr/bin/resview".into(), ..Config::default() }
    }

    #[test]
    fn hooks_are_added_once_and_others_stay_in_their_order() {
        let text = r#"{"z":1,"ociVersion":"1.0.2","hooks":{"prestart":[{"path":"/n"}],"createRuntime":[{"path":"/x","args":["x"]}],"poststop":null},"a":{"new":[18446744073709551615]}}"#;
        let mut spec: Value = serde_json::from_str(text).unwrap();
        assert_eq!(edit(&mut spec, &config(OptIn::All)), Ok(true));
        let create = r#"{"path":"/usr/bin/resview","args":["resview","oci-hook","createRuntime"],"timeout":10}"#;
        let stop = create.replace("createRuntime", "poststop");
        let expected = text
            .replace(r#""args":["x"]}]"#, &format!(r#""args":["x"]}},{create}]"#))
            .replace(r#""poststop":null"#, &format!(r#""poststop":[{stop}]"#));
        assert_eq!(spec.to_string(), expected);
        assert_eq!(edit(&mut spec, &config(OptIn::All)), Ok(false));
    }

    #[test]
    fn a_container_opts_out_and_in_by_annotation_or_variable() {
        let with = |annotation: &str, env: &str| {
            json!({
                "annotations": { "resview.dev/view": annotation },
                "process": { "env": [env] },
            })
        };
        let hooked = |mut spec: Value, view| {
            edit(&mut spec, &config(view)).unwrap();
            spec.get("hooks").is_some()
        };
        assert!(!hooked(with("off", "A=1"), OptIn::All));
        assert!(hooked(with("on", "A=1"), OptIn::OptIn));
        assert!(!hooked(json!({}), OptIn::OptIn));
        let off = json!({ "process": { "env": ["RESVIEW_VIEW=off"] } });
        assert!(!hooked(off, OptIn::All));
        let on = json!({ "process": { "env": ["RESVIEW_VIEW=on", "RESVIEW_FILES=swaps=host"] } });
        assert!(hooked(on.clone(), OptIn::OptIn));
        // An annotation counts more than a variable of the image.
        assert!(!hooked(with("off", "RESVIEW_VIEW=on"), OptIn::All));
        let mut spec = on;
        edit(&mut spec, &config(OptIn::All)).unwrap();
        assert_eq!(spec["annotations"]["resview.dev/files"], "swaps=host");
    }

    #[test]
    fn a_required_view_is_required_of_the_first_hook_only() {
        let mut spec = json!({});
        let config = Config { required: true, ..config(OptIn::All) };
        edit(&mut spec, &config).unwrap();
        assert_eq!(spec["hooks"]["createRuntime"][0]["args"][3], "--required");
        assert_eq!(spec["hooks"]["poststop"][0]["args"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_is_of_another_kind_is_an_error() {
        for spec in [
            json!([]),
            json!({ "hooks": [] }),
            json!({ "hooks": { "createRuntime": {} } }),
            json!({ "annotations": 1, "process": { "env": ["RESVIEW_VIEW=on"] } }),
        ] {
            assert!(edit(&mut spec.clone(), &config(OptIn::All)).is_err(), "{spec}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a-z=]{0,6}".prop_map(Value::from),
        ];
        let keys =
            "(hooks|poststop|createRuntime|process|env|annotations|linux|resources|cpu|[a-z]{1,3})";
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((keys, inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_that_was_there_is_lost(spec in values()) {
            let mut edited = spec.clone();
            if edit(&mut edited, &config(OptIn::All)) == Ok(true) {
                let (spec, edited) = (spec.as_object().unwrap(), edited.as_object().unwrap());
                for (key, value) in spec {
                    if !["hooks", "annotations", "process"].contains(&key.as_str()) {
                        prop_assert_eq!(edited.get(key), Some(value));
                    }
                }
                let order: Vec<_> = edited.keys().take(spec.len()).collect();
                prop_assert_eq!(order, spec.keys().collect::<Vec<_>>());
            }
        }
    }
}
