//! What nobody should send. The answer allows the pod each time.

use super::*;

fn misunderstood(text: &[u8]) -> (Misunderstanding, Value) {
    let answer = answer(text, NamespaceLabel::Missing, &settings(), &Policy::default());
    let response = well_formed(&answer);
    assert!(response["warnings"].as_array().is_some_and(|all| !all.is_empty()), "{response}");
    match answer.verdict {
        Verdict::Misunderstood(why) => (why, response),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_json_and_other_json() {
    for text in [
        "",
        " ",
        "null",
        "[]",
        "7",
        "{",
        "\"x\"",
        "{\"request\":null}",
        "{\"request\":7}",
        "\0\u{1}",
    ] {
        let (why, _) = misunderstood(text.as_bytes());
        assert_eq!(why, Misunderstanding::Malformed, "{text:?}");
    }
    assert_eq!(misunderstood(b"\xff\xfe{}").0, Misunderstanding::Malformed);
    assert_eq!(misunderstood(b"{}").0, Misunderstanding::OtherVersion);
    assert_eq!(misunderstood(b"{} {}").0, Misunderstanding::Malformed);
}

#[test]
fn other_versions_and_kinds_are_answered_in_their_version() {
    for (key, value, answered) in [
        ("apiVersion", "admission.k8s.io/v2", "admission.k8s.io/v2"),
        ("apiVersion", "v1", "admission.k8s.io/v1"),
        ("apiVersion", "", "admission.k8s.io/v1"),
        ("apiVersion", "admission.k8s.io/v1\n", "admission.k8s.io/v1"),
        ("kind", "ConversionReview", "admission.k8s.io/v1"),
    ] {
        let mut review = review(&plain_pod());
        review[key] = value.into();
        let answer = answer(
            review.to_string().as_bytes(),
            NamespaceLabel::Missing,
            &settings(),
            &Policy::default(),
        );
        let response = well_formed(&answer);
        assert_eq!(
            answer.verdict,
            Verdict::Misunderstood(Misunderstanding::OtherVersion),
            "{value}"
        );
        assert_eq!(response["uid"], review["request"]["uid"]);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["apiVersion"], answered);
    }
}

#[test]
fn what_is_no_pod() {
    let mut review = review(&json!({ "spec": { "containers": "none", "volumes": 7 } }));
    review["request"]["kind"] = json!({ "group": "apps", "version": "v1", "kind": "Deployment" });
    assert_eq!(ask(&review).0, Verdict::Misunderstood(Misunderstanding::NoPod));
    review["request"]["kind"] = json!({ "group": "example.com", "version": "v1", "kind": "Pod" });
    assert_eq!(ask(&review).0, Verdict::Misunderstood(Misunderstanding::NoPod));
}

#[test]
fn a_pod_of_another_form_or_none() {
    for object in [
        Value::Null,
        json!(7),
        json!({ "spec": 7 }),
        json!({ "metadata": { "annotations": { "a": 1 } } }),
        json!({ "spec": { "containers": { "0": {} } } }),
        json!({ "spec": { "containers": [{ "volumeMounts": [{ "mountPath": [] }] }] } }),
        json!({ "spec": { "hostPID": "yes" } }),
    ] {
        let (verdict, _) = ask(&review(&object));
        assert_eq!(verdict, Verdict::Misunderstood(Misunderstanding::Malformed), "{object}");
    }
    for object in [json!({}), json!({ "spec": {} }), json!({ "spec": { "containers": [] } })] {
        assert_eq!(ask(&review(&object)).0, Verdict::Skipped(Reason::NothingToAdd), "{object}");
    }
}

#[test]
fn other_operations_and_subresources() {
    for (operation, sub_resource) in [
        ("UPDATE", ""),
        ("DELETE", ""),
        ("CONNECT", "exec"),
        ("UPDATE", "resize"),
        ("CREATE", "binding"),
        ("", ""),
    ] {
        let mut review = review(&plain_pod());
        review["request"]["operation"] = operation.into();
        review["request"]["subResource"] = sub_resource.into();
        assert_eq!(
            ask(&review).0,
            Verdict::Skipped(Reason::OtherOperation),
            "{operation} {sub_resource}"
        );
    }
}

#[test]
fn a_review_that_breaks_off_is_answered_with_what_it_began_with() {
    let whole = review(&plain_pod()).to_string();
    let uid = whole.find("\"uid\"").unwrap();
    for end in 0..whole.len() {
        let answer = answer(
            &whole.as_bytes()[..end],
            NamespaceLabel::Missing,
            &settings(),
            &Policy::default(),
        );
        well_formed(&answer);
        assert_eq!(answer.verdict, Verdict::Misunderstood(Misunderstanding::Malformed), "{end}");
    }
    // As Go writes it: the version and the uid first.
    let text = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u-1","kind":{"group":"","ver"#;
    assert!(uid > 0);
    for answer in [
        answer(text.as_bytes(), NamespaceLabel::Missing, &settings(), &Policy::default()),
        answer_to_beginning(text.as_bytes()),
    ] {
        assert_eq!(well_formed(&answer)["uid"], "u-1");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["apiVersion"], "admission.k8s.io/v1beta1");
    }
}

