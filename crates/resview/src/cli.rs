//! The command line: what can be typed. One definition, from which help texts come too.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use procfmt::cpulist::CpuSet;
use procfmt::units::{Bytes, Usec};

use crate::completions::CompletionsOptions;
use crate::front_ends::{HookOptions, InstallOptions, RuntimeOptions, UninstallOptions};
use crate::man::ManOptions;
use crate::node::{NodeOptions, OnHostOptions};
use crate::nri::{NriOptions, PluginOptions};
use crate::reach::{AttachOptions, DetachOptions, ListOptions};
use crate::runtime_dir::DEFAULT_RUNTIME_DIR;
use crate::size::{MemorySwap, parse_cpus, parse_memory_swap, parse_size};
use crate::supervise::SupervisionOptions;
use crate::view_options::ViewOptions;
use crate::webhook::WebhookOptions;

/// Where the daemon mounts its view unless told otherwise.
pub(crate) const DEFAULT_MOUNTPOINT: &str = "/var/lib/resview";

/// The version of this build: a package's, which may differ from the workspace's.
pub(crate) const VERSION: &str = match option_env!("RESVIEW_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Gives every Linux container its own view of the machine.
#[derive(Debug, Parser)]
#[command(name = "resview", version = VERSION, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunOptions),
    Daemon(DaemonOptions),
    Status(StatusOptions),
    Upgrade(UpgradeOptions),
    Stop(StopOptions),
    #[command(visible_alias = "remount")]
    Attach(AttachOptions),
    Detach(DetachOptions),
    List(ListOptions),
    Install(InstallOptions),
    Uninstall(UninstallOptions),
    OciHook(HookOptions),
    OciRuntime(RuntimeOptions),
    Nri(NriOptions),
    Webhook(WebhookOptions),
    Files(FilesOptions),
    Explain(ExplainOptions),
    Doctor(DoctorOptions),
    Node(NodeOptions),
    Completions(CompletionsOptions),
    #[command(name = "__man", hide = true)]
    Man(ManOptions),
    #[command(name = "__on-host", hide = true)]
    OnHost(OnHostOptions),
    #[command(name = "__wait-for-plugin", hide = true)]
    WaitForPlugin,
    #[command(name = "__stage", hide = true)]
    Stage(StageOptions),
}

/// Try it out: run a command with limits and its own view, without a container engine
///
/// Makes a cgroup and new pid, mount, uts, ipc, cgroup and, where the kernel has them, time
/// namespaces, puts the view over files of /proc and /sys and runs COMMAND. Without COMMAND it
/// prints what the container would see, beside the host's values and the cgroup file that decided
/// each. Uses a running daemon's view, else serves its own for as long as the command lives.
/// Everything is removed at the end.
///
/// Exit codes: the command's own; 128+n if signal n killed it; 127 if it was not found; 126 if it
/// could not be executed; 125 if resview itself failed.
#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    /// Memory limit: a number with b, k, m, g or t (50m, 1.5g)
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
    pub(crate) memory: Option<Bytes>,

    /// Limit of memory and swap together, as Docker counts; -1: unlimited swap [default: twice the
    /// memory limit]
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = parse_memory_swap,
        allow_hyphen_values = true,
        requires = "memory"
    )]
    pub(crate) memory_swap: Option<MemorySwap>,

    /// CPU time: how many CPUs' worth, in decimals (0.5, 2)
    #[arg(long, value_name = "N", value_parser = parse_cpus, allow_hyphen_values = true)]
    pub(crate) cpus: Option<Usec>,

    /// Which CPUs: numbers and ranges (0-3,8)
    #[arg(long, value_name = "LIST", value_parser = parse_cpu_list, allow_hyphen_values = true)]
    pub(crate) cpuset_cpus: Option<CpuSet>,

    #[command(flatten, next_help_heading = "The view, if resview serves it itself")]
    pub(crate) view: ViewOptions,

    /// Where to look for a running daemon's view
    #[arg(long, value_name = "DIR", default_value = DEFAULT_MOUNTPOINT)]
    pub(crate) mountpoint: PathBuf,

    /// What to log to standard error: error, warn, info, debug, trace [env: RESVIEW_LOG] [default:
    /// warn]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,

    /// The command to run, with its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

