//! The log: to standard error, one line an event.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// The variable that sets the level where the option does not.
const VARIABLE: &str = "RESVIEW_LOG";

/// Starts logging at `level`, else at what [`VARIABLE`] says, else at `default`. Levels are those
/// of `tracing`, and so are filters by module (`resview=debug,fuse=trace`).
///
/// # Errors
/// A level that does not exist.
pub(crate) fn start(level: Option<&str>, default: &str) -> anyhow::Result<()> {
    let from_environment = std::env::var(VARIABLE).ok();
    let directives = level.or(from_environment.as_deref()).unwrap_or(default);
    let filter = EnvFilter::builder().parse(directives).with_context(|| {
        format!("unknown log level {directives:?}: use error, warn, info, debug or trace")
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    tracing::subscriber::set_global_default(subscriber).context("the log was started twice")
}
