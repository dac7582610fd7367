//! The log: to standard error, one line an event.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;

/// The variable that says what to log where the option does not.
const VARIABLE: &str = "RESVIEW_LOG";

/// Starts logging at `level`, else at what [`VARIABLE`] says, else at `default`. The variable may
/// also hold a filter by module (`resview=debug,fuse=trace`). Filters by field would need a regular
/// expression engine, which is a fortieth of the program.
///
/// # Errors
/// A level that does not exist.
pub(crate) fn start(level: Option<&str>, default: &str) -> anyhow::Result<()> {
    let filter = match level {
        Some(level) => from_level(level)?,
        None => from_variable(default)?,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    tracing::subscriber::set_global_default(subscriber).context("the log was started twice")
}

/// A level only: as a filter, a mistyped level would be a module of that name, and log nothing.
fn from_level(level: &str) -> anyhow::Result<Targets> {
    let level: LevelFilter = level.parse().with_context(|| {
        format!("unknown log level {level:?}: use off, error, warn, info, debug or trace")
    })?;
    Ok(Targets::new().with_default(level))
}

fn from_variable(default: &str) -> anyhow::Result<Targets> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    from_directives(if value.is_empty() { default } else { &value })
}

fn from_directives(directives: &str) -> anyhow::Result<Targets> {
    directives.parse().with_context(|| format!("{VARIABLE}={directives:?} is no log filter"))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_mistyped_level_is_an_error_and_not_silence() {
        assert!(from_level("loud").is_err());
        assert_eq!(from_level("DEBUG").unwrap().default_level(), Some(LevelFilter::DEBUG));
        assert_eq!(from_level("off").unwrap().default_level(), Some(LevelFilter::OFF));
    }

    #[test]
    fn the_variable_may_name_modules() {
        let filter = from_directives("warn,resview=debug,fuse=trace").unwrap();
        assert!(filter.would_enable("fuse::dispatch", &Level::TRACE));
        assert!(filter.would_enable("resview", &Level::DEBUG));
        assert!(!filter.would_enable("viewfs", &Level::INFO));
        assert!(from_directives("info").unwrap().would_enable("viewfs", &Level::INFO));
        assert!(from_directives("fuse=loud").is_err());
    }
}
