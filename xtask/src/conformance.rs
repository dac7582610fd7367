//! `cargo xtask conformance`: the checks of the crate `conformance` over our tree, others' and the
//! kernel's own files, as a table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use conformance::{Server, Tree, Verdict};

use crate::vm::Machine;
use crate::{repo, sh};

/// Options of `cargo xtask conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check this mounted tree instead of ours
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Check LXCFS too: the program to start
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, default_missing_value = "lxcfs")]
    lxcfs: Vec<PathBuf>,
    /// Do not check the kernel's own files
    #[arg(long)]
    no_kernel: bool,
    /// Only checks whose name contains one of these
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Check what big programs say that read the files, as far as they are installed
    #[arg(long)]
    consumers: bool,
    /// Start this binary as our daemon, instead of building one
    #[arg(long, value_name = "FILE")]
    resview: Option<PathBuf>,
    /// On pure cgroup v2, in a virtual machine
    #[arg(long)]
    vm: bool,
}

/// Runs the checks; fails if the first tree does not pass all that apply.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let resview = match (&args.resview, &args.tree) {
        (Some(binary), _) => Some(binary.canonicalize()?),
        (None, Some(_)) => None,
        (None, None) => Some(build()?),
    };
    if args.vm {
        return in_machine(args, resview.as_deref());
    }
    conformance::private_mounts()?;
    let mut columns = Vec::new();
    if let Some(dir) = &args.tree {
        columns.push(checked(&Tree::mounted(&dir.to_string_lossy(), dir)?, args));
    } else if let Some(binary) = &resview {
        let server = Server::resview(binary)?;
        let title = format!("Resview {}", env!("CARGO_PKG_VERSION"));
        columns.push(checked(&Tree::mounted(&title, &server.dir())?, args));
    }
    for program in &args.lxcfs {
        let server = Server::lxcfs(program)?;
        let title = format!("LXCFS {}", version(program)?);
        columns.push(checked(&Tree::mounted(&title, &server.dir())?, args));
    }
    if !args.no_kernel {
        columns.push(checked(&Tree::kernel("plain container"), args));
    }
    println!("\n{}{}", platform()?, conformance::markdown(&columns));
    let good = columns.first().is_some_and(|column| column.failures().is_empty());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn checked(tree: &Tree, args: &Args) -> conformance::Column {
    eprintln!("\n=== {}", tree.title());
    let checks = if args.consumers { conformance::consumers() } else { conformance::all() };
    conformance::run_all(tree, checks, &args.only, |check, verdict, took| {
        let (word, reason) = match verdict {
            Verdict::Pass => ("pass", ""),
            Verdict::Fail(reason) => ("FAIL", reason.as_str()),
            Verdict::NotApplicable(reason) => ("n/a ", reason.as_str()),
        };
        eprintln!("{word} {} ({:.1} s) {reason}", check.name(), took.as_secs_f64());
    })
}

/// The daemon, freshly built.
fn build() -> Result<PathBuf> {
    sh::run(repo::cargo().args(["build", "-q", "-p", "resview"]))?;
    let metadata = repo::metadata()?;
    let target = metadata["target_directory"].as_str().context("cargo has no target directory")?;
    Ok(Path::new(target).join("debug/resview"))
}

/// The version that LXCFS prints, in quotes, to standard error.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text.trim().trim_matches('"').lines().next().unwrap_or_default().to_owned())
}

/// What the checks ran on, in a sentence.
fn platform() -> Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpus = std::thread::available_parallelism()?;
    let layout = testkit::layout();
    Ok(format!("Linux {}, {layout:?} cgroups, {cpus} CPUs.\n\n", kernel.trim()))
}

/// Runs this program again in a virtual machine, where nothing can be built.
fn in_machine(args: &Args, resview: Option<&Path>) -> Result<ExitCode> {
    let program = std::env::current_exe().context("this program has no path")?;
    let mut script = format!("exec {} conformance", sh::quote(&program.to_string_lossy()));
    let mut word = |option: &str, value: &Path| {
        let _ = write!(script, " {option} {}", sh::quote(&value.to_string_lossy()));
    };
    if let Some(binary) = resview {
        word("--resview", binary);
    }
    if let Some(dir) = &args.tree {
        word("--tree", dir);
    }
    args.lxcfs.iter().for_each(|program| word("--lxcfs", program));
    args.only.iter().for_each(|name| word("--only", Path::new(name)));
    if args.consumers {
        script.push_str(" --consumers");
    }
    if args.no_kernel {
        script.push_str(" --no-kernel");
    }
    script.push('\n');
    let status = Machine::for_tests().run(&script, &mut std::io::stdout())?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
