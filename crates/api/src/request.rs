//! What a client may ask.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::line::{self, LineError};
use crate::policy::Policy;
use crate::selector::Selector;

/// One request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// Give containers the view, or another choice of files or policy.
    Attach(Attach),
    /// Take it away again.
    Detach(Detach),
    /// Say which containers there are and what they see.
    List(List),
    /// Say where the numbers of a container come from.
    Explain(Explain),
    /// Say how the agent and the daemon are.
    Status(Nothing),
}

/// Give containers the view. All files of a container or none.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Which.
    pub container: Selector,
    /// Which files, by paths such as `proc/meminfo`; missing: all that the daemon serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// What they are to see; missing: as before, else as the daemon decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// Take the view away.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Detach {
    /// Which. With [`Selector::Stopped`] there is nothing to unmount any more, only to forget.
    pub container: Selector,
}

/// List containers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Which; missing: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Selector>,
}

/// Explain numbers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Whose.
    pub container: Selector,
    /// A file such as `proc/meminfo`.
    pub file: String,
    /// One of its fields, such as `MemTotal`; missing: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A request without fields.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Why a line is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No line, or none in this protocol.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The client closed without asking.
    #[error("the connection ended before there was a request")]
    Nothing,
    /// There is no such request.
    #[error("no request {name:?}; there are {}", Request::NAMES.join(", "))]
    Unknown {
        /// What the line says under `request`.
        name: String,
    },
    /// A field is missing, unknown or wrong.
    #[error("the request {name:?} is not understood: {reason}")]
    Malformed {
        /// The request.
        name: String,
        /// Which field, and what it could be.
        reason: String,
    },
}

impl Request {
    /// The names of all requests.
    pub const NAMES: &[&str] = &["attach", "detach", "list", "explain", "status"];

    /// Reads a request from a line without its newline.
    ///
    /// # Errors
    /// Why it is none, in words for the client.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        let value = line::parse(line)?;
        let name = value.get("request").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !Self::NAMES.contains(&name.as_str()) {
            return Err(RequestError::Unknown { name: name.chars().take(80).collect() });
        }
        serde_json::from_value(value)
            .map_err(|error| RequestError::Malformed { name, reason: error.to_string() })
    }

    /// The request as a line with its newline.
    ///
    /// # Errors
    /// [`LineError::TooLong`]; [`LineError::Json`] when a path is not UTF-8.
    pub fn to_line(&self) -> Result<Vec<u8>, LineError> {
        line::print(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::selector::{Created, Stopped};

    #[test]
    fn a_misspelt_field_is_refused_instead_of_attaching_everything() {
        let line = br#"{"version":1,"request":"attach","container":{"all":true},"file":["x"]}"#;
        let error = Request::parse(line).unwrap_err().to_string();
        assert!(error.contains("attach") && error.contains("`file`"), "{error}");
    }

    #[test]
    fn an_unknown_request_is_refused_with_those_that_there_are() {
        for line in [&br#"{"version":1,"request":"halt"}"#[..], br#"{"version":1}"#] {
            let error = Request::parse(line).unwrap_err();
            assert!(matches!(error, RequestError::Unknown { .. }), "{error}");
            assert!(error.to_string().contains("attach, detach, list"), "{error}");
        }
        let newer = Request::parse(br#"{"version":7,"request":"attach"}"#).unwrap_err();
        assert!(newer.to_string().contains("version 7"), "{newer}");
    }

    fn selectors() -> impl Strategy<Value = Selector> {
        prop_oneof![
            Just(Selector::All),
            ".{1,20}".prop_map(Selector::Name),
            (1_u32..).prop_map(Selector::Pid),
            "/.{0,20}".prop_map(Selector::Cgroup),
            (1_u32.., "/.{0,9}", ".{1,9}").prop_map(|(pid, root, id)| Selector::Created(Created {
                pid,
                root: Some(root.into()),
                id,
                annotations: [("a".to_owned(), "b".to_owned())].into(),
                ..Created::default()
            })),
            ".{1,9}".prop_map(|id| Selector::Stopped(Stopped { id, bundle: Some("/b".into()) })),
        ]
    }

    fn requests() -> impl Strategy<Value = Request> {
        let files = proptest::option::of(proptest::collection::vec(".{0,9}", 0..4));
        prop_oneof![
            (selectors(), files).prop_map(|(container, files)| Request::Attach(Attach {
                container,
                files,
                policy: Some(Policy::default()),
            })),
            selectors().prop_map(|container| Request::Detach(Detach { container })),
            proptest::option::of(selectors())
                .prop_map(|container| Request::List(List { container })),
            (selectors(), ".{0,9}").prop_map(|(container, file)| {
                Request::Explain(Explain { container, file, field: None })
            }),
            Just(Request::Status(Nothing {})),
        ]
    }

    proptest! {
        #[test]
        fn a_request_is_read_as_it_was_written(request in requests()) {
            let line = request.to_line().unwrap();
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let line = line.strip_suffix(b"\n").unwrap();
            prop_assert_eq!(Request::parse(line).unwrap(), request);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Request::parse(text.as_bytes());
        }
    }
}
