//! The project's own chores: `cargo xtask test` checks everything, `cargo xtask vm` runs a command
//! on pure cgroup v2, `cargo xtask deb` and `rpm` make packages.

#![forbid(unsafe_code)]

mod bench;
mod conformance;
mod deb;
mod deploy;
mod instructions;
mod kubernetes;
mod packages;
mod platform;
mod program;
mod repo;
mod rpm;
mod rules;
mod sbom;
mod section;
mod sh;
mod stage;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check everything: formatting, lints, docs, tests on cgroup v1, hybrid and v2, fuzzing
    Test(test::Args),
    /// Check what containers see, with our tree, with others and with the kernel's own files
    Conformance(conformance::Args),
    /// Measure what reading the view costs, how it grows and how it starts
    Bench(bench::Args),
    /// Count the instructions of each hot path, and compare with what is stored
    Instructions(instructions::Args),
    /// Run a command in a virtual machine that shows this machine's root under a stock kernel
    Vm(vm::Args),
    /// Build and start a Kubernetes of current releases
    Kubernetes(kubernetes::Args),
    /// Build the program so that it needs no library, and runs on every distribution
    Static(program::Args),
    /// Build the Debian packages
    Deb(program::Args),
    /// Build the packages for Fedora and its kin; needs rpmbuild
    Rpm(program::Args),
    /// Make the image of deploy/Dockerfile, without Docker
    Image(deploy::ImageArgs),
    /// Look whether the chart and the manifests are sound, or make the manifests
    Manifests(deploy::ManifestsArgs),
    /// Say what the program is made of, as CycloneDX
    Sbom(sbom::Args),
    /// Install the Debian packages that the tests use, as far as they are missing
    Packages,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.chore {
        Chore::Test(args) => test::command(&args),
        Chore::Conformance(args) => conformance::command(&args),
        Chore::Bench(args) => bench::command(&args),
        Chore::Instructions(args) => instructions::command(&args),
        Chore::Vm(args) => vm::command(&args),
        Chore::Kubernetes(args) => kubernetes::command(&args),
        Chore::Static(args) => program::command(&args),
        Chore::Deb(args) => deb::command(&args),
        Chore::Rpm(args) => rpm::command(&args),
        Chore::Image(args) => deploy::image(&args),
        Chore::Manifests(args) => deploy::manifests(&args),
        Chore::Sbom(args) => sbom::command(&args),
        Chore::Packages => packages::install().map(|()| ExitCode::SUCCESS),
    }
}