/// Serve the view to all containers, in the foreground
#[derive(Args, Debug)]
pub(crate) struct DaemonOptions {
    /// Where to mount the view: an empty directory; the default one is made if it is missing
    #[arg(long, value_name = "DIR", default_value = DEFAULT_MOUNTPOINT)]
    pub(crate) mountpoint: PathBuf,

    #[command(flatten)]
    pub(crate) view: ViewOptions,

    /// What to log to standard error: error, warn, info, debug, trace [env: RESVIEW_LOG] [default:
    /// info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,

    /// Where to keep the control socket, and CPU accounts and load histories for the next daemon:
    /// on a tmpfs
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUNTIME_DIR)]
    pub(crate) runtime_dir: PathBuf,

    /// cgroup v1: have the kernel count each container's disk I/O, for /proc/diskstats
    ///
    /// Current kernels do not count before somebody has set a throttling rule on a disk. This sets
    /// an unlimited one on each and takes it away at once; the kernel then goes on counting, which
    /// costs a little with each request to the disk. No effect on cgroup v2, which always counts.
    #[arg(long)]
    pub(crate) blkio_accounting: bool,

    /// Where to mount the container tree, which has a directory for each registered container; made
    /// if it is missing [default: containers in <runtime dir>]
    #[arg(long, value_name = "DIR")]
    pub(crate) containers: Option<PathBuf>,

    /// The group whose members may attach and detach, besides root: they may then do so with every
    /// container [default: none]
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,

    /// How many threads answer reads [default: one per CPU, at most 8]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// How reads come from the kernel
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub(crate) transport: Transport,

    /// Give Kubernetes pods the view, as a plugin of containerd or CRI-O (resview nri)
    #[arg(long)]
    pub(crate) nri: bool,

    #[command(flatten)]
    pub(crate) plugin: PluginOptions,

    #[command(flatten, next_help_heading = "Staying alive")]
    pub(crate) supervision: SupervisionOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Through /dev/fuse: a worker may die or be replaced at any moment, and no read fails
    #[default]
    Device,
    /// The shared tree's through io_uring, where the kernel offers that (Linux 6.14,
    /// /sys/module/fuse/parameters/enable_uring); more reads per second, but NOT CRASH-SAFE: when
    /// the worker dies, files of the shared tree that containers have answer ENOTCONN from then on
    /// (a new tree, through the device, is mounted for others). No upgrade in place, no take-over,
    /// and no turns among containers. Files of `resview attach` are not concerned
    IoUring,
}

/// Which daemon is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct DaemonPlace {
    /// Where its view is mounted
    #[arg(long, value_name = "DIR", default_value = DEFAULT_MOUNTPOINT)]
    pub(crate) mountpoint: PathBuf,

    /// Its runtime directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUNTIME_DIR)]
    pub(crate) runtime_dir: PathBuf,
}

/// Show whether a daemon serves, its worker, and what the slots show
///
/// Exit code 0 if it serves, 3 if there is none.
#[derive(Args, Debug)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) place: DaemonPlace,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Replace a daemon's worker in place, by a new build of the program
///
/// The new worker comes up first and the old one stops between two requests, so no read fails. If
/// the new one does not come up, the old one goes on, and this fails with the reason.
#[derive(Args, Debug)]
pub(crate) struct UpgradeOptions {
    #[command(flatten)]
    pub(crate) place: DaemonPlace,

    /// The new program [default: what is now at the path of the present one]
    #[arg(value_name = "PROGRAM")]
    pub(crate) program: Option<PathBuf>,
}

/// End a daemon and its worker, and unmount the view
#[derive(Args, Debug)]
pub(crate) struct StopOptions {
    #[command(flatten)]
    pub(crate) place: DaemonPlace,
}

