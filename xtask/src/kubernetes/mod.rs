//! A Kubernetes of current releases, on this machine: its programs, built from their Go modules, and the
//! scripts that start them, for tests and by hand.

mod build;
mod go;
mod harness;
mod versions;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
pub(crate) use harness::{CONTROL_PLANE, CRI, Harness, NODE};
pub(crate) use versions::Needs;

/// `cargo xtask kubernetes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, clap::Subcommand)]
enum Chore {
    /// Build the programs of Kubernetes and of its nodes, as far as they are missing; print where they are
    Build {
        /// Only what this needs
        #[arg(long, value_enum, default_value = "node")]
        only: Needs,
    },
    /// Run a command beside a Kubernetes that ends with it; KUBECONFIG says how to reach it
    Run {
        /// How much of it
        #[arg(long, value_enum, default_value = "control-plane")]
        with: Needs,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Does one of them.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    match &args.chore {
        Chore::Build { only } => {
            for folder in build::fetch(*only)? {
                println!("{}", folder.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Chore::Run { with, command } => run(*with, command),
    }
}

fn run(with: Needs, command: &[String]) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("namespaces need root");
    }
    let (scripts, start) = match with {
        Needs::ControlPlane => (CONTROL_PLANE, include_str!("run/control-plane.sh")),
        Needs::Cri => (CRI, include_str!("run/cri.sh")),
        Needs::Node => (NODE, include_str!("run/node.sh")),
    };
    let harness = Harness::new(with)?;
    let place = format!("resview-kubernetes-{}", std::process::id());
    let script = [scripts, &[include_str!("run/end.sh"), start]].concat().concat();
    let mut shell = harness.command(&script, &place);
    let status = shell.args(command).status().context("cannot start unshare")?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
