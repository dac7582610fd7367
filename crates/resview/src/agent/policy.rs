//! What is decided about a container: by the request, by what was decided before, by its
//! annotations, in this order.

use std::collections::BTreeMap;

use api::Policy;
use container::registry;

/// The policy that results. An annotation that is not understood counts as not said: nobody can
/// mend it as long as the container lives, and no container should go without its view for that.
pub(super) fn merged(
    asked: Option<&Policy>,
    before: Option<&registry::Policy>,
    annotations: &BTreeMap<String, String>,
) -> Policy {
    let (mut policy, errors) = Policy::understood(annotations);
    for error in errors {
        tracing::warn!("{error}; it counts as not said");
    }
    if let Some(before) = before {
        overlay(&mut policy, from_registered(before));
        // Who wrote it down knew the annotations, so it says more than they do.
        if before.view == registry::View::On {
            policy.view = Some(api::View::On);
        }
    }
    if let Some(asked) = asked {
        overlay(&mut policy, asked.clone());
    }
    policy
}

fn overlay(policy: &mut Policy, over: Policy) {
    policy.view = over.view.or(policy.view);
    policy.cpu_count = over.cpu_count.or(policy.cpu_count);
    policy.files.extend(over.files);
}

/// As it is written down.
pub(super) fn to_registered(policy: &Policy) -> registry::Policy {
    registry::Policy {
        view: match policy.view {
            Some(api::View::Off) => registry::View::Off,
            _ => registry::View::On,
        },
        cpu_count: policy.cpu_count.map(|count| match count {
            api::CpuCount::Cpuset => registry::CpuCount::Cpuset,
            api::CpuCount::Quota => registry::CpuCount::Quota,
            api::CpuCount::QuotaFloor => registry::CpuCount::QuotaFloor,
            api::CpuCount::Shares => registry::CpuCount::Shares,
        }),
        files: policy.files.iter().map(|(file, choice)| (file.clone(), of_file(*choice))).collect(),
    }
}

fn of_file(choice: api::FileChoice) -> registry::FilePolicy {
    match choice {
        api::FileChoice::Virtual => registry::FilePolicy::Virtual,
        api::FileChoice::Host => registry::FilePolicy::Host,
        api::FileChoice::Absent => registry::FilePolicy::Absent,
    }
}

/// As the protocol says it.
pub(super) fn from_registered(policy: &registry::Policy) -> Policy {
    let choice = |policy: registry::FilePolicy| match policy {
        registry::FilePolicy::Virtual => api::FileChoice::Virtual,
        registry::FilePolicy::Host => api::FileChoice::Host,
        registry::FilePolicy::Absent => api::FileChoice::Absent,
    };
    Policy {
        // `on` is what is written down where nothing was said, too.
        view: (policy.view == registry::View::Off).then_some(api::View::Off),
        cpu_count: policy.cpu_count.map(|count| match count {
            registry::CpuCount::Cpuset => api::CpuCount::Cpuset,
            registry::CpuCount::Quota => api::CpuCount::Quota,
            registry::CpuCount::QuotaFloor => api::CpuCount::QuotaFloor,
            registry::CpuCount::Shares => api::CpuCount::Shares,
        }),
        files: policy.files.iter().map(|(file, one)| (file.clone(), choice(*one))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
        lines.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn who_asks_now_decides_over_who_asked_before_and_over_annotations() {
        let annotated = annotations(&[
            (Policy::VIEW, "off"),
            (Policy::CPU_COUNT, "cpuset"),
            (Policy::FILES, "swaps=host,stat=host"),
        ]);
        let before = registry::Policy {
            view: registry::View::Off,
            cpu_count: Some(registry::CpuCount::Shares),
            files: [("proc/stat".to_owned(), registry::FilePolicy::Virtual)].into(),
        };
        let policy = merged(None, Some(&before), &annotated);
        assert_eq!(policy.view, Some(api::View::Off));
        assert_eq!(policy.cpu_count, Some(api::CpuCount::Shares));
        assert_eq!(policy.files.get("proc/stat"), Some(&api::FileChoice::Virtual));
        assert_eq!(policy.files.get("proc/swaps"), Some(&api::FileChoice::Host));
        let asked = Policy {
            view: Some(api::View::On),
            cpu_count: Some(api::CpuCount::Quota),
            ..Policy::default()
        };
        let policy = merged(Some(&asked), Some(&before), &annotated);
        assert_eq!(policy.view, Some(api::View::On));
        assert_eq!(policy.cpu_count, Some(api::CpuCount::Quota));
        let kept = from_registered(&to_registered(&policy));
        assert_eq!(kept, Policy { view: None, ..policy });
    }

    #[test]
    fn a_view_that_was_switched_on_by_hand_stays_on_whatever_annotations_say() {
        let annotated = annotations(&[(Policy::VIEW, "off")]);
        let asked = Policy { view: Some(api::View::On), ..Policy::default() };
        let kept = to_registered(&merged(Some(&asked), None, &annotated));
        assert_eq!(merged(None, Some(&kept), &annotated).view, Some(api::View::On));
        let off = to_registered(&merged(None, None, &annotated));
        assert_eq!(merged(None, Some(&off), &annotated).view, Some(api::View::Off));
    }

    #[test]
    fn an_annotation_that_is_not_understood_counts_as_not_said() {
        let lines = [(Policy::VIEW, "maybe"), (Policy::CPU_COUNT, "cpuset")];
        let policy = merged(None, None, &annotations(&lines));
        assert_eq!((policy.view, policy.cpu_count), (None, Some(api::CpuCount::Cpuset)));
    }
}
