//! Docker: the wrapper as a runtime in daemon.json.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::oci::pretty;
use super::{InstallError, Options, Plan, Target, WRAPPER, hook_link};
use crate::json_file;
use crate::rooted::below;
use crate::wrapper::{CONFIG, Config, USUAL_HINTS, find_runtime};

pub(super) const DAEMON_JSON: &str = "/etc/docker/daemon.json";
const NAME: &str = "resview";
const RELOAD: &str = "let Docker read daemon.json again: systemctl reload docker (SIGHUP)";

/// daemon.json with the way it is written.
struct Daemon {
    object: Map<String, Value>,
    indent: String,
    changes: Vec<String>,
}

impl Daemon {
    fn read(options: &Options) -> Result<Self, InstallError> {
        let path = below(&options.root, DAEMON_JSON);
        let content = |reason: String| InstallError::Content { path: path.clone(), reason };
        let bytes = match json_file::read_bytes(&path) {
            Err(error) if error.is_missing() => Vec::new(),
            bytes => bytes.map_err(|error| content(error.to_string()))?,
        };
        // dockerd takes an empty file, too.
        let empty = bytes.trim_ascii().is_empty();
        let text = if empty { &b"{}"[..] } else { bytes.as_slice() };
        let value: Value =
            serde_json::from_slice(text).map_err(|error| content(error.to_string()))?;
        let Value::Object(object) = value else {
            return Err(content("it is no object".to_owned()));
        };
        if object.get("runtimes").is_some_and(|runtimes| !runtimes.is_object()) {
            return Err(content("\"runtimes\" is no object".to_owned()));
        }
        Ok(Self { object, indent: indent(&bytes), changes: Vec::new() })
    }

    fn default_runtime(&self) -> Option<&str> {
        self.object.get("default-runtime").and_then(Value::as_str)
    }

    fn runtime(&self, name: &str) -> Option<&Value> {
        self.object.get("runtimes")?.get(name)
    }

    fn set_runtime(&mut self, path: &Path) {
        let value = json!({ "path": path });
        if self.runtime(NAME) != Some(&value) {
            self.changes.push(format!("runtimes.{NAME} = {value}"));
            let runtimes = self.object.entry("runtimes").or_insert_with(|| json!({}));
            runtimes[NAME] = value;
        }
    }

    fn set_default(&mut self, name: &str) {
        if self.default_runtime() != Some(name) {
            self.changes.push(format!("default-runtime = {name:?}"));
            self.object.insert("default-runtime".to_owned(), Value::from(name));
        }
    }

    fn remove_runtime(&mut self) {
        let Some(Value::Object(runtimes)) = self.object.get_mut("runtimes") else { return };
        if runtimes.shift_remove(NAME).is_some() {
            self.changes.push(format!("runtimes.{NAME} removed"));
            if runtimes.is_empty() {
                self.object.shift_remove("runtimes");
            }
        }
    }

    fn plan(self, plan: &mut Plan) {
        let mut text = Vec::new();
        let formatter = PrettyFormatter::with_indent(self.indent.as_bytes());
        let mut serializer = Serializer::with_formatter(&mut text, formatter);
        // A map of values that were just read can be written.
        if serde::Serialize::serialize(&self.object, &mut serializer).is_ok() {
            let text = String::from_utf8_lossy(&text).into_owned();
            plan.merge(DAEMON_JSON, text + "\n", self.changes);
        }
    }
}

/// The white space before the first key.
fn indent(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let first = text.lines().find(|line| line.trim_start().starts_with('"'));
    let found =
        first.map(|line| line.chars().take_while(|c| c.is_whitespace()).collect::<String>());
    found.filter(|indent| !indent.is_empty()).unwrap_or_else(|| "  ".to_owned())
}

pub(super) fn install(plan: &mut Plan, options: &Options) -> Result<(), InstallError> {
    let mut daemon = Daemon::read(options)?;
    let before = daemon.default_runtime().filter(|&name| name != NAME).map(str::to_owned);
    hook_link::install(plan, options);
    let before = before.filter(|_| options.default_runtime);
    let mut wraps = None;
    if let (Some(name), None) = (&before, &options.runtime) {
        wraps = wrapped(&daemon, name)?;
    }
    install_wrapper(plan, options, Some((before, wraps)))?;
    daemon.set_runtime(Path::new(WRAPPER));
    if options.default_runtime {
        daemon.set_default(NAME);
    }
    daemon.plan(plan);
    if plan.changes_something() {
        plan.say(RELOAD);
        plan.say(if options.default_runtime {
            "every new container gets the view; -e RESVIEW_VIEW=off opts out"
        } else {
            "use it with docker run --runtime resview"
        });
    }
    Ok(())
}

/// The program behind a default runtime that the wrapper is to replace; none for Docker's own.
fn wrapped(daemon: &Daemon, name: &str) -> Result<Option<PathBuf>, InstallError> {
    let error = |reason| InstallError::Runtime { name: name.to_owned(), reason };
    if name == "runc" && daemon.runtime(name).is_none() {
        return Ok(None);
    }
    let runtime = daemon.runtime(name).ok_or_else(|| error("is a shim of its own"))?;
    if runtime.get("runtimeArgs").and_then(Value::as_array).is_some_and(|args| !args.is_empty()) {
        return Err(error("has arguments (runtimeArgs)"));
    }
    let path = runtime.get("path").and_then(Value::as_str);
    if path == Some(WRAPPER) {
        return Err(error("is the wrapper already, under another name"));
    }
    path.map(|path| Some(PathBuf::from(path))).ok_or_else(|| error("is a shim of its own"))
}

