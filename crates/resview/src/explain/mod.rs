//! `resview explain`: where a number that a container reads comes from.
//!
//! It runs in the command's own process and reads the kernel's files itself, by the same code as a
//! worker. A running daemon is asked for its options and its histories are read, so that the
//! numbers are those that it shows; without one there are the defaults.

mod answer;
mod asked;
mod cpu;
mod daemon;
mod formula;
mod lines;
mod look;
mod pages;
mod sources;
mod surroundings;
mod table;
mod target;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use self::answer::Answer;
pub(crate) use self::daemon::worker_pid;
use self::look::Look;
pub(crate) use self::target::resolve;
use crate::cli::{DaemonPlace, ExplainOptions};
use crate::{exit_codes, logging};

/// So many lines are explained in full; of more, a row each.
const FEW: usize = 4;

/// Prints where numbers come from.
pub(crate) fn main(options: &ExplainOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn run(options: &ExplainOptions) -> anyhow::Result<()> {
    logging::start(options.log.as_deref(), "warn")?;
    let asked = options.file.as_deref().map(asked::parse).transpose()?;
    let look = Look::at(&resolve(&options.container)?, daemon::of(&options.place))?;
    let (text, value) = match asked {
        None => table::of(&look)?,
        Some(asked) => {
            let answers = look.answers(&asked)?;
            let text = match answers.as_slice() {
                few if few.len() <= FEW => few.iter().map(Answer::text).collect(),
                many => answer::listing(many),
            };
            (text, json!({ "answers": answers }))
        }
    };
    let text = if options.json { pretty(&look, value)? } else { text };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads this has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print the answer"),
    }
}

/// As the control protocol says it: the lines of `file` for the container of a process, or one.
///
/// # Errors
/// There is no such file or line, or it cannot be looked at.
pub(crate) fn explanations(
    place: &DaemonPlace,
    pid: u32,
    file: &str,
    field: Option<&str>,
) -> anyhow::Result<Vec<api::Explanation>> {
    let file = file.strip_prefix("proc/").unwrap_or(file);
    let asked = field.map_or_else(|| file.to_owned(), |field| format!("{file}:{field}"));
    let look = Look::at(&resolve(&pid.to_string())?, daemon::of(place))?;
    let answers = look.answers(&asked::parse(&asked)?)?;
    Ok(answers.into_iter().map(Answer::into_api).collect())
}

fn pretty(look: &Look, mut value: Value) -> anyhow::Result<String> {
    let Value::Object(fields) = &mut value else { bail!("an answer is an object") };
    fields.insert("version".to_owned(), 1.into());
    fields.insert("container".to_owned(), look.whom());
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}
