//! What holds for any pod.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn mount_path() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(USUAL.to_vec()).prop_map(str::to_owned),
        proptest::sample::select(vec![
            "/proc",
            "/sys",
            "/",
            "/proc/",
            "/sys/devices/system/cpu/online",
            "data"
        ])
        .prop_map(str::to_owned),
        "[a-z/.]{1,12}",
    ]
}

fn maybe(list: impl Strategy<Value = Vec<Value>>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![Just(None), Just(Some(Value::Null)), list.prop_map(|list| Some(list.into()))]
}

fn with(mut object: Value, key: &str, value: Option<Value>) -> Value {
    if let Some(value) = value {
        object[key] = value;
    }
    object
}

fn container() -> impl Strategy<Value = Value> {
    let mounts = prop::collection::btree_set(mount_path(), 0..4).prop_map(|paths| {
        paths.into_iter().map(|path| json!({ "name": "x", "mountPath": path })).collect::<Vec<_>>()
    });
    ("[a-z]{1,8}", maybe(mounts))
        .prop_map(|(name, mounts)| with(json!({ "name": name }), "volumeMounts", mounts))
}

fn volumes() -> impl Strategy<Value = Vec<Value>> {
    let name =
        prop_oneof!["[a-z]{1,6}", Just("resview-stat".to_owned()), Just("resview-cpu".to_owned())];
    prop::collection::btree_set(name, 0..4).prop_map(|names| {
        names.into_iter().map(|name| json!({ "name": name, "emptyDir": {} })).collect()
    })
}

prop_compose! {
    fn pod()(
        containers in maybe(prop::collection::vec(container(), 0..4)),
        inits in maybe(prop::collection::vec(container(), 0..3)),
        volumes in maybe(volumes()),
        annotations in prop::option::of(prop::collection::btree_map("[a-z~/]{1,8}", "[a-z]{0,4}", 0..3)),
    ) -> Value {
        let spec = with(json!({}), "containers", containers);
        let spec = with(with(spec, "initContainers", inits), "volumes", volumes);
        let metadata = with(json!({}), "annotations", annotations.map(|all| json!(all)));
        json!({ "metadata": metadata, "spec": spec })
    }
}

fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether the list after begins with the list before.
fn keeps(before: &[Value], after: &[Value]) -> bool {
    after.len() >= before.len() && before == &after[..before.len()]
}

proptest! {
    #[test]
    fn the_patch_applies_keeps_what_is_the_users_and_is_not_needed_twice(pod in pod()) {
        let review_of_it = review(&pod);
        let (verdict, response) = ask(&review_of_it);
        prop_assume!(verdict == Verdict::Patched);
        let after = patched(&review_of_it, &response);
        prop_assert!(keeps(list(&pod["spec"], "volumes"), list(&after["spec"], "volumes")));
        let annotations = pod["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        for (key, value) in &annotations {
            prop_assert_eq!(&after["metadata"]["annotations"][key], value);
        }
        let names: BTreeSet<_> =
            list(&after["spec"], "volumes").iter().map(|volume| volume["name"].as_str().unwrap()).collect();
        prop_assert_eq!(names.len(), list(&after["spec"], "volumes").len(), "each name once");
        for field in ["containers", "initContainers"] {
            let (before, now) = (list(&pod["spec"], field), list(&after["spec"], field));
            prop_assert_eq!(before.len(), now.len());
            for (before, now) in before.iter().zip(now) {
                let mounts = list(now, "volumeMounts");
                prop_assert!(keeps(list(before, "volumeMounts"), mounts));
                let paths: BTreeSet<_> = mounts.iter().map(|mount| mount["mountPath"].as_str()).collect();
                prop_assert_eq!(paths.len(), mounts.len(), "each path once");
                for mount in &mounts[list(before, "volumeMounts").len()..] {
                    prop_assert!(names.contains(mount["name"].as_str().unwrap()));
                }
            }
        }
        prop_assert_eq!(ask(&review(&after)).0, Verdict::Skipped(Reason::NothingToAdd));
    }

    #[test]
    fn any_bytes_are_answered(text in prop::collection::vec(any::<u8>(), 0..300)) {
        well_formed(&answer(&text, NamespaceLabel::Missing, &settings(), &Policy::default()));
        well_formed(&answer_to_beginning(&text));
    }

    #[test]
    fn a_review_with_one_byte_changed_is_answered(at in 0_usize..1000, byte in any::<u8>()) {
        let mut text = review(&plain_pod()).to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        well_formed(&answer(&text, NamespaceLabel::Missing, &settings(), &Policy::default()));
    }
}
