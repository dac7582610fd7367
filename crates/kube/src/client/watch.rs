//! A watch: events, one JSON object per line, for as long as the API server sends them.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;

use super::error::{Refusal, What};
use super::{ClientError, LONGEST_ANSWER_BYTES};

/// After this long the API server ends a watch, so that a connection that died silently does not
/// leave us waiting for ever.
const LENGTH_SECONDS: u64 = 240;
/// When a watch counts as dead: later than the API server would have ended it.
const SILENCE: Duration = Duration::from_secs(LENGTH_SECONDS + 30);

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    what: What,
    body: Incoming,
    /// What was received and not handed out yet.
    received: Vec<u8>,
}

/// What happened to one object.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum Event {
    /// It is new.
    Added(Value),
    /// It changed.
    Modified(Value),
    /// It is gone; this is how it last looked.
    Deleted(Value),
    /// Nothing happened; its `metadata.resourceVersion` is where a next watch may begin.
    Bookmark(Value),
    /// The API server cannot go on; [`Watch::next`] makes it an error.
    Error(Value),
}

/// The path of a watch after a version.
pub(super) fn path(collection: &str, resource_version: &str) -> String {
    let and = if collection.contains('?') { '&' } else { '?' };
    format!(
        "{collection}{and}watch=true&allowWatchBookmarks=true&timeoutSeconds={LENGTH_SECONDS}\
         &resourceVersion={resource_version}"
    )
}

impl Watch {
    pub(super) fn new(what: What, body: Incoming) -> Self {
        Self { what, body, received: Vec::new() }
    }

    /// Waits for the next event; `None`: the API server ended the watch, as it does every few
    /// minutes: start another one after the last version seen. Can be cancelled without losing an
    /// event.
    ///
    /// # Errors
    /// The connection broke or fell silent; [`ClientError::is_gone`]: list again.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(line) = take_line(&mut self.received) {
                return self.event(&line).map(Some);
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for more bytes; `false`: there will be none.
    async fn receive(&mut self) -> Result<bool, ClientError> {
        let frame = tokio::time::timeout(SILENCE, self.body.frame())
            .await
            .map_err(|_| ClientError::TimedOut { what: self.what.clone(), after: SILENCE })?;
        let Some(frame) = frame else { return Ok(false) };
        let frame = frame.map_err(|error| ClientError::Http { what: self.what.clone(), error })?;
        if let Some(bytes) = frame.data_ref() {
            self.received.extend_from_slice(bytes);
        }
        if self.received.len() > LONGEST_ANSWER_BYTES {
            let error = "an event is too long".into();
            return Err(ClientError::Body { what: self.what.clone(), error });
        }
        Ok(true)
    }

    fn event(&self, line: &[u8]) -> Result<Event, ClientError> {
        let what = self.what.clone();
        match serde_json::from_slice(line) {
            Ok(Event::Error(status)) => {
                let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                let text = status.to_string();
                let refusal = Refusal::read(code.unwrap_or(500), text.as_bytes());
                Err(ClientError::Refused { what, refusal })
            }
            Ok(event) => Ok(event),
            Err(error) => Err(ClientError::Answer { what, error }),
        }
    }
}

/// Takes the first line that is complete and not empty.
fn take_line(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let end = received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = received.drain(..=end).collect();
        if !line.trim_ascii().is_empty() {
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_out_one_by_one_and_only_when_complete() {
        let mut received = b"\r\n\n{\"a\":1}\n{\"b\"".to_vec();
        assert_eq!(take_line(&mut received).unwrap(), b"{\"a\":1}\n");
        assert_eq!(take_line(&mut received), None);
        received.extend_from_slice(b":2}\n");
        assert_eq!(take_line(&mut received).unwrap(), b"{\"b\":2}\n");
        assert!(received.is_empty());
    }
}
