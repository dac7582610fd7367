//! What is decided about a container: by the request, by what was decided before, by its
//! annotations, in this order.

use api::{Failure, FailureKind, Policy};
use container::registry;

/// The policy that results.
///
/// # Errors
/// An annotation that is not understood.
pub(super) fn merged(
    asked: Option<&Policy>,
    before: Option<&registry::Policy>,
    annotations: &std::collections::BTreeMap<String, String>,
) -> Result<Policy, Failure> {
    let mut policy = Policy::from_annotations(annotations)
        .map_err(|error| Failure::new(FailureKind::Request, error.to_string()))?;
    if let Some(before) = before {
        overlay(&mut policy, from_registered(before));
    }
    if let Some(asked) = asked {
        overlay(&mut policy, asked.clone());
    }
    Ok(policy)
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
    use std::collections::BTreeMap;

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
            cpu_count: Some(registry::CpuCount::Shares),
            files: [("proc/stat".to_owned(), registry::FilePolicy::Virtual)].into(),
            ..registry::Policy::default()
        };
        let policy = merged(None, Some(&before), &annotated).unwrap();
        assert_eq!(policy.view, Some(api::View::Off));
        assert_eq!(policy.cpu_count, Some(api::CpuCount::Shares));
        assert_eq!(policy.files.get("proc/stat"), Some(&api::FileChoice::Virtual));
        assert_eq!(policy.files.get("proc/swaps"), Some(&api::FileChoice::Host));
        let asked = Policy {
            view: Some(api::View::On),
            cpu_count: Some(api::CpuCount::Quota),
            ..Policy::default()
        };
        let policy = merged(Some(&asked), Some(&before), &annotated).unwrap();
        assert_eq!(policy.view, Some(api::View::On));
        assert_eq!(policy.cpu_count, Some(api::CpuCount::Quota));
        let kept = from_registered(&to_registered(&policy));
        assert_eq!(kept, Policy { view: None, ..policy });
    }

    #[test]
    fn an_annotation_that_is_not_understood_is_an_error() {
        let failure = merged(None, None, &annotations(&[(Policy::VIEW, "maybe")])).unwrap_err();
        assert!(failure.error.contains("maybe"), "{failure:?}");
    }
}
