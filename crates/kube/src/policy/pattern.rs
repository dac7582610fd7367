//! Names with stars.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name, in which `*` stands for any letters, also none. Nothing else has a meaning of its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern as it is written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Several of them.
    pub(super) fn all(texts: &[&str]) -> Vec<Self> {
        texts.iter().map(|&text| Self::new(text)).collect()
    }

    /// Whether the whole name is of this form. Takes no longer than both lengths multiplied.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The leftmost place leaves most for the others.
            let Some(at) = rest.find(part) else { return false };
            rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_letters_and_the_whole_name_counts() {
        for (pattern, name, matches) in [
            ("kube-system", "kube-system", true),
            ("kube-system", "kube-system2", false),
            ("kube", "kube-system", false),
            ("kata*", "kata", true),
            ("kata*", "kata-qemu", true),
            ("kata*", "my-kata", false),
            ("*-infra", "red-infra", true),
            ("*-infra", "infra", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
            ("te[a]m?", "team1", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), matches, "{pattern} {name}");
        }
    }

    /// As it is defined: a star takes no letter, or one and stays.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], name) => name.is_empty(),
            (['*', rest @ ..], name) => {
                by_definition(rest, name)
                    || name.split_first().is_some_and(|(_, name)| by_definition(pattern, name))
            }
            ([letter, rest @ ..], [first, name @ ..]) => {
                letter == first && by_definition(rest, name)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_as_defined(pattern in "[abé*]{0,8}", name in "[abé]{0,10}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&letters(&pattern), &letters(&name));
            prop_assert_eq!(Pattern::new(pattern).matches(&name), expected);
        }

        #[test]
        fn every_name_is_its_own_pattern(name in "[^*]{0,20}", more in ".{0,9}") {
            prop_assert!(Pattern::new(name.clone()).matches(&name));
            let begins = format!("{name}*");
            let longer = format!("{name}{more}");
            prop_assert!(Pattern::new(begins).matches(&longer));
        }
    }
}
