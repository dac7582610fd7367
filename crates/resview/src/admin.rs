//! `resview status`, `upgrade` and `stop`: the administrator's side of the control socket.

use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use control::{Answer, Client, Request, socket_path};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::cli::{DaemonPlace, StatusOptions, StopOptions, UpgradeOptions};
use crate::exit_codes;
use crate::mountpoint::{has_view, resolve};
use crate::nri::Report;
use crate::output;
use crate::runtime_dir;
use crate::slots::{Shown, Slots};
use crate::supervise::slots_dir;

/// How long a daemon may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to bring up a new worker, end the old one, or unmount.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// `resview status`: exit code 0 if the daemon serves, 3 if there is none, as `systemctl status`.
pub(crate) fn status(options: &StatusOptions) -> ExitCode {
    let result = report(&options.place).and_then(|(report, is_served)| {
        if options.json {
            output::line(serde_json::to_string_pretty(&report)?);
        } else {
            output::print(text(&report));
        }
        Ok(if is_served { exit_codes::OK } else { exit_codes::NOT_RUNNING })
    });
    ended(result)
}

/// `resview upgrade`
pub(crate) fn upgrade(options: &UpgradeOptions) -> ExitCode {
    ended(upgraded(options))
}

fn upgraded(options: &UpgradeOptions) -> anyhow::Result<exit_codes::Code> {
    let program = options.program.as_deref().map(std::fs::canonicalize).transpose();
    let program = program.context("cannot find the new program")?;
    match ask(&options.place, &Request::Upgrade { program })? {
        Answer::Done { old, new } => {
            let (new, old) = (new.display(), old.display());
            output::line(format_args!("upgraded: {new} serves, in the place of {old}"));
            Ok(exit_codes::OK)
        }
        Answer::RolledBack { why } => bail!("the old worker goes on, because the new one {why}"),
        other => bail!("the daemon answers {other:?}"),
    }
}

/// `resview stop`
pub(crate) fn stop(options: &StopOptions) -> ExitCode {
    ended(stopped(&options.place).map(|()| exit_codes::OK))
}

/// Ends a daemon, or a worker whose supervisor is dead, and unmounts the view.
///
/// # Errors
/// Nobody is there, or does not end.
pub(crate) fn stopped(place: &DaemonPlace) -> anyhow::Result<()> {
    let report = client(place)?.status(PATIENCE)?;
    if report.get("supervisor").is_none() {
        return stop_orphan(place);
    }
    ask(place, &Request::Stop { unmount: true }).map(drop)
}

/// Ends a worker whose supervisor is dead. It has given up the power to unmount its tree.
fn stop_orphan(place: &DaemonPlace) -> anyhow::Result<()> {
    let client = client(place)?;
    let predecessor = client.take_over(PATIENCE)?;
    let mountpoint = resolve(&place.mountpoint)?;
    client.release(LONG_PATIENCE).with_context(|| {
        let pid = predecessor.worker_pid.map_or_else(String::new, |pid| format!(" {pid}"));
        format!("the worker{pid} does not end; kill it, and unmount {}", mountpoint.display())
    })?;
    if has_view(&mountpoint)? {
        fuse::unmount(&mountpoint)?;
    }
    // Only now do the connections end: nobody looks up a path through a dead view.
    drop(predecessor);
    end_agent(&runtime_dir::socket(&place.runtime_dir, &mountpoint))?;
    let socket = socket_path(&own_dir(place)?);
    std::fs::remove_file(&socket).with_context(|| format!("cannot remove {}", socket.display()))
}

/// Ends the agent that listens there, if one does: its supervisor would have.
fn end_agent(socket: &Path) -> anyhow::Result<()> {
    let Ok(stream) = UnixStream::connect(socket) else { return Ok(()) };
    let agent = socket_peercred(&stream).context("cannot tell who the agent is")?.pid;
    kill_process(agent, Signal::TERM).with_context(|| {
        let pid = agent.as_raw_nonzero();
        format!("cannot end the agent, process {pid}; do so by hand: kill {pid}")
    })
}

