//! LXC, LXD and Incus: a file that all their containers include, and a mount hook.

use super::{Options, Plan};
use crate::rooted::below;

/// LXC's folder, which LXD's and Incus's packages share.
const COMMON: &str = "/usr/share/lxc/config/common.conf.d";
/// That of Incus packages which bring their own LXC.
const INCUS: &str = "/opt/incus/share/lxc/config/common.conf.d";
const FILE: &str = "50-resview.conf";
const HOOK: &str = "/usr/lib/resview/lxc.mount.hook";

const SCRIPT: &str = include_str!("lxc.mount.hook");
const NOTHING: &str = "#!/bin/sh\n# Resview was uninstalled. Containers that run start this when they reboot.\nexit 0\n";

pub(super) fn install(plan: &mut Plan, options: &Options) {
    let mountpoint = options.mountpoint.to_string_lossy().replace('\'', "'\\''");
    plan.write(HOOK, SCRIPT.replace("@MOUNTPOINT@", &mountpoint), 0o755);
    let conf = format!(
        "# Resview: the container's own numbers in /proc and /sys.\nlxc.hook.mount = {HOOK}\n"
    );
    plan.write(&format!("{COMMON}/{FILE}"), conf.clone(), 0o644);
    if below(&options.root, INCUS).is_dir() {
        plan.write(&format!("{INCUS}/{FILE}"), conf, 0o644);
    }
    if plan.changes_something() {
        plan.say("containers get the view when they start the next time");
    }
}

pub(super) fn uninstall(plan: &mut Plan, options: &Options) {
    plan.remove(&format!("{COMMON}/{FILE}"));
    plan.remove(&format!("{INCUS}/{FILE}"));
    if options.purge {
        plan.remove(HOOK);
    } else if below(&options.root, HOOK).exists() {
        plan.write(HOOK, NOTHING.to_owned(), 0o755);
        plan.say(format!("{HOOK} stays, without effect, for containers that reboot"));
    }
}
