//! Each defect of the webhooks that came before.

use super::*;

#[test]
fn init_containers_and_sidecars_are_not_forgotten() {
    let mut pod = plain_pod();
    pod["spec"]["initContainers"] = json!([
        { "name": "setup", "image": "setup:1" },
        { "name": "proxy", "image": "proxy:1", "restartPolicy": "Always", "volumeMounts": null },
    ]);
    let pod = becomes(&review(&pod));
    for container in [
        &pod["spec"]["initContainers"][0],
        &pod["spec"]["initContainers"][1],
        &pod["spec"]["containers"][0],
    ] {
        assert_eq!(our_paths(container), USUAL, "{container}");
    }
}

#[test]
fn new_ephemeral_containers_are_not_forgotten() {
    let before = becomes(&review(&plain_pod()));
    let mut with_one = before.clone();
    with_one["spec"]["ephemeralContainers"] = json!([{ "name": "one", "image": "busybox" }]);
    let review = ephemeral_review(&with_one, &before);
    let after = becomes(&review);
    assert_eq!(our_paths(&after["spec"]["ephemeralContainers"][0]), USUAL);
    assert_eq!(
        after["spec"]["volumes"], before["spec"]["volumes"],
        "volumes cannot change any more"
    );
    assert_eq!(after["metadata"], before["metadata"]);
    assert_eq!(after["spec"]["containers"], before["spec"]["containers"]);
}

/// hantmac's and ymping's: a one-key map replaces all annotations.
#[test]
fn the_users_annotations_stay() {
    let mut pod = plain_pod();
    pod["metadata"]["annotations"] = json!({ "team": "red", "a/b~c": "odd" });
    let after = becomes(&review(&pod));
    assert_eq!(after["metadata"]["annotations"]["team"], "red");
    assert_eq!(after["metadata"]["annotations"]["a/b~c"], "odd");
    assert!(after["metadata"]["annotations"][MARK].is_string());
}

/// denverdino's: the operation `" replace"`.
#[test]
fn every_operation_is_an_addition_of_the_standard() {
    let (_, response) = ask(&review(&plain_pod()));
    let operations = operations(&response);
    for operation in operations.as_array().unwrap() {
        assert_eq!(operation["op"], "add", "{operation}");
    }
}

/// cndoit18's: the user's mounts are sorted by name.
#[test]
fn the_users_order_stays() {
    let mut pod = plain_pod();
    let theirs = json!([
        { "name": "zz", "mountPath": "/z" },
        { "name": "aa", "mountPath": "/a" },
        { "name": "mm", "mountPath": "/m" },
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] = theirs.clone();
    let volumes = json!([{ "name": "zz", "emptyDir": {} }, { "name": "aa", "emptyDir": {} },
        { "name": "mm", "emptyDir": {} }]);
    pod["spec"]["volumes"] = volumes.clone();
    let after = becomes(&review(&pod));
    let first = |list: &Value| list.as_array().unwrap()[..3].to_vec();
    assert_eq!(&first(&after["spec"]["containers"][0]["volumeMounts"]), theirs.as_array().unwrap());
    assert_eq!(&first(&after["spec"]["volumes"]), volumes.as_array().unwrap());
}

/// A doubled mountPath makes the API server refuse the pod.
#[test]
fn no_mount_path_comes_twice() {
    for theirs in
        ["/proc/meminfo", "/proc/meminfo/", "/proc/./meminfo", "proc/meminfo", "/proc//meminfo"]
    {
        let mut pod = plain_pod();
        let mount = json!({ "name": "own", "mountPath": theirs, "subPath": "meminfo" });
        pod["spec"]["containers"][0]["volumeMounts"] = json!([mount]);
        pod["spec"]["volumes"] = json!([{ "name": "own", "emptyDir": {} }]);
        let after = becomes(&review(&pod));
        let container = &after["spec"]["containers"][0];
        assert!(!our_paths(container).contains(&"/proc/meminfo"), "{theirs}");
        assert_eq!(our_paths(container).len(), USUAL.len() - 1);
        assert_eq!(container["volumeMounts"][0], mount);
        let volumes = after["spec"]["volumes"].to_string();
        assert!(!volumes.contains("resview-meminfo"), "nobody mounts it: {volumes}");
    }
}

/// cndoit18 #128: runc refuses containers whose specification mounts /proc/pressure.
#[test]
fn files_that_runc_refuses_are_not_mounted_even_if_asked_for() {
    let mut pod = plain_pod();
    pod["metadata"]["annotations"] =
        json!({ "resview.dev/files": "pressure/cpu=virtual,vmstat=virtual,slabinfo=virtual" });
    let review = review(&pod);
    let (_, response) = ask(&review);
    let after = patched(&review, &response);
    let paths = our_paths(&after["spec"]["containers"][0]);
    assert_eq!(paths.len(), USUAL.len() + 1);
    assert!(paths.contains(&"/proc/slabinfo"), "which runc permits: {paths:?}");
    let warnings = response["warnings"].to_string();
    assert!(warnings.contains("vmstat") && warnings.contains("pressure/cpu"), "{warnings}");
}

/// Gone since Kubernetes 1.22, and all that clusters before 1.16 have.
#[test]
fn both_versions_are_answered_in_the_same_version() {
    for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
        let mut review = review(&plain_pod());
        review["apiVersion"] = version.into();
        let text = review.to_string();
        let answer =
            answer(text.as_bytes(), NamespaceLabel::Missing, &settings(), &Policy::default());
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["apiVersion"], version);
        assert_eq!(answer.verdict, Verdict::Patched);
    }
}

