//! Who the plugin is and where the runtime is.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

/// Where containerd and CRI-O have their socket unless told otherwise.
pub const SOCKET: &str = "/var/run/nri/nri.sock";

/// Who the plugin is and where the runtime is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The runtime's socket. It need not be there yet.
    pub socket: PathBuf,
    /// The plugin's name: letters, digits and `_.+-`. Need not be unique.
    pub name: String,
    /// Two digits. Plugins are called in the order of their index.
    pub index: String,
    /// How long the runtime is kept waiting for a method of the plugin, at most. Half of what the
    /// runtime grants (`plugin_request_timeout`, 2 s by default) if that is less.
    pub deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: SOCKET.into(),
            name: "resview".to_owned(),
            index: "90".to_owned(),
            deadline: Duration::from_millis(500),
        }
    }
}

impl Config {
    /// Whether runtimes will take name and index. They close the connection otherwise.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong =
            |what, value: &str, must_be| Error::Name { what, value: value.to_owned(), must_be };
        let part_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(part_of_name) {
            return Err(wrong("the plugin's name", &self.name, "letters, digits and `_.+-`"));
        }
        if self.index.len() != 2 || !self.index.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("the plugin's index", &self.index, "two digits"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_runtimes_refuse_are_refused_before_connecting() {
        let with = |name: &str, index: &str| {
            Config { name: name.into(), index: index.into(), ..Config::default() }.check().is_ok()
        };
        assert!(Config::default().check().is_ok());
        assert!(with("a_B.1+-", "00"));
        for (name, index) in
            [("", "90"), ("a b", "90"), ("é", "90"), ("a", "9"), ("a", "9a"), ("a", "٩")]
        {
            assert!(!with(name, index), "{name} {index}");
        }
    }
}