/// List the virtual files, what becomes of each and of its lines, and what it is made from
///
/// virtual: the container's own, computed; host: the host's; absent: not there. A line is listed
/// where it differs from its file. `--file NAME=POLICY` of the daemon changes a file's policy.
#[derive(Args, Debug)]
pub(crate) struct FilesOptions {
    /// Print JSON, with all lines of each file
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show where a number that a container reads comes from
///
/// The host's value, the limits of the container's cgroup and of each above it, the one that
/// decides, and the formula with the numbers put in. Without FILE, the main quantities. Needs root,
/// and no daemon; a running one is asked for its options.
#[derive(Args, Debug)]
pub(crate) struct ExplainOptions {
    /// A container's name, its id or the beginning of it, a pid (4711), or the path of a cgroup
    /// (/docker/4f2a…)
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,

    /// A virtual file and perhaps a line of it: meminfo:MemAvailable, stat:cpu, cpuinfo, vmstat:pgfault,
    /// diskstats:sda, sys/devices/system/cpu/online
    #[arg(value_name = "FILE[:LINE]")]
    pub(crate) file: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) place: DaemonPlace,

    /// What to log to standard error: error, warn, info, debug, trace [env: RESVIEW_LOG] [default:
    /// warn]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
}

/// Check this machine, its container engines and the daemon, and say what to do about problems
///
/// Changes nothing, and never hangs: what takes too long is reported as such. Exit code 0 if there is
/// no problem, 1 otherwise; notes are no problems.
#[derive(Args, Debug)]
pub(crate) struct DoctorOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) place: DaemonPlace,
}

/// One of the processes that `resview run` makes of itself.
#[derive(Args, Debug)]
pub(crate) struct StageOptions {
    pub(crate) name: StageName,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StageName {
    /// Looks whether the file system at a path answers.
    Probe,
    /// Makes the namespaces.
    Enter,
    /// Is pid 1 in them.
    Init,
    /// Becomes the command.
    Exec,
    /// Prints what it sees.
    Report,
}

fn parse_cpu_list(text: &str) -> Result<CpuSet, String> {
    let set = CpuSet::parse_list(text.as_bytes()).map_err(|error| error.to_string())?;
    if set.is_empty() {
        return Err("an empty list leaves no CPU to run on".to_owned());
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(arguments: &[&str]) -> Result<RunOptions, clap::Error> {
        let line = ["resview", "run"].iter().chain(arguments);
        match Cli::try_parse_from(line)?.command {
            Command::Run(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_after_the_command_are_the_commands() {
        for line in
            [&["-m", "50m", "free", "-m", "--help"][..], &["-m50m", "--", "free", "-m", "--help"]]
        {
            let options = run(line).unwrap();
            assert_eq!(options.memory, Some(Bytes(50 << 20)));
            assert_eq!(options.command, ["free", "-m", "--help"]);
        }
        assert_eq!(run(&["--", "-odd"]).unwrap().command, ["-odd"]);
        assert!(run(&[]).unwrap().command.is_empty());
    }

    #[test]
    fn a_mistyped_option_is_not_taken_for_the_command() {
        assert!(run(&["--cpsu", "1", "true"]).is_err());
    }

    #[test]
    fn values_that_mean_nothing_are_refused_by_name() {
        for (line, words) in [
            (["-m", "0"], "size of 0"),
            (["-m", "lots"], "no size"),
            (["-m", "-5m"], "no size"),
            (["--cpus", "-1"], "no number of CPUs"),
            (["--cpus", "0"], "no number of CPUs"),
            (["--cpuset-cpus", "9-3"], "not a list of CPUs"),
            (["--cpuset-cpus", "-1"], "not a list of CPUs"),
            (["--cpuset-cpus", ""], "empty list"),
        ] {
            let message = run(&line).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains(line[0]), "{message}");
        }
    }

    #[test]
    fn a_limit_of_memory_and_swap_needs_one_of_memory() {
        assert!(run(&["--memory-swap", "1g"]).is_err());
        let options = run(&["-m", "1g", "--memory-swap", "-1"]).unwrap();
        assert_eq!(options.memory_swap, Some(MemorySwap::Unlimited));
    }
}
