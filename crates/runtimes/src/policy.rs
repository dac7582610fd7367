//! Who gets the view when nothing is said.

use api::View;
use serde::{Deserialize, Serialize};

/// Which containers a front end is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptIn {
    /// Every container, unless it says `off`.
    #[default]
    All,
    /// Only a container that says `on`.
    OptIn,
}

impl OptIn {
    /// Whether a container that says this is to get the view.
    #[must_use]
    pub fn wants(self, said: Option<View>) -> bool {
        match said {
            Some(view) => view == View::On,
            None => self == Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_says_counts_more_than_the_default() {
        assert!(OptIn::All.wants(None) && !OptIn::OptIn.wants(None));
        for default in [OptIn::All, OptIn::OptIn] {
            assert!(default.wants(Some(View::On)) && !default.wants(Some(View::Off)));
        }
    }
}
