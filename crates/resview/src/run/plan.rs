//! What one stage of `resview run` tells the next.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cli::StageName;

/// The variable in which the plan travels. The command never sees it.
const VARIABLE: &str = "RESVIEW_RUN_PLAN";

/// Decided by the first process, carried out by the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The pid of the process that wrote this plan, as `/proc` shows it to that process.
    pub(super) parent: u32,
    /// The cgroups to join, one per hierarchy.
    pub(super) cgroups: Vec<JoinedCgroup>,
    /// The root of the view: it has `proc` and `sys`.
    pub(super) view: PathBuf,
    /// A mount that exists for the view's sake and is to go once the view is in place.
    pub(super) scratch: Option<PathBuf>,
    /// Whether there is a terminal to share with the command.
    pub(super) terminal: Terminal,
    /// Print a report instead of running a command.
    pub(super) report: bool,
}

/// A cgroup of the container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JoinedCgroup {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// Where its hierarchy is mounted; the container sees its own cgroup there.
    pub(super) mount_point: PathBuf,
}

/// The controlling terminal, as the command shall have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Terminal {
    /// There is none.
    None,
    /// The command gets it when it asks for it: it is one of a pipeline, or in the background.
    OnDemand,
    /// The command has it from the start.
    Foreground,
}

impl Plan {
    /// The plan that the stage before us made.
    pub(super) fn receive() -> anyhow::Result<Self> {
        let text = std::env::var(VARIABLE)
            .context("this is a part of `resview run`, which starts it itself")?;
        serde_json::from_str(&text).with_context(|| format!("{VARIABLE} holds no plan"))
    }

    /// The command that starts the next stage with this plan.
    pub(super) fn stage(&self, name: StageName) -> anyhow::Result<Command> {
        let text = serde_json::to_string(self).context(
            "a path that is not UTF-8 cannot be handed to the container's first process",
        )?;
        let mut command = stage_command(name);
        command.env(VARIABLE, text);
        Ok(command)
    }
}

/// This program again, as stage `name`. By `/proc/self/exe`, because the file may have been
/// replaced or be out of sight in the stage's namespaces.
pub(super) fn stage_command(name: StageName) -> Command {
    use clap::ValueEnum;
    use std::os::unix::process::CommandExt;

    let mut command = Command::new("/proc/self/exe");
    let name = name.to_possible_value();
    command.arg0("resview").arg("__stage").arg(name.as_ref().map_or("", |name| name.get_name()));
    command.env_remove(VARIABLE);
    command
}

/// Takes the plan out of what the command will inherit.
pub(super) fn hide_from(command: &mut Command) {
    command.env_remove(VARIABLE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_arrives_as_it_was_sent() {
        let plan = Plan {
            parent: 7,
            cgroups: vec![JoinedCgroup { dir: "/c/x".into(), mount_point: "/c".into() }],
            view: "/v".into(),
            scratch: Some("/run".into()),
            terminal: Terminal::OnDemand,
            report: false,
        };
        let command = plan.stage(StageName::Init).unwrap();
        let (_, value) = command.get_envs().find(|(name, _)| *name == VARIABLE).unwrap();
        let received: Plan = serde_json::from_str(value.unwrap().to_str().unwrap()).unwrap();
        assert_eq!(received, plan);
        assert!(command.get_args().eq(["__stage", "init"]));
    }
}
