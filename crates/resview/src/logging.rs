//! The log: to standard error, one line an event.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The variable that says what to log where the option does not.
const VARIABLE: &str = "RESVIEW_LOG";

/// Starts logging at `level`, else at what [`VARIABLE`] says, else at `default`. The variable may
/// also hold a filter by module, as `tracing` has them (`resview=debug,fuse=trace`).
///
/// # Errors
/// A level that does not exist.
pub(crate) fn start(level: Option<&str>, default: &str) -> anyhow::Result<()> {
    let filter = match level {
        Some(level) => from_level(level)?,
        None => from_variable(default)?,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    tracing::subscriber::set_global_default(subscriber).context("the log was started twice")
}

/// A level only: as a filter, a mistyped level would be a module of that name, and log nothing.
fn from_level(level: &str) -> anyhow::Result<EnvFilter> {
    let level: LevelFilter = level.parse().with_context(|| {
        format!("unknown log level {level:?}: use off, error, warn, info, debug or trace")
    })?;
    Ok(EnvFilter::new(level.to_string()))
}

fn from_variable(default: &str) -> anyhow::Result<EnvFilter> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    let directives = if value.is_empty() { default } else { &value };
    let filter = EnvFilter::builder().parse(directives);
    filter.with_context(|| format!("{VARIABLE}={directives:?} is no log filter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_an_error_and_not_silence() {
        assert!(from_level("loud").is_err());
        assert_eq!(from_level("DEBUG").unwrap().to_string(), "debug");
        assert_eq!(from_level("off").unwrap().to_string(), "off");
    }
}
