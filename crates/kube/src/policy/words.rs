//! What annotations of others say about the view.

use std::collections::BTreeMap;

use api::View;

/// PouchContainer's annotation, in front of the others: it is the engine's and not an admission
/// webhook's.
const POUCH: &str = "io.kubernetes.lxcfs.enabled";
/// The annotations by which pods opt in to webhooks that mount LXCFS, or out of them.
const WEBHOOKS: [&str; 3] = [
    "lxcfs-admission-webhook.aliyun.com/mutate",
    "mutating.lxcfs-admission-webhook.io/enable",
    "lxcfs-admission-webhook.raids-lab.github.io/mutate",
];
/// What those take for yes and for no.
const YES: [&str; 4] = ["y", "yes", "true", "on"];
const NO: [&str; 4] = ["n", "no", "false", "off"];

/// What the first of these annotations says that is there and understood, with its name. For those
/// that are not understood there is a warning.
pub(super) fn of_others(
    annotations: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Option<(&'static str, View)> {
    std::iter::once(POUCH).chain(WEBHOOKS).find_map(|key| {
        let value = annotations.get(key)?;
        let said = yes_or_no(value);
        if said.is_none() {
            warnings
                .push(format!("annotation {key}={value:?} is not understood; use true or false"));
        }
        said.map(|view| (key, view))
    })
}

fn yes_or_no(value: &str) -> Option<View> {
    let is = |word: &&str| value.trim().eq_ignore_ascii_case(word);
    if YES.iter().any(&is) {
        Some(View::On)
    } else if NO.iter().any(is) {
        Some(View::Off)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_annotation_of_others_is_known_in_all_its_words() {
        for key in std::iter::once(POUCH).chain(WEBHOOKS) {
            for (words, view) in [(YES, View::On), (NO, View::Off)] {
                for word in
                    words.into_iter().flat_map(|word| [word.to_owned(), word.to_uppercase()])
                {
                    let annotations = [(key.to_owned(), word)].into();
                    let mut warnings = Vec::new();
                    assert_eq!(of_others(&annotations, &mut warnings), Some((key, view)));
                    assert!(warnings.is_empty());
                }
            }
        }
    }

    #[test]
    fn one_that_is_not_understood_does_not_hide_the_next() {
        let annotations = [
            (POUCH.to_owned(), "perhaps".to_owned()),
            (WEBHOOKS[1].to_owned(), " no ".to_owned()),
            ("other.io/mutate".to_owned(), "yes".to_owned()),
        ];
        let mut warnings = Vec::new();
        let said = of_others(&annotations.into(), &mut warnings);
        assert_eq!(said, Some((WEBHOOKS[1], View::Off)));
        assert!(warnings[0].contains(POUCH) && warnings[0].contains("perhaps"), "{warnings:?}");
    }
}