#[test]
fn deep_nesting_in_what_matters_and_in_what_does_not() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let whole = review(&plain_pod()).to_string();
    let elsewhere = whole.replacen("\"status\":{}", &format!("\"status\":{deep}"), 1);
    assert!(elsewhere.len() > whole.len());
    let answer_to = |text: &str| {
        answer(text.as_bytes(), NamespaceLabel::Missing, &settings(), &Policy::default())
    };
    let answer = answer_to(&elsewhere);
    well_formed(&answer);
    assert_eq!(answer.verdict, Verdict::Patched);
    let inside = whole.replacen("\"volumes\":[", &format!("\"volumes\":[{deep},"), 1);
    assert!(inside.len() > whole.len());
    let answer = answer_to(&inside);
    well_formed(&answer);
    assert_eq!(answer.verdict, Verdict::Misunderstood(Misunderstanding::Malformed));
}

#[test]
fn ten_thousand_containers() {
    let mut pod = plain_pod();
    for field in ["containers", "initContainers"] {
        let containers: Vec<_> = (0..10_000)
            .map(|number| json!({ "name": format!("c{number}"), "image": "x" }))
            .collect();
        pod["spec"][field] = containers.into();
        let (verdict, response) = ask(&review(&pod));
        assert_eq!(verdict, Verdict::Skipped(Reason::TooLarge));
        assert!(response["warnings"].to_string().contains("too many"), "{response}");
    }
}

#[test]
fn as_many_containers_as_fit() {
    let pod_with = |count: usize, image: &str| {
        let mut pod = plain_pod();
        let containers: Vec<_> = (0..count)
            .map(|number| json!({ "name": format!("c{number}"), "image": image }))
            .collect();
        pod["spec"]["containers"] = containers.into();
        pod
    };
    let after = becomes(&review(&pod_with(200, "x")));
    for container in after["spec"]["containers"].as_array().unwrap() {
        assert_eq!(our_paths(container), USUAL);
    }
    assert!(after.to_string().len() < 1 << 20);
    assert_eq!(
        ask(&review(&pod_with(1000, &"x".repeat(250)))).0,
        Verdict::Skipped(Reason::TooLarge)
    );
}

#[test]
fn a_pod_that_mounts_thousands_of_paths() {
    let mut pod = plain_pod();
    let mounts = |count: usize| -> Value {
        (0..count).map(|number| json!({ "name": "x", "mountPath": format!("/{number}/{}", "../".repeat(9)) })).collect()
    };
    pod["spec"]["containers"][0]["volumeMounts"] = mounts(999);
    assert_eq!(ask(&review(&pod)).0, Verdict::Skipped(Reason::NothingToAdd), "each is the root");
    pod["spec"]["containers"][0]["volumeMounts"] = mounts(20_000);
    assert_eq!(ask(&review(&pod)).0, Verdict::Skipped(Reason::TooLarge));
}

#[test]
fn a_warning_quotes_nothing_that_could_break_a_header() {
    let mut pod = plain_pod();
    let value = format!("x\r\nSet-Cookie: a=b\u{1b}[31m{}", "é".repeat(5000));
    pod["metadata"]["annotations"] =
        json!({ "resview.dev/view": value, "resview.dev/cpu-count": value });
    let (verdict, response) = ask(&review(&pod));
    assert_eq!(verdict, Verdict::Patched);
    assert!(response["warnings"].as_array().unwrap().len() >= 2, "{response}");
}