/// lxcfs-on-kubernetes #20: without a type, a missing file becomes a directory.
#[test]
fn host_paths_have_a_type_unless_told_otherwise() {
    let types = |kind: HostPathType| {
        let mut settings = settings();
        settings.source.host_path_type = kind;
        let review = review(&plain_pod());
        let policy = Policy::default();
        let (_, response) = ask_with(&review, NamespaceLabel::Missing, &settings, &policy);
        let after = patched(&review, &response);
        let volumes = after["spec"]["volumes"].as_array().unwrap().clone();
        let ours = volumes.into_iter().filter(|volume| volume.get("hostPath").is_some());
        ours.map(|volume| volume["hostPath"]["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let checked = types(HostPathType::Checked);
    assert_eq!(checked.iter().filter(|kind| *kind == "File").count(), 7);
    assert_eq!(checked.iter().filter(|kind| *kind == "Directory").count(), 1);
    assert!(types(HostPathType::Unchecked).iter().all(String::is_empty));
}

/// denverdino #15 and cndoit18 #11.
#[test]
fn a_pod_may_opt_in_and_choose_its_files() {
    let policy = Policy { default: View::Off, ..Policy::default() };
    let mut pod = plain_pod();
    let (verdict, _) = ask_with(&review(&pod), NamespaceLabel::Missing, &settings(), &policy);
    assert_eq!(verdict, Verdict::Skipped(Reason::Policy));
    pod["metadata"]["annotations"] = json!({ "resview.dev/view": "on", "resview.dev/files": "cpuinfo=host,sys/devices/system/cpu=host" });
    let review = review(&pod);
    let (_, response) = ask_with(&review, NamespaceLabel::Missing, &settings(), &policy);
    let after = patched(&review, &response);
    assert_eq!(our_paths(&after["spec"]["containers"][0]), USUAL[1..7]);
}

#[test]
fn opt_outs_of_this_and_of_other_webhooks_are_honoured() {
    for (key, value) in [
        ("resview.dev/view", "off"),
        ("io.kubernetes.lxcfs.enabled", "false"),
        ("lxcfs-admission-webhook.aliyun.com/mutate", "no"),
        ("mutating.lxcfs-admission-webhook.io/enable", "false"),
    ] {
        let mut pod = plain_pod();
        pod["metadata"]["annotations"] = json!({ key: value });
        assert_eq!(ask(&review(&pod)).0, Verdict::Skipped(Reason::Policy), "{key}");
    }
}

#[test]
fn the_namespaces_label_counts_where_the_pod_says_nothing() {
    let off = Policy { default: View::Off, ..Policy::default() };
    for (label, policy, verdict) in [
        (NamespaceLabel::On, &off, Verdict::Patched),
        (NamespaceLabel::Missing, &off, Verdict::Skipped(Reason::Policy)),
        (NamespaceLabel::Off, &Policy::default(), Verdict::Skipped(Reason::Policy)),
    ] {
        assert_eq!(ask_with(&review(&plain_pod()), label, &settings(), policy).0, verdict);
    }
    let mut pod = plain_pod();
    pod["metadata"]["annotations"] = json!({ "resview.dev/view": "on" });
    let asked = ask_with(&review(&pod), NamespaceLabel::Off, &settings(), &Policy::default());
    assert_eq!(asked.0, Verdict::Patched);
}
