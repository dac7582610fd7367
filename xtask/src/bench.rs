//! `cargo xtask bench`: what reading the view costs, beside the kernel's own files and LXCFS; how it
//! grows; how it starts. The measuring is done by the crate `bench`; its tables can go into
//! `docs/performance.md`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::conformance::lxcfs::{self, Lxcfs};
use crate::program::{self, Program};
use crate::section::Section;
use crate::{packages, platform, repo, sh};

/// Where the tables go.
const PAGE: &str = "docs/performance.md";

/// Options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// A tenth of the time, which is enough to see powers of two
    #[arg(long)]
    quick: bool,
    /// Compare with this mounted tree too
    #[arg(long, value_name = "DIR")]
    against: Vec<PathBuf>,
    /// The LXCFS to compare with: the installed one, a Debian suite's (trixie, forky), a program's
    /// path, or all; the first that works is the one of the ratios
    #[arg(long, value_name = "WHICH", default_value = "installed")]
    lxcfs: Vec<String>,
    /// Measure this program, instead of building one
    #[arg(long, value_name = "FILE")]
    resview: Option<PathBuf>,
    /// Where the results go [default: a new folder of target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Put the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// How long a read takes of each file and tree
    Compare,
    /// What many containers cost
    Scale,
    /// How the daemon starts, and what it costs when nobody reads
    Start,
}

impl Part {
    /// The name of the benchmark's own command, of the files with its results, and of its section.
    fn name(self) -> &'static str {
        match self {
            Self::Compare => "compare",
            Self::Scale => "scale",
            Self::Start => "start",
        }
    }

    /// The options for a tenth of the time.
    fn quickly(self) -> &'static [&'static str] {
        match self {
            Self::Compare => &["--quick"],
            Self::Scale => &["--containers", "1,100", "--seconds", "5"],
            Self::Start => &["--times", "5", "--seconds", "5"],
        }
    }
}

/// Measures, prints the tables, and writes them down.
///
/// # Errors
/// When something cannot be built, fetched or started. A target that is missed is no error.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let resview = match &args.resview {
        Some(program) => program.canonicalize()?,
        None => Program::build(version)?.path,
    };
    let bench = program::static_build("bench", "resview-bench", version)?;
    let lxcfs = lxcfs(&args.lxcfs)?;
    let out = match &args.out {
        Some(dir) => dir.clone(),
        None => repo::target()?.join("bench").join(utc("%Y-%m-%dT%H%M%SZ")?),
    };
    for part in args.parts() {
        sh::run(&mut measurement(args, part, &bench, &resview, &lxcfs, &out))?;
        if args.write {
            section(part, &out, &command_line())?.write()?;
        }
    }
    println!("\nThe results are in {}", out.display());
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn parts(&self) -> Vec<Part> {
        let all = Part::value_variants().iter();
        all.copied().filter(|part| self.only.is_empty() || self.only.contains(part)).collect()
    }
}

fn measurement(
    args: &Args,
    part: Part,
    bench: &Path,
    resview: &Path,
    lxcfs: &[Lxcfs],
    out: &Path,
) -> Command {
    let mut command = Command::new(bench);
    command.arg(part.name()).arg("--resview").arg(resview).arg("--out").arg(out);
    if args.quick {
        command.args(part.quickly());
    }
    match part {
        Part::Compare => {
            for lxcfs in lxcfs {
                let titled = format!("{}={}", lxcfs.title(), in_path(&lxcfs.program).display());
                command.arg("--lxcfs").arg(titled);
            }
            for dir in &args.against {
                command.arg("--against").arg(dir);
            }
        }
        Part::Scale | Part::Start => {
            if let Some(lxcfs) = lxcfs.first() {
                command.arg("--lxcfs").arg(in_path(&lxcfs.program));
            }
        }
    }
    command
}

/// The programs to compare with; Debian's is installed if it is wanted and missing.
fn lxcfs(wanted: &[String]) -> Result<Vec<Lxcfs>> {
    let is_wanted = wanted.iter().any(|word| ["installed", "all"].contains(&word.as_str()));
    if is_wanted && !sh::has("lxcfs") && packages::has_apt() {
        packages::ensure(&["lxcfs"])?;
    }
    lxcfs::resolve(wanted)
}

/// Where a program is that may be named without its folder: its size is looked at too.
fn in_path(program: &Path) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&path).map(|dir| dir.join(program));
    all.find(|file| file.is_file()).unwrap_or_else(|| program.to_owned())
}

/// The section of the document for a part: by which command, when and where, and its tables.
fn section(part: Part, out: &Path, command: &str) -> Result<Section> {
    let path = out.join(part.name()).with_extension("md");
    let tables = std::fs::read_to_string(&path);
    let tables = tables.with_context(|| format!("cannot read {}", path.display()))?;
    let (date, platform, cpu) = (utc("%Y-%m-%d")?, platform::sentence()?, platform::cpu()?);
    let body = format!("`{command}`, {date}. {platform} {cpu}.\n\n{}\n", tables.trim_end());
    Ok(Section::new(PAGE, part.name(), body))
}

/// What was typed, as far as it matters to others.
fn command_line() -> String {
    let words = std::env::args().skip(1);
    ["cargo".to_owned(), "xtask".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// The time, by date(1).
fn utc(format: &str) -> Result<String> {
    Ok(sh::output(Command::new("date").args(["-u", &format!("+{format}")]))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_place_for_every_part() {
        for part in Part::value_variants() {
            let section = Section::new(PAGE, part.name(), String::new());
            let document = std::fs::read_to_string(section.path()).unwrap();
            section.put_into(&document).unwrap();
        }
    }

    #[test]
    fn a_program_is_found_with_and_without_its_folder() {
        let shell = in_path(Path::new("sh"));
        assert!(shell.is_absolute() && shell.is_file(), "{}", shell.display());
        assert_eq!(in_path(&shell), shell);
        assert_eq!(in_path(Path::new("no-such-program")), Path::new("no-such-program"));
    }

    #[test]
    fn a_section_says_what_made_it_when_and_where() {
        let out = tempfile::tempdir().unwrap();
        std::fs::write(out.path().join("scale.md"), "| table |\n\n").unwrap();
        let section = section(Part::Scale, out.path(), "cargo xtask bench").unwrap().to_string();
        assert!(section.contains("`cargo xtask bench`, 20"), "{section}");
        assert!(
            section.contains(". Linux ") && section.contains("\n\n| table |\n<!--"),
            "{section}"
        );
        assert!(super::section(Part::Start, out.path(), "").is_err());
    }
}
