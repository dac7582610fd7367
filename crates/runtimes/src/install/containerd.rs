//! containerd: a runtime handler `resview` that goes through the wrapper.
//!
//! A drop-in file is possible from containerd 2.0 on (configuration version 3), where imported
//! files are merged. Before, an imported section replaced the whole one (`mergeConfig` of
//! services/server/config), so there the operator gets the lines to paste.

use std::fs;

use super::docker::install_wrapper;
use super::{InstallError, Options, Plan, Target, WRAPPER, hook_link};
use crate::rooted::below;

const MAIN: &str = "/etc/containerd/config.toml";
const DROP_IN: &str = "/etc/containerd/conf.d/resview.toml";

/// containerd's file, as far as a few words in it matter.
struct Main {
    text: String,
}

impl Main {
    fn read(options: &Options) -> Self {
        Self { text: fs::read_to_string(below(&options.root, MAIN)).unwrap_or_default() }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(str::trim).filter(|line| !line.starts_with('#'))
    }

    /// Whether a line sets `key` to something that begins with `value`.
    fn sets(&self, key: &str, value: &str) -> bool {
        let mut pairs = self.lines().filter_map(|line| line.split_once('='));
        pairs.any(|(name, found)| name.trim() == key && found.trim().starts_with(value))
    }

    fn imports_drop_ins(&self) -> bool {
        self.lines().any(|line| line.contains("/etc/containerd/conf.d/*.toml"))
    }
}

/// The lines for a version of the configuration.
fn handler(version_3: bool, systemd: bool) -> String {
    let plugin = if version_3 {
        "plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.resview"
    } else {
        "plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.resview"
    };
    format!(
        "[{plugin}]\n  runtime_type = \"io.containerd.runc.v2\"\n  pod_annotations = \
         [\"resview.dev/*\"]\n  container_annotations = [\"resview.dev/*\"]\n  \
         [{plugin}.options]\n    BinaryName = \"{WRAPPER}\"\n    SystemdCgroup = {systemd}\n"
    )
}

pub(super) fn install(plan: &mut Plan, options: &Options) -> Result<(), InstallError> {
    hook_link::install(plan, options);
    install_wrapper(plan, options, None)?;
    let main = Main::read(options);
    let version_3 = main.sets("version", "3");
    let lines = handler(version_3, main.sets("SystemdCgroup", "true"));
    if version_3 && main.imports_drop_ins() {
        plan.write(DROP_IN, format!("version = 3\n\n{lines}"), 0o644);
    } else if !is_named(options) {
        plan.say(format!("add to {MAIN} (this file is not changed):\n{lines}"));
    }
    if plan.changes_something() {
        plan.say("restart containerd; then use the runtime handler \"resview\" (a RuntimeClass), or make it default_runtime_name");
    }
    Ok(())
}

pub(super) fn uninstall(plan: &mut Plan, options: &Options) {
    plan.remove(DROP_IN);
    if Main::read(options).text.contains(WRAPPER) {
        plan.say(format!("take the lines with {WRAPPER} out of {MAIN} and restart containerd"));
    }
    // Shims of running containers and the lines above still name the wrapper.
    super::docker::uninstall_wrapper(plan, options, Target::Containerd);
    hook_link::uninstall(plan, options, Target::Containerd);
}

/// Whether containerd's configuration names the wrapper.
pub(super) fn is_named(options: &Options) -> bool {
    let names = |path| {
        let text = fs::read_to_string(below(&options.root, path));
        text.is_ok_and(|text| text.contains(WRAPPER))
    };
    names(MAIN) || names(DROP_IN)
}
