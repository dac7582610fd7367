//! The link that engines start as hook, and what is left in its place.

use std::fs;

use super::{HOOK, Options, Plan, Target, WRAPPER};
use crate::rooted::below;

/// What a container that was made with the hook starts when Resview is gone.
const NOTHING: &str = "#!/bin/sh\n# Resview was uninstalled. Containers that were made with its hook still \
                       start this.\nexit 0\n";

pub(super) fn install(plan: &mut Plan, options: &Options) {
    plan.link(HOOK, &options.binary);
}

/// Takes the hook away when `target` was the last to use it.
pub(super) fn uninstall(plan: &mut Plan, options: &Options, target: Target) {
    let used = Target::ALL.into_iter().any(|other| other != target && uses(options, other));
    if used || fs::symlink_metadata(below(&options.root, HOOK)).is_err() {
        return;
    }
    if options.purge {
        plan.remove(HOOK);
    } else {
        plan.write(HOOK, NOTHING.to_owned(), 0o755);
    }
}

/// Whether a front end that is installed starts the hook.
fn uses(options: &Options, target: Target) -> bool {
    let holds = |path: &str, text: &str| {
        fs::read_to_string(below(&options.root, path)).is_ok_and(|found| found.contains(text))
    };
    let wraps = || {
        let wrapper = fs::read_link(below(&options.root, WRAPPER));
        wrapper.is_ok_and(|target| target == options.binary)
    };
    match target {
        Target::Oci => holds(super::oci::CREATE, HOOK),
        Target::Cdi => holds(super::cdi::FILE, HOOK),
        Target::Docker => holds(super::docker::DAEMON_JSON, WRAPPER) && wraps(),
        Target::Containerd => super::containerd::is_named(options) && wraps(),
        // Its hook mounts by itself.
        Target::Lxc => false,
    }
}
