//! `resview install` and `uninstall`, and what engines then start: the OCI hook and the runtime
//! wrapper.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use runtimes::hook::{self, Stage};
use runtimes::install::{self, Plan, Target};
use runtimes::{OptIn, wrapper};

use crate::cli::DEFAULT_MOUNTPOINT;
use crate::exit_codes;
use crate::output;

/// Have an engine give its containers the view
///
/// Prints each file that it writes, and what remains to be done by hand. What is there already is
/// left as it is. docs/engines.md has the flag by which a container asks for the view.
#[derive(Args, Debug)]
pub(crate) struct InstallOptions {
    #[command(flatten)]
    common: CommonOptions,

    /// Which containers get the view: all but those that say off, or those that say on (with the
    /// annotation or label resview.dev/view) [default: all]
    #[arg(long, value_name = "WHICH", value_enum)]
    view: Option<ViewFor>,

    /// Containers that cannot get the view must not start
    #[arg(long)]
    required: bool,

    /// Docker: make the wrapper the default runtime, for containers without --runtime resview too
    #[arg(long = "default")]
    default_runtime: bool,

    /// The wrapper: tell programs their CPUs in the environment as well (GOMAXPROCS,
    /// OMP_NUM_THREADS …)
    #[arg(long, overrides_with = "no_hints")]
    hints: bool,

    /// The wrapper: no longer do that
    #[arg(long)]
    no_hints: bool,

    /// The real runtime behind the wrapper [default: the first of runc and crun]
    #[arg(long, value_name = "PATH")]
    runtime: Option<PathBuf>,

    /// LXC: where the daemon's view is mounted
    #[arg(long, value_name = "DIR", default_value = DEFAULT_MOUNTPOINT)]
    mountpoint: PathBuf,
}

/// Take back what install has written
///
/// What containers that were made with it need in order to start again stays, and does nothing.
#[derive(Args, Debug)]
pub(crate) struct UninstallOptions {
    #[command(flatten)]
    common: CommonOptions,

    /// Take away that, too: such containers no longer start
    #[arg(long)]
    purge: bool,
}

#[derive(Args, Debug)]
struct CommonOptions {
    /// oci (Podman, CRI-O: hooks.d), cdi (--device resview.dev/view=on), docker, containerd, or lxc
    /// (LXC, LXD, Incus)
    #[arg(value_name = "ENGINE", required = true)]
    engines: Vec<Target>,

    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Before every path: to install into a directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,

    /// This program, as engines will see it [default: the one that runs]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ViewFor {
    All,
    OptIn,
}

/// The hook that OCI runtimes start for each container
///
/// Reads the container's state from standard input and has the daemon attach it. A container that
/// cannot be attached starts with the host's values, and a line in the log says why.
#[derive(Args, Debug)]
pub(crate) struct HookOptions {
    /// When: createRuntime (or prestart), or poststop
    #[arg(value_name = "STAGE")]
    stage: Stage,

    /// The container must not start without the view
    #[arg(long)]
    required: bool,

    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = api::DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// The runtime that engines start in the place of runc or crun
///
/// Adds the hook to each container that is made, unless that says RESVIEW_VIEW=off in its
/// environment, and becomes the real runtime. Also under the name resview-runtime.
#[derive(Args, Debug)]
pub(crate) struct RuntimeOptions {
    /// What the real runtime takes; before it --runtime PATH names that
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

/// The real runtime's arguments, if this process was started as one: by the name of a link, or as
/// `resview oci-runtime`.
pub(crate) fn as_runtime(arguments: &[OsString]) -> Option<&[OsString]> {
    let name = arguments.first().map(Path::new)?.file_name();
    if name == Some(OsStr::new(wrapper::NAME)) {
        return arguments.get(1..);
    }
    (arguments.get(1)? == "oci-runtime").then(|| arguments.get(2..)).flatten()
}

/// Becomes the real runtime.
pub(crate) fn run_as_runtime(arguments: &[OsString]) -> ExitCode {
    let Err(error) = wrapper::exec(arguments, Path::new(wrapper::CONFIG));
    eprintln!("resview oci-runtime: {error}");
    exit_codes::FAILED.into()
}

/// `resview oci-hook`
pub(crate) fn hook(options: &HookOptions) -> ExitCode {
    hook::main(&hook::Options {
        stage: options.stage,
        socket: options.socket.clone(),
        required: options.required,
        deadline: hook::DEADLINE,
    })
}

/// `resview install`
pub(crate) fn install(options: &InstallOptions) -> ExitCode {
    let chosen = install::Options {
        mountpoint: options.mountpoint.clone(),
        view: options.view.map(|view| match view {
            ViewFor::All => OptIn::All,
            ViewFor::OptIn => OptIn::OptIn,
        }),
        required: options.required,
        default_runtime: options.default_runtime,
        hints: (options.hints || options.no_hints).then_some(options.hints),
        runtime: options.runtime.clone(),
        ..install::Options::default()
    };
    each(&options.common, chosen, install::install)
}

/// `resview uninstall`
pub(crate) fn uninstall(options: &UninstallOptions) -> ExitCode {
    let chosen = install::Options { purge: options.purge, ..install::Options::default() };
    each(&options.common, chosen, install::uninstall)
}

type Planner = fn(Target, &install::Options) -> Result<Plan, install::InstallError>;

fn each(common: &CommonOptions, mut options: install::Options, planner: Planner) -> ExitCode {
    options.root.clone_from(&common.root);
    let done = binary(common).and_then(|binary| {
        options.binary = binary;
        common.engines.iter().try_for_each(|target| one(*target, common, &options, planner))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn binary(common: &CommonOptions) -> anyhow::Result<PathBuf> {
    match &common.binary {
        Some(binary) => Ok(binary.clone()),
        None => std::env::current_exe().context("cannot find this program; name it with --binary"),
    }
}

fn one(
    target: Target,
    common: &CommonOptions,
    options: &install::Options,
    planner: Planner,
) -> anyhow::Result<()> {
    let plan = planner(target, options)?;
    if plan.is_done() {
        output::line(format_args!("{}: nothing to do", target.name()));
    }
    output::print(&plan);
    if !common.dry_run {
        plan.apply()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_known_by_its_name_or_its_first_word() {
        let of = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            as_runtime(&words).map(<[OsString]>::to_vec)
        };
        assert_eq!(of(&["/usr/bin/resview-runtime", "--root", "/r"]).unwrap(), ["--root", "/r"]);
        assert_eq!(of(&["resview", "oci-runtime", "create"]).unwrap(), ["create"]);
        assert_eq!(of(&["resview", "list", "oci-runtime"]), None);
        assert_eq!(of(&["resview"]), None);
    }
}
