//! hooks.d: Podman and CRI-O (oci-hooks(5) of containers/common).
//!
//! A file that is not understood there keeps every container from starting, so these have nothing
//! but what the format had in its first version.

use serde_json::{Value, json};

use super::{HOOK, Options, Plan, Target, hook_link, text_of};
use crate::policy::OptIn;
use crate::wrapper::hook;

/// The hook that attaches. Engines run hooks in the order of their files' names.
pub(super) const CREATE: &str = "/usr/share/containers/oci/hooks.d/50-resview.json";
/// One file has one command line for all its stages, so the end has its own.
const STOP: &str = "/usr/share/containers/oci/hooks.d/50-resview-poststop.json";

pub(super) fn install(plan: &mut Plan, options: &Options) {
    hook_link::install(plan, options);
    let when = match options.view.unwrap_or_default() {
        OptIn::All => json!({ "always": true }),
        // Both sides are regular expressions.
        OptIn::OptIn => json!({ "annotations": { "^resview\\.dev/view$": "^on$" } }),
    };
    for (path, stage, required) in
        [(CREATE, "createRuntime", options.required), (STOP, "poststop", false)]
    {
        let hook = hook(HOOK, stage, required);
        let file = json!({ "version": "1.0.0", "hook": hook, "when": when, "stages": [stage] });
        plan.write(path, pretty(&file), 0o644);
    }
}

pub(super) fn uninstall(plan: &mut Plan, options: &Options) {
    // Podman and CRI-O make config.json anew at each start, without these hooks then.
    plan.remove(CREATE);
    plan.remove(STOP);
    hook_link::uninstall(plan, options, Target::Oci);
    if plan.changes_something() && !options.purge {
        plan.say(format!("{} stays for containers that run", text_of(HOOK.as_ref())));
    }
}

/// JSON for people, with a newline at its end.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