fn ask(place: &DaemonPlace, request: &Request) -> anyhow::Result<Answer> {
    Ok(client(place)?.ask(request, LONG_PATIENCE)?)
}

fn client(place: &DaemonPlace) -> anyhow::Result<Client> {
    Ok(Client::connect(&own_dir(place)?)?)
}

fn own_dir(place: &DaemonPlace) -> anyhow::Result<PathBuf> {
    Ok(runtime_dir::of(&place.runtime_dir, &resolve(&place.mountpoint)?))
}

/// What there is to say, and whether anybody serves.
fn report(place: &DaemonPlace) -> anyhow::Result<(Value, bool)> {
    let (daemon, is_served) = match client(place).and_then(|client| Ok(client.status(PATIENCE)?)) {
        Ok(report) => (report, true),
        Err(error) => (json!({ "error": format!("{error:#}") }), false),
    };
    let slots = Slots::new(slots_dir(&place.runtime_dir)).shown()?;
    let of = |wanted| slots.iter().filter(|(_, shown)| *shown == wanted).count();
    let slots = json!({ "view": of(Shown::View), "host": of(Shown::Host) });
    let mut report = json!({ "mountpoint": place.mountpoint, "daemon": daemon, "slots": slots });
    let mountpoint = resolve(&place.mountpoint)?;
    if let Some(nri) = Report::read(&runtime_dir::socket(&place.runtime_dir, &mountpoint)) {
        report["nri"] = serde_json::to_value(nri)?;
    }
    Ok((report, is_served))
}

/// Names and values, one a line, nested ones indented.
fn text(report: &Value) -> String {
    let mut out = String::new();
    lines(report, 0, &mut out);
    out
}

fn lines(value: &Value, depth: usize, out: &mut String) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let name = name.replace('_', " ");
        let indent = depth * 2;
        // Writing to a String cannot fail.
        let _ = match value {
            Value::Object(_) => writeln!(out, "{:indent$}{name}:", ""),
            Value::Array(all) if all.iter().any(Value::is_object) => {
                writeln!(out, "{:indent$}{name}: {}", "", places(all))
            }
            Value::String(text) => writeln!(out, "{:indent$}{name}: {text}", ""),
            other => writeln!(out, "{:indent$}{name}: {other}", ""),
        };
        lines(value, depth + 1, out);
    }
}

/// Connections, by what they serve and where.
fn places(connections: &[Value]) -> String {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or("?").to_owned();
    let how = |one: &Value| match one["transport"].as_str() {
        Some("io-uring") => " (over io_uring: not crash-safe)",
        _ => "",
    };
    let place =
        |one: &Value| format!("{} at {}{}", text(one, "role"), text(one, "mountpoint"), how(one));
    connections.iter().map(place).collect::<Vec<_>>().join(", ")
}

fn ended(result: anyhow::Result<exit_codes::Code>) -> ExitCode {
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_that_is_not_crash_safe_is_named() {
        let one = |transport| json!({"role": "shared", "mountpoint": "/v", "transport": transport});
        assert_eq!(places(&[one("device")]), "shared at /v");
        assert_eq!(places(&[one("io-uring")]), "shared at /v (over io_uring: not crash-safe)");
    }

    #[test]
    fn a_report_is_text_that_can_be_read() {
        let connections = json!([{"role": "shared", "mountpoint": "/v", "negotiated": {}}]);
        let daemon = json!({"worker": {"open_handles": 3}, "connections": connections});
        let report = json!({"mountpoint": "/v", "daemon": daemon});
        assert_eq!(
            text(&report),
            "mountpoint: /v\ndaemon:\n  worker:\n    open handles: 3\n  connections: shared at /v\n"
        );
    }
}
