use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::policy::Namespaces;

type Pairs = BTreeMap<String, String>;

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Off unless something else is said, on in the namespaces `team-*` but `team-x`.
fn strict() -> Policy {
    Policy {
        default: View::Off,
        namespaces: Namespaces { on: Pattern::all(&["team-*"]), off: Pattern::all(&["team-x"]) },
        ..Policy::default()
    }
}

const POUCH: &str = "io.kubernetes.lxcfs.enabled";
const WEBHOOK: &str = "lxcfs-admission-webhook.aliyun.com/mutate";

#[test]
fn without_a_policy_all_pods_get_the_view_but_those_of_the_system() {
    let of = |namespace| Policy::default().decide(&Pod { namespace, ..Pod::default() }).view;
    assert_eq!([of("default"), of("kube-system")], [View::On, View::Off]);
}

/// A pod that each thing says the contrary about: what counts more comes first.
#[test]
fn the_first_that_says_something_decides() {
    let all = pairs(&[(api::Policy::VIEW, "off"), (POUCH, "true"), (WEBHOOK, "no")]);
    let mut pod = Pod {
        namespace: "team-x",
        namespace_label: Some("on"),
        annotations: &all,
        ..Pod::default()
    };
    let decide = |pod: &Pod<'_>| {
        let Decision { view, because, warnings, .. } = strict().decide(pod);
        assert!(warnings.is_empty(), "{warnings:?}");
        (view, because)
    };
    assert_eq!(decide(&pod), (View::Off, "annotation resview.dev/view=off".to_owned()));
    let others = pairs(&[(POUCH, "true"), (WEBHOOK, "no")]);
    pod.annotations = &others;
    assert_eq!(decide(&pod), (View::On, format!("annotation {POUCH}")));
    let webhook = pairs(&[(WEBHOOK, "no")]);
    pod.annotations = &webhook;
    assert_eq!(decide(&pod), (View::Off, format!("annotation {WEBHOOK}")));
    let none = Pairs::new();
    pod.annotations = &none;
    let because = "label resview.dev/view=on of namespace team-x".to_owned();
    assert_eq!(decide(&pod), (View::On, because));
    pod.namespace_label = None;
    let because = "namespace team-x is in namespaces.off (team-x)".to_owned();
    assert_eq!(decide(&pod), (View::Off, because));
    pod.namespace = "team-y";
    let because = "namespace team-y is in namespaces.on (team-*)".to_owned();
    assert_eq!(decide(&pod), (View::On, because));
    pod.namespace = "elsewhere";
    assert_eq!(decide(&pod), (View::Off, "the policy's default".to_owned()));
}

#[test]
fn what_is_never_done_cannot_be_asked_for() {
    let annotations = pairs(&[(api::Policy::VIEW, "on")]);
    let labels = pairs(&[OWN]);
    let plain = Pod { annotations: &annotations, ..Pod::default() };
    let policy = Policy::default();
    for (pod, words) in [
        (Pod { host_pid: true, ..plain }, "host's process ids"),
        (Pod { runtime_handler: "kata-qemu", ..plain }, "kata*"),
        (Pod { runtime_handler: "runsc", ..plain }, "runsc"),
        (Pod { labels: &labels, ..plain }, "app.kubernetes.io/name=resview"),
        (Pod { is_windows: true, ..plain }, "Windows"),
    ] {
        let decision = policy.decide(&pod);
        assert_eq!(decision.view, View::Off, "{decision:?}");
        assert!(decision.because.contains(words), "{decision:?}");
    }
    for pod in [plain, Pod { runtime_handler: "runc", ..plain }] {
        assert_eq!(policy.decide(&pod).view, View::On);
    }
    let allowing = Policy { host_pid: View::On, ..Policy::default() };
    assert_eq!(allowing.decide(&Pod { host_pid: true, ..plain }).view, View::On);
    // A pattern for everything does not mean the usual runtime, which has no name.
    let all = Policy { runtime_handlers_off: Pattern::all(&["*"]), ..Policy::default() };
    assert_eq!(all.decide(&plain).view, View::On);
}

