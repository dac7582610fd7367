//! `cargo xtask conformance`: the checks of the crate `conformance` over our tree, others' and the
//! kernel's own files, as a table, which it can put into `docs/conformance.md`.

mod document;
pub(crate) mod lxcfs;
mod machine;
mod programs;
mod unpacked;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use conformance::{Column, Server, Tree, Verdict};
use lxcfs::Lxcfs;

use crate::{repo, sh};

/// Options of `cargo xtask conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check this mounted tree instead of ours
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Check LXCFS too: the installed one, a Debian suite's (trixie, forky), a program's path, or
    /// all: installed, trixie and forky
    #[arg(long, value_name = "WHICH", num_args = 0..=1, default_missing_value = "installed")]
    lxcfs: Vec<String>,
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
    #[arg(long, conflicts_with = "v1")]
    vm: bool,
    /// On pure cgroup v1: hide the cgroup2 mount of a hybrid machine
    #[arg(long)]
    v1: bool,
    /// Put the result into docs/conformance.md, with all LXCFS
    #[arg(long, conflicts_with_all = ["tree", "lxcfs", "no_kernel", "only"])]
    write: bool,
}

/// Runs the checks; fails if the first tree does not pass all that apply.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    if args.consumers
        && let Some(code) = programs::again_with_them()?
    {
        return Ok(code);
    }
    let resview = match (&args.resview, &args.tree) {
        (Some(binary), _) => Some(binary.canonicalize()?),
        (None, Some(_)) => None,
        (None, None) => Some(build()?),
    };
    let wanted = if args.write { vec!["all".to_owned()] } else { args.lxcfs.clone() };
    let lxcfs = lxcfs::resolve(&wanted)?;
    if args.vm {
        return machine::run(args, resview.as_deref(), &lxcfs);
    }
    conformance::private_mounts()?;
    if args.v1 {
        conformance::hide_cgroup2()?;
    }
    let measured = measure(args, resview.as_deref(), &lxcfs)?;
    let section = document::section(args.consumers, &measured)?;
    println!("\n{section}");
    if args.write {
        section.write()?;
    }
    let good = measured.columns.first().is_some_and(|column| column.failures().is_empty());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the checks found.
#[derive(Debug, Default)]
struct Measured {
    columns: Vec<Column>,
    /// The LXCFS that do not work on this machine, and what they say.
    absent: Vec<String>,
    /// What programs print that ask the kernel by system call, as a table.
    by_system_call: Option<String>,
}

/// Runs the checks on one tree after the other.
fn measure(args: &Args, resview: Option<&Path>, lxcfs: &[Lxcfs]) -> Result<Measured> {
    let mut measured = Measured::default();
    if let Some(dir) = &args.tree {
        measured.first(&Tree::mounted(&dir.to_string_lossy(), dir)?, args)?;
    } else if let Some(binary) = resview {
        let server = Server::resview(binary, &[])?;
        let title = format!("Resview {}", env!("CARGO_PKG_VERSION"));
        let tree = Tree::mounted(&title, &server.dir())?.served_by(binary);
        measured.first(&tree, args)?;
    }
    for lxcfs in lxcfs {
        // LXCFS 7 does without cgroup v1; others refuse where root lacks a capability.
        match served(lxcfs) {
            Ok((_server, tree)) => measured.columns.push(checked(&tree, args)),
            Err(error) => {
                let told = format!("{}: {error:#}", lxcfs.title());
                eprintln!("\n{told}");
                measured.absent.push(told);
            }
        }
    }
    if !args.no_kernel {
        measured.columns.push(checked(&Tree::kernel("plain container"), args));
    }
    Ok(measured)
}

/// A running LXCFS and its tree.
fn served(lxcfs: &Lxcfs) -> Result<(Server, Tree)> {
    let server = Server::lxcfs(&lxcfs.program, lxcfs.options())?;
    let tree = Tree::mounted(&lxcfs.title(), &server.dir());
    let tree = tree.with_context(|| server.last_words())?;
    Ok((server, tree))
}

impl Measured {
    fn first(&mut self, tree: &Tree, args: &Args) -> Result<()> {
        self.columns.push(checked(tree, args));
        if args.consumers && args.only.is_empty() {
            self.by_system_call = Some(conformance::by_system_call(tree)?);
        }
        Ok(())
    }
}

fn checked(tree: &Tree, args: &Args) -> Column {
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
