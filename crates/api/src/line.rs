//! Framing: one JSON object per line, and no line above [`LINE_MAX`].

use std::io::{self, Read, Write};

use serde::Serialize;
use serde_json::Value;

use crate::VERSION;

/// The longest line, in bytes, its newline not counted.
pub const LINE_MAX: usize = 1 << 20;

/// How much is read at a time, in bytes.
const CHUNK: usize = 16 << 10;

/// Why there is no line, or none that can be understood.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// More than [`LINE_MAX`] bytes without a newline.
    #[error("a line of more than {LINE_MAX} bytes; send less at once, or name fewer files")]
    TooLong,
    /// The other side ended inside a line.
    #[error("the connection ended in the middle of a line")]
    Cut,
    /// Not a JSON object.
    #[error("not a JSON object on one line: {0}")]
    Json(String),
    /// The object is in another version of the protocol, or says none.
    #[error("version {theirs} of the protocol; this side speaks version {VERSION}")]
    Version {
        /// What the line says under `version`, `no` if it says nothing.
        theirs: String,
    },
    /// Reading or writing failed, or took too long (`WouldBlock`, `TimedOut`).
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads lines from a stream.
#[derive(Debug)]
pub struct LineReader<R> {
    stream: R,
    /// What was read and not yet given out.
    buffer: Vec<u8>,
}

impl<R: Read> LineReader<R> {
    /// A reader of `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The stream.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The next line without its newline; `None` at a clean end.
    ///
    /// # Errors
    /// [`LineError::TooLong`], [`LineError::Cut`], [`LineError::Io`].
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let mut searched = 0;
        loop {
            let unseen = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|&byte| byte == b'\n') {
                let end = searched.saturating_add(at);
                if end > LINE_MAX {
                    return Err(LineError::TooLong);
                }
                let rest = self.buffer.split_off(end.saturating_add(1));
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > LINE_MAX {
                return Err(LineError::TooLong);
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(LineError::Cut) };
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; CHUNK];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What is in a line, without its `version`, which is checked.
///
/// # Errors
/// [`LineError::Json`], [`LineError::Version`].
pub(crate) fn parse(line: &[u8]) -> Result<Value, LineError> {
    let mut value: Value =
        serde_json::from_slice(line).map_err(|error| LineError::Json(error.to_string()))?;
    let Some(object) = value.as_object_mut() else {
        return Err(LineError::Json("it is another kind of value".to_owned()));
    };
    match object.remove("version") {
        Some(version) if version.as_u64() == Some(VERSION) => Ok(value),
        version => {
            let theirs = version.map_or_else(|| "no".to_owned(), |version| version.to_string());
            // What somebody else sent goes into a message, so it is kept short.
            Err(LineError::Version { theirs: theirs.chars().take(40).collect() })
        }
    }
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u64,
    #[serde(flatten)]
    body: &'a T,
}

/// A message as a line, with its newline.
///
/// # Errors
/// [`LineError::TooLong`], or [`LineError::Json`] when the message holds a path that is not UTF-8.
pub(crate) fn print(body: &impl Serialize) -> Result<Vec<u8>, LineError> {
    let mut line = serde_json::to_vec(&Versioned { version: VERSION, body })
        .map_err(|error| LineError::Json(error.to_string()))?;
    if line.len() > LINE_MAX {
        return Err(LineError::TooLong);
    }
    line.push(b'\n');
    Ok(line)
}

/// Writes a message as a line.
///
/// # Errors
/// As [`print`], and [`LineError::Io`].
pub(crate) fn write(stream: &mut impl Write, body: &impl Serialize) -> Result<(), LineError> {
    stream.write_all(&print(body)?)?;
    Ok(stream.flush()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of a fixed size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    #[test]
    fn a_line_of_the_longest_length_passes_and_one_byte_more_does_not() {
        let mut text = vec![b'x'; LINE_MAX];
        text.push(b'\n');
        let line = LineReader::new(text.as_slice()).next_line().unwrap().unwrap();
        assert_eq!(line.len(), LINE_MAX);
        text.insert(0, b'x');
        let error = LineReader::new(text.as_slice()).next_line().unwrap_err();
        assert!(matches!(error, LineError::TooLong), "{error}");
    }

    #[test]
    fn an_endless_line_is_refused_before_it_fills_memory() {
        let error = LineReader::new(io::repeat(b'x')).next_line().unwrap_err();
        assert!(matches!(error, LineError::TooLong), "{error}");
    }

    #[test]
    fn an_end_inside_a_line_is_no_line() {
        let mut lines = LineReader::new(&b"one\ntw"[..]);
        assert_eq!(lines.next_line().unwrap().unwrap(), b"one");
        assert!(matches!(lines.next_line(), Err(LineError::Cut)));
    }

    #[test]
    fn another_version_is_refused_with_both_numbers() {
        for (line, theirs) in [("{\"version\":2}", "2"), ("{}", "no"), ("{\"version\":\"1\"}", "1")]
        {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(matches!(error, LineError::Version { .. }), "{error}");
            assert!(error.to_string().contains(theirs) && error.to_string().contains("version 1"));
        }
        assert!(matches!(parse(b"[1]"), Err(LineError::Json(_))));
        assert!(matches!(parse(&[b'['; 5000]), Err(LineError::Json(_))));
    }

    proptest! {
        #[test]
        fn lines_come_out_as_they_went_in(
            lines in proptest::collection::vec("[^\n]{0,40}", 0..8),
            piece in 1_usize..50,
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut reader = LineReader::new(Pieces(text.as_bytes(), piece));
            for line in &lines {
                let read = reader.next_line().unwrap().unwrap();
                prop_assert_eq!(line.as_bytes(), read.as_slice());
            }
            prop_assert!(reader.next_line().unwrap().is_none());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
