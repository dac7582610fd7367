//! The AdmissionReview around a pod: what is asked, and the answer.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The group of the versions of this protocol.
const GROUP: &str = "admission.k8s.io/";
/// The version in which an answer is given if the question has none.
const V1: &str = "admission.k8s.io/v1";
/// Until Kubernetes 1.21; the two differ in nothing that is used here.
const V1BETA1: &str = "admission.k8s.io/v1beta1";
/// Kubernetes wants warnings no longer than 256 characters.
const LONGEST_WARNING_CHARACTERS: usize = 250;
/// And all together no longer than 4096.
const MOST_WARNINGS: usize = 10;

/// A question, as far as it could be read: from one that breaks off, what came before the break.
#[derive(Debug, Default)]
pub(super) struct Question<'a> {
    api_version: Option<String>,
    kind: Option<String>,
    pub(super) request: Option<Request<'a>>,
}

/// Its `request`. The objects are left as text until it is known that they are pods.
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    uid: String,
    kind: GroupVersionKind,
    pub(super) sub_resource: String,
    pub(super) operation: String,
    pub(super) namespace: String,
    pub(super) object: Option<&'a RawValue>,
    pub(super) old_object: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupVersionKind {
    group: String,
    kind: String,
}

impl<'a> Question<'a> {
    /// Reads a question; with the error, if it has one.
    pub(super) fn read(text: &'a [u8]) -> (Self, Result<(), serde_json::Error>) {
        let mut question = Self::default();
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let result = QuestionSeed(&mut question)
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end());
        (question, result)
    }

    /// Whether it is in a version that is understood here.
    pub(super) fn is_known(&self) -> bool {
        self.kind.as_deref() == Some("AdmissionReview")
            && matches!(self.api_version.as_deref(), Some(V1 | V1BETA1))
    }

    /// In which version the answer is given: the question's, even if it is not known here, as an answer
    /// in another one would be an error.
    fn answer_version(&self) -> &str {
        match self.api_version.as_deref() {
            Some(version) if version.strip_prefix(GROUP).is_some_and(is_version) => version,
            _ => V1,
        }
    }

    /// The answer: allowed, always, with a patch if there is any.
    pub(super) fn answer(&self, patch: &[Value], warnings: &[String]) -> Vec<u8> {
        let uid = self.request.as_ref().map_or("", |request| &request.uid);
        let mut response = json!({ "uid": uid, "allowed": true });
        if !patch.is_empty() {
            let text = Value::from(patch).to_string();
            response["patchType"] = "JSONPatch".into();
            response["patch"] = BASE64_STANDARD.encode(text).into();
        }
        if !warnings.is_empty() {
            let said = warnings.iter().take(MOST_WARNINGS).map(|warning| printable(warning));
            response["warnings"] = said.collect::<Vec<_>>().into();
        }
        json!({
            "apiVersion": self.answer_version(),
            "kind": "AdmissionReview",
            "response": response,
        })
        .to_string()
        .into_bytes()
    }
}

impl Request<'_> {
    /// Whether it is about a pod.
    pub(super) fn is_about_pod(&self) -> bool {
        self.kind.group.is_empty() && self.kind.kind == "Pod"
    }
}

/// Whether this is a version as Kubernetes names them: v2, v1beta3.
fn is_version(word: &str) -> bool {
    word.starts_with('v')
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// A warning as an HTTP header can carry it, which is how the API server hands it on.
fn printable(warning: &str) -> String {
    let said = format!("resview: {warning}");
    let plain = said.chars().map(|one| if one.is_control() { ' ' } else { one });
    plain.take(LONGEST_WARNING_CHARACTERS).collect()
}

/// Fills a question as it is read, so that what was read is there when the rest cannot be.
struct QuestionSeed<'q, 'a>(&'q mut Question<'a>);

impl<'de> DeserializeSeed<'de> for QuestionSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for QuestionSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an AdmissionReview")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "apiVersion" => self.0.api_version = map.next_value()?,
                "kind" => self.0.kind = map.next_value()?,
                "request" => {
                    map.next_value_seed(RequestSeed(self.0.request.insert(Request::default())))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct RequestSeed<'q, 'a>(&'q mut Request<'a>);

impl<'de> DeserializeSeed<'de> for RequestSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RequestSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an AdmissionRequest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "uid" => self.0.uid = map.next_value()?,
                "kind" => self.0.kind = map.next_value()?,
                "subResource" => self.0.sub_resource = text(&mut map)?,
                "operation" => self.0.operation = text(&mut map)?,
                "namespace" => self.0.namespace = text(&mut map)?,
                "object" => self.0.object = map.next_value()?,
                "oldObject" => self.0.old_object = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A text that may be null.
fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<String, A::Error> {
    Ok(map.next_value::<Option<String>>()?.unwrap_or_default())
}
