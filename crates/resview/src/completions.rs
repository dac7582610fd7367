//! `resview completions`: scripts with which shells complete its command line.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit_codes;

/// Print a script that makes a shell complete the words of this command
///
/// The packages install it. By hand, for bash: resview completions bash
/// >/etc/bash_completion.d/resview
#[derive(Args, Debug)]
pub(crate) struct CompletionsOptions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: ShellName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ShellName {
    Bash,
    Fish,
    Zsh,
}

/// `resview completions`
pub(crate) fn main(options: &CompletionsOptions) -> ExitCode {
    match std::io::stdout().write_all(&script(options.shell)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: cannot print the script: {error}");
            exit_codes::FAILED.into()
        }
    }
}

fn script(shell: ShellName) -> Vec<u8> {
    let shell = match shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Fish => Shell::Fish,
        ShellName::Zsh => Shell::Zsh,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "resview", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_learns_the_subcommands_and_their_options() {
        for shell in ShellName::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for word in ["daemon", "attach", "cpuset-cpus", "quota-floor"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
