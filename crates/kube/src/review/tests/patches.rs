//! The rules of the patch.

use super::*;

#[test]
fn the_whole_of_it() {
    let after = becomes(&review(&plain_pod()));
    assert_eq!(
        after["spec"]["volumes"][1],
        json!({ "name": "resview-cpuinfo",
                "hostPath": { "path": "/var/lib/resview/proc/cpuinfo", "type": "File" } })
    );
    assert_eq!(
        after["spec"]["volumes"][8],
        json!({ "name": "resview-cpu",
                "hostPath": { "path": "/var/lib/resview/sys/devices/system/cpu", "type": "Directory" } })
    );
    assert_eq!(
        after["spec"]["containers"][0]["volumeMounts"][4],
        json!({ "name": "resview-meminfo", "mountPath": "/proc/meminfo", "readOnly": true,
                "mountPropagation": "HostToContainer" })
    );
    assert_eq!(
        after["metadata"]["annotations"],
        json!({ MARK: "resview-cpuinfo,resview-diskstats,resview-loadavg,resview-meminfo,\
                       resview-stat,resview-swaps,resview-uptime,resview-cpu" })
    );
    assert!(!after.to_string().contains("subPath"));
}

/// What is missing, null and empty wants a different patch each.
#[test]
fn lists_may_be_missing_null_or_empty() {
    let usual = becomes(&review(&plain_pod()));
    let mount_count = |pod: &Value| our_paths(&pod["spec"]["containers"][0]).len();
    for nothing in [None, Some(Value::Null), Some(json!([]))] {
        for annotations in [None, Some(Value::Null), Some(json!({}))] {
            let mut pod = plain_pod();
            let set = |object: &mut Value, key: &str, value: &Option<Value>| match value {
                Some(value) => object[key] = value.clone(),
                None => {
                    object.as_object_mut().unwrap().remove(key);
                }
            };
            set(&mut pod["spec"], "volumes", &nothing);
            set(&mut pod["spec"], "initContainers", &nothing);
            set(&mut pod["spec"]["containers"][0], "volumeMounts", &nothing);
            set(&mut pod["metadata"], "annotations", &annotations);
            let after = becomes(&review(&pod));
            assert_eq!(mount_count(&after), mount_count(&usual));
            assert_eq!(after["spec"]["volumes"].as_array().unwrap().len(), USUAL.len());
            assert_eq!(after["metadata"]["annotations"], usual["metadata"]["annotations"]);
        }
    }
    let mut bare = plain_pod();
    bare.as_object_mut().unwrap().remove("metadata");
    assert!(becomes(&review(&bare))["metadata"]["annotations"][MARK].is_string());
}

#[test]
fn a_second_call_changes_nothing() {
    let once = becomes(&review(&plain_pod()));
    let (verdict, response) = ask(&review(&once));
    assert_eq!(verdict, Verdict::Skipped(Reason::NothingToAdd), "{response}");
}

#[test]
fn a_sidecar_that_was_injected_in_between_gets_its_mounts_in_a_second_call() {
    let mut pod = becomes(&review(&plain_pod()));
    let before = pod.clone();
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "mesh", "image": "mesh:1" }));
    let after = becomes(&review(&pod));
    assert_eq!(our_paths(&after["spec"]["containers"][1]), USUAL);
    assert_eq!(after["spec"]["containers"][0], before["spec"]["containers"][0]);
    assert_eq!(after["spec"]["volumes"], before["spec"]["volumes"]);
    assert_eq!(after["metadata"], before["metadata"]);
}

#[test]
fn a_mount_of_the_users_above_or_below_wins_in_its_container_alone() {
    for (theirs, left_out) in [
        ("/proc", 7),
        ("/", 8),
        ("/sys", 1),
        ("/sys/devices/system/cpu/cpu0", 1),
        ("/sys/devices/system/cpu/../cpu/", 1),
        ("/sys/devices/system/node", 0),
        ("/proc/meminfo2", 0),
        ("/var/proc/meminfo", 0),
    ] {
        let mut pod = plain_pod();
        pod["spec"]["containers"][0]["volumeMounts"] =
            json!([{ "name": "x", "mountPath": theirs }]);
        let other = json!({ "name": "other", "image": "other:1" });
        pod["spec"]["containers"].as_array_mut().unwrap().push(other);
        let after = becomes(&review(&pod));
        let count = |index: usize| our_paths(&after["spec"]["containers"][index]).len();
        assert_eq!(count(0), USUAL.len() - left_out, "{theirs}");
        assert_eq!(count(1), USUAL.len());
    }
}

#[test]
fn a_block_device_of_the_users_wins_too() {
    let mut pod = plain_pod();
    pod["spec"]["containers"][0]["volumeDevices"] =
        json!([{ "name": "x", "devicePath": "/proc/diskstats" }]);
    let after = becomes(&review(&pod));
    assert!(!our_paths(&after["spec"]["containers"][0]).contains(&"/proc/diskstats"));
}