/// The wrapper's configuration as it is, `null` if there is none.
fn configured(options: &Options) -> Result<Option<Config>, InstallError> {
    let path = below(&options.root, CONFIG);
    match json_file::read(&path) {
        Ok(config) => Ok(Some(config)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(InstallError::Content { path, reason: error.to_string() }),
    }
}

/// The link and the configuration of the wrapper. `docker` is the default runtime of before and
/// the program behind it.
pub(super) fn install_wrapper(
    plan: &mut Plan,
    options: &Options,
    docker: Option<(Option<String>, Option<PathBuf>)>,
) -> Result<(), InstallError> {
    let mut config = configured(options)?.unwrap_or_default();
    let (before, wraps) = docker.unwrap_or_default();
    config.runtime = options.runtime.clone().or(wraps).or(config.runtime);
    config.view = options.view.unwrap_or(config.view);
    config.required |= options.required;
    config.docker_default_before = before.or(config.docker_default_before);
    match options.hints {
        Some(true) => config.hints = USUAL_HINTS.iter().map(|&name| name.to_owned()).collect(),
        Some(false) => config.hints.clear(),
        None => {}
    }
    let value = serde_json::to_value(&config).unwrap_or_default();
    plan.write(CONFIG, pretty(&value), 0o644);
    plan.link(WRAPPER, &options.binary);
    Ok(())
}

pub(super) fn uninstall(plan: &mut Plan, options: &Options) -> Result<(), InstallError> {
    let mut daemon = Daemon::read(options)?;
    let config = configured(options)?.unwrap_or_default();
    if daemon.default_runtime() == Some(NAME) {
        // By name even if there was none before: a daemon that reads the file again keeps a default
        // that is no longer there, and gives it to containers.
        daemon.set_default(config.docker_default_before.as_deref().unwrap_or("runc"));
    }
    let users = users(options);
    if daemon.runtime(NAME).is_some() {
        if users.is_empty() || options.purge {
            daemon.remove_runtime();
        } else {
            // Without the name, `docker start` says "unknown or invalid runtime name".
            daemon.set_runtime(&real_runtime(options, &config));
            plan.say(format!(
                "the runtime name {NAME:?} stays in {DAEMON_JSON}, leading to the real runtime: \
                 {} containers were made with it ({}); uninstall again when they are gone",
                users.len(),
                users.join(", ")
            ));
        }
    }
    let changed = !daemon.changes.is_empty();
    daemon.plan(plan);
    if changed {
        plan.say(RELOAD);
    }
    uninstall_wrapper(plan, options, Target::Docker);
    hook_link::uninstall(plan, options, Target::Docker);
    Ok(())
}

/// Lets the wrapper's name lead to the real runtime, unless another engine still uses it. Shims of
/// running containers, and engines that have not read their configuration again, execute it.
pub(super) fn uninstall_wrapper(plan: &mut Plan, options: &Options, target: Target) {
    let used = match target {
        Target::Docker => super::containerd::is_named(options),
        _ => fs::read_to_string(below(&options.root, DAEMON_JSON))
            .is_ok_and(|text| text.contains(WRAPPER)),
    };
    if used || fs::symlink_metadata(below(&options.root, WRAPPER)).is_err() {
        return;
    }
    let config = configured(options).ok().flatten().unwrap_or_default();
    if options.purge {
        plan.remove(WRAPPER);
    } else {
        plan.link(WRAPPER, &real_runtime(options, &config));
        plan.say(format!(
            "{WRAPPER} stays, leading to the real runtime: containers that run are stopped by it; \
             remove it when there are none (uninstall --purge)"
        ));
    }
    plan.remove(CONFIG);
}

/// The runtime that was wrapped, as the engine sees it.
fn real_runtime(options: &Options, config: &Config) -> PathBuf {
    let named = config.runtime.clone().or_else(|| options.runtime.clone());
    named.unwrap_or_else(|| {
        let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
        let path = folders.map(|folder| below(&options.root, folder));
        let path = std::env::join_paths(path).unwrap_or_default();
        let found = find_runtime(OsStr::new(&path), Some(&below(&options.root, &options.binary)));
        let found =
            found.and_then(|found| Some(found.strip_prefix(&options.root).ok()?.to_owned()));
        Path::new("/").join(found.unwrap_or_else(|| PathBuf::from("usr/bin/runc")))
    })
}

/// The short ids of Docker's containers that were made with the runtime name.
fn users(options: &Options) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct HostConfig {
        #[serde(rename = "Runtime", default)]
        runtime: Option<String>,
    }
    let containers =
        below(&options.root, crate::find::docker_data_root(&options.root).join("containers"));
    let entries = fs::read_dir(containers).into_iter().flatten().flatten();
    let mut users: Vec<String> = entries
        .filter(|entry| {
            let host: Result<HostConfig, _> =
                json_file::read(&entry.path().join("hostconfig.json"));
            host.is_ok_and(|host| host.runtime.as_deref() == Some(NAME))
        })
        .map(|entry| entry.file_name().to_string_lossy().chars().take(12).collect())
        .collect();
    users.sort_unstable();
    users
}
