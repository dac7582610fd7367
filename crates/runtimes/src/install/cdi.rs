//! The CDI device `resview.dev/view=on` (Container Device Interface specification).

use serde_json::{Value, json};

use super::oci::pretty;
use super::{HOOK, Options, Plan, Target, hook_link};
use crate::wrapper::hook;

/// Where all engines look for static files.
pub(super) const FILE: &str = "/etc/cdi/resview.dev-view.json";

/// The lowest version that holds what is used: Podman 4.1 takes none above 0.4.0.
const VERSION: &str = "0.3.0";

fn device(edits: &Value) -> String {
    let device = json!({ "name": "on", "containerEdits": edits });
    pretty(&json!({ "cdiVersion": VERSION, "kind": "resview.dev/view", "devices": [device] }))
}

pub(super) fn install(plan: &mut Plan, options: &Options) {
    hook_link::install(plan, options);
    let hook = |stage: &str, required| {
        let mut hook = hook(HOOK, stage, required);
        hook["hookName"] = json!(stage);
        hook
    };
    let hooks = [hook("createRuntime", options.required), hook("poststop", false)];
    plan.write(FILE, device(&json!({ "hooks": hooks })), 0o644);
    if plan.changes_something() {
        plan.say("use it with --device resview.dev/view=on; Docker 25 to 28.1 needs \"features\": {\"cdi\": true} in daemon.json");
    }
}

pub(super) fn uninstall(plan: &mut Plan, options: &Options) {
    if options.purge {
        plan.remove(FILE);
    } else if crate::rooted::below(&options.root, FILE).exists() {
        // A device must have an edit, and a container that names a device that is not there does
        // not start.
        plan.write(FILE, device(&json!({ "env": ["RESVIEW_VIEW=uninstalled"] })), 0o644);
        plan.say(format!(
            "{FILE} stays, without effect, so that containers with --device resview.dev/view=on \
             start again; remove it when there are none (uninstall --purge)"
        ));
    }
    hook_link::uninstall(plan, options, Target::Cdi);
}