#[test]
fn what_is_not_understood_counts_as_not_said_and_is_told() {
    let annotations = pairs(&[
        (api::Policy::VIEW, "yes"),
        (api::Policy::CPU_COUNT, "4"),
        (api::Policy::FILES, "swaps=host,stat"),
        (WEBHOOK, "maybe"),
    ]);
    let pod = Pod {
        namespace: "team-y",
        namespace_label: Some("true"),
        annotations: &annotations,
        ..Pod::default()
    };
    let decision = strict().decide(&pod);
    assert_eq!(decision.view, View::On, "by the namespace's name");
    assert_eq!(decision.policy.cpu_count, None);
    assert_eq!(decision.policy.files.len(), 1);
    let keys = [api::Policy::VIEW, api::Policy::CPU_COUNT, api::Policy::FILES, WEBHOOK, "label"];
    assert_eq!(decision.warnings.len(), keys.len(), "{:?}", decision.warnings);
    for (warning, key) in decision.warnings.iter().zip(keys) {
        assert!(warning.contains(key), "{warning}");
    }
}

#[test]
fn what_a_pod_is_to_see_is_told_apart_from_whether_it_does() {
    let annotations = pairs(&[
        (api::Policy::VIEW, "on"),
        (api::Policy::CPU_COUNT, "quota-floor"),
        (api::Policy::FILES, "swaps=host"),
    ]);
    let decision = strict().decide(&Pod { annotations: &annotations, ..Pod::default() });
    assert_eq!((decision.view, decision.policy.view), (View::On, None));
    assert_eq!(decision.policy.cpu_count, Some(api::CpuCount::QuotaFloor));
    assert_eq!(decision.policy.files.get("proc/swaps"), Some(&api::FileChoice::Host));
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![Just("on"), Just("off"), Just("true"), Just("no"), Just("kata"), Just("?")]
        .prop_map(str::to_owned)
}

fn texts() -> impl Strategy<Value = Pairs> {
    let keys = prop_oneof![Just(api::Policy::VIEW), Just(POUCH), Just(WEBHOOK), Just(OWN.0)];
    prop::collection::btree_map(keys.prop_map(str::to_owned), words(), 0..4)
}

proptest! {
    #[test]
    fn off_by_annotation_is_always_off(
        annotations in texts(), labels in texts(), label in prop::option::of(words()),
        handler in words(), host_pid: bool, hosts: bool, default: bool,
    ) {
        let view = |on| if on { View::On } else { View::Off };
        let policy =
            Policy { default: view(default), host_pid: view(hosts), ..Policy::default() };
        let says = |word: &str| {
            let mut annotations = annotations.clone();
            annotations.insert(api::Policy::VIEW.to_owned(), word.to_owned());
            annotations
        };
        let (off, on) = (says("off"), says("on"));
        let pod = Pod {
            namespace_label: label.as_deref(),
            labels: &labels,
            annotations: &off,
            runtime_handler: &handler,
            host_pid,
            ..Pod::default()
        };
        prop_assert_eq!(policy.decide(&pod).view, View::Off);
        // And on is on, unless it is one of those that never get it.
        let pod = Pod { annotations: &on, ..pod };
        let never = policy.never(&pod).is_some();
        prop_assert_eq!(policy.decide(&pod).view, view(!never));
    }

    #[test]
    fn whatever_is_said_is_decided(
        annotations in prop::collection::btree_map(".{0,9}", ".{0,9}", 0..4),
        namespace in ".{0,9}", label in prop::option::of(".{0,5}"), handler in ".{0,9}",
    ) {
        let pod = Pod {
            namespace: &namespace,
            namespace_label: label.as_deref(),
            annotations: &annotations,
            runtime_handler: &handler,
            ..Pod::default()
        };
        prop_assert!(!Policy::default().decide(&pod).because.is_empty());
    }
}
