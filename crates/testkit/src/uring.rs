//! FUSE over io_uring, which is off unless the administrator switches it on, for the machine.

use std::fs::{self, File};
use std::path::Path;

/// `Y` or `N`; not there before Linux 6.14, nor where the kernel was built without.
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// As long as this lives, new FUSE connections are offered io_uring, if the kernel has it. Afterwards
/// the switch is as it was. One at a time, in all processes.
#[derive(Debug)]
pub struct Enabled {
    /// What it was, and the right to change it; `None`: there is no such thing.
    before: Option<(String, File)>,
}

impl Enabled {
    /// Waits for others to be done, and switches it on.
    ///
    /// # Panics
    /// Where there is a switch that cannot be moved.
    #[must_use]
    pub fn switch_on() -> Self {
        if !Path::new(SWITCH).exists() {
            return Self { before: None };
        }
        // Tests of several processes must not switch it off for one another.
        let lock = File::open(SWITCH).unwrap_or_else(|error| panic!("{SWITCH}: {error}"));
        lock.lock().unwrap_or_else(|error| panic!("cannot lock {SWITCH}: {error}"));
        let before = fs::read_to_string(SWITCH).unwrap_or_else(|error| panic!("{SWITCH}: {error}"));
        set("Y");
        Self { before: Some((before, lock)) }
    }

    /// Whether connections are offered it; tests look at what happens otherwise where they are not.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.before.is_some()
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        if let Some((before, _lock)) = &self.before {
            set(before.trim());
        }
    }
}

fn set(value: &str) {
    fs::write(SWITCH, value).unwrap_or_else(|error| panic!("cannot switch {SWITCH}: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_put_back() {
        if !crate::need_root("testkit::the_switch_is_put_back") {
            return;
        }
        let now = || fs::read_to_string(SWITCH).ok();
        let enabled = Enabled::switch_on();
        assert_eq!(now().map(|now| now.trim() == "Y"), enabled.is_offered().then_some(true));
        if let Some((before, _)) = &enabled.before {
            assert!(["N", "Y"].contains(&before.trim()));
        }
    }
}
