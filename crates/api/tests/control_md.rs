//! The examples of docs/control.md are what the code reads and writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use api::{Answer, Request};
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/control.md");

/// The lines of all blocks that begin with three backticks and `mark`.
fn examples(mark: &str) -> Vec<&'static str> {
    let fence = format!("```json {mark}\n");
    let blocks = PAGE.split(&fence).skip(1);
    blocks.flat_map(|rest| rest.split("```").next().unwrap_or_default().lines()).collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn every_request_of_the_page_is_read_and_written_as_it_stands() {
    let mut names = BTreeSet::new();
    for line in examples("request") {
        let request =
            Request::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        let written = request.to_line().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), json(line));
        names.insert(json(line)["request"].as_str().unwrap().to_owned());
    }
    let all: BTreeSet<_> = Request::NAMES.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(names, all, "each request has an example");
}

#[test]
fn every_answer_of_the_page_is_read_and_written_as_it_stands() {
    let mut kinds = BTreeSet::new();
    for line in examples("answer") {
        let answer =
            Answer::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        let written = answer.to_line().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), json(line));
        kinds.insert(match answer {
            Answer::Container(container) => format!("{:?}", container.outcome),
            Answer::Explanation { .. } => "explanation".to_owned(),
            Answer::Status { .. } => "status".to_owned(),
            Answer::Done(_) => "done".to_owned(),
            Answer::Failure(_) => "failure".to_owned(),
        });
    }
    assert_eq!(kinds.len(), 6 + 4, "each kind of answer and outcome has an example: {kinds:?}");
}

#[test]
fn the_page_names_every_selector() {
    for selector in ["all", "name", "pid", "cgroup", "created", "stopped"] {
        assert!(PAGE.contains(&format!("`{{\"{selector}\": ")), "{selector}");
    }
}