#[test]
fn a_pod_that_mounts_everything_itself_is_left_as_it_is() {
    let mut pod = plain_pod();
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "p", "mountPath": "/proc" }, { "name": "s", "mountPath": "/sys" }]);
    assert_eq!(ask(&review(&pod)).0, Verdict::Skipped(Reason::NothingToAdd));
}

#[test]
fn a_volume_of_the_users_with_a_name_of_ours_stays_theirs() {
    let theirs = json!({ "name": "resview-stat", "configMap": { "name": "theirs" } });
    let mut pod = plain_pod();
    pod["spec"]["volumes"].as_array_mut().unwrap().push(theirs.clone());
    let after = becomes(&review(&pod));
    assert_eq!(after["spec"]["volumes"][1], theirs);
    assert!(!our_paths(&after["spec"]["containers"][0]).contains(&"/proc/stat"));
    let names: Vec<_> =
        after["spec"]["volumes"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names.iter().filter(|name| ***name == json!("resview-stat")).count(), 1);
}

#[test]
fn ephemeral_containers_of_a_pod_without_the_view_are_left_alone() {
    let before = plain_pod();
    let mut after = before.clone();
    after["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": "busybox" }]);
    let (verdict, _) = ask(&ephemeral_review(&after, &before));
    assert_eq!(verdict, Verdict::Skipped(Reason::NothingToAdd));
}

/// The API server refuses any change of those that are there already.
#[test]
fn ephemeral_containers_that_are_there_already_are_not_touched() {
    let mut before = becomes(&review(&plain_pod()));
    before["spec"]["ephemeralContainers"] = json!([{ "name": "old", "image": "busybox" }]);
    let mut now = before.clone();
    let new = json!({ "name": "new", "image": "busybox" });
    now["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(new);
    let after = becomes(&ephemeral_review(&now, &before));
    assert_eq!(after["spec"]["ephemeralContainers"][0], before["spec"]["ephemeralContainers"][0]);
    assert_eq!(our_paths(&after["spec"]["ephemeralContainers"][1]), USUAL);
    let nobody_knows = ask(&ephemeral_review(&now, &Value::Null)).0;
    assert_eq!(nobody_knows, Verdict::Skipped(Reason::NothingToAdd));
}

#[test]
fn pods_for_windows_are_left_alone() {
    for (key, value) in [
        ("os", json!({ "name": "windows" })),
        ("nodeSelector", json!({ "kubernetes.io/os": "windows" })),
    ] {
        let mut pod = plain_pod();
        pod["spec"][key] = value;
        assert_eq!(ask(&review(&pod)).0, Verdict::Skipped(Reason::Windows), "{key}");
    }
}

#[test]
fn pods_with_other_kernels_and_with_the_hosts_processes_are_left_alone() {
    for (key, value) in [("runtimeClassName", json!("kata-qemu")), ("hostPID", json!(true))] {
        let mut pod = plain_pod();
        pod["spec"][key] = value;
        assert_eq!(ask(&review(&pod)).0, Verdict::Skipped(Reason::Policy), "{key}");
    }
}

#[test]
fn pods_in_user_namespaces_get_it_where_mounts_can_be_mapped() {
    let mut pod = plain_pod();
    pod["spec"]["hostUsers"] = json!(false);
    assert_eq!(ask(&review(&pod)).0, Verdict::Skipped(Reason::UserNamespace));
    let settings = Settings { id_mapped_mounts: true, ..settings() };
    let (verdict, _) =
        ask_with(&review(&pod), NamespaceLabel::Missing, &settings, &Policy::default());
    assert_eq!(verdict, Verdict::Patched);
}

#[test]
fn a_dry_run_is_answered_as_any_other() {
    let mut dry = review(&plain_pod());
    dry["request"]["dryRun"] = true.into();
    assert_eq!(ask(&dry), ask(&review(&plain_pod())));
}

#[test]
fn the_namespace_is_the_requests() {
    let mut pod = plain_pod();
    pod["metadata"]["namespace"] = "team-red".into();
    let mut review = review(&pod);
    review["request"]["namespace"] = "kube-system".into();
    assert_eq!(ask(&review).0, Verdict::Skipped(Reason::Policy));
}

#[test]
fn what_cannot_be_done_by_volumes_is_said() {
    let mut pod = plain_pod();
    pod["metadata"]["annotations"] = json!({ "resview.dev/cpu-count": "shares", "resview.dev/files": "swaps=absent", "resview.dev/view": "maybe" });
    let (verdict, response) = ask(&review(&pod));
    assert_eq!(verdict, Verdict::Patched);
    let warnings = response["warnings"].to_string();
    for word in ["cpu-count has no effect", "proc/swaps", "maybe"] {
        assert!(warnings.contains(word), "{warnings}");
    }
}
