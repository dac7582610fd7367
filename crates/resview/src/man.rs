//! `resview __man`: writes the man pages, from the same definitions as the help texts. The packages
//! are built with it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, VERSION};
use crate::{exit_codes, lxcfs};

#[derive(Args, Debug)]
pub(crate) struct ManOptions {
    /// Where to write the pages
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// `resview __man`
pub(crate) fn main(options: &ManOptions) -> ExitCode {
    match write(&options.dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn write(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (name, text) in pages()? {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The file name and the text of each page: resview(1), one for each subcommand, and lxcfs(1).
fn pages() -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut resview = Cli::command().disable_help_subcommand(true);
    // Only then do subcommands know that they are called `resview run`.
    resview.build();
    let mut pages = vec![page(resview.clone(), "resview")?];
    for subcommand in resview.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let name = format!("resview-{}", subcommand.get_name());
        pages.push(page(subcommand.clone(), &name)?);
    }
    pages.push(page(lxcfs::Options::command(), "lxcfs")?);
    Ok(pages)
}

fn page(command: Command, name: &str) -> anyhow::Result<(String, Vec<u8>)> {
    let mut body = Vec::new();
    let man = Man::new(command.display_name(name));
    man.render(&mut body).with_context(|| format!("cannot render {name}(1)"))?;
    let body = String::from_utf8(body).context("a help text is no UTF-8")?;
    Ok((format!("{name}.1"), tidy(&body, name).into_bytes()))
}

/// A title whose date is empty, not left out, which would make a date of the version; and one line
/// break where there are two.
fn tidy(page: &str, name: &str) -> String {
    let title = format!(".TH {name} 1 \"\" \"resview {VERSION}\" Resview");
    let lines = page.lines().map(|line| if line.starts_with(".TH ") { &title } else { line });
    let page: String = lines.flat_map(|line| [line, "\n"]).collect();
    page.replace(".br\n\n.br\n", ".br\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_subcommand_that_is_shown() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["resview.1", "resview-run.1", "resview-daemon.1", "lxcfs.1"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(
            !names.iter().any(|name| name.contains("__") || name.contains("help")),
            "{names:?}"
        );
    }

    #[test]
    fn a_title_has_a_version_and_no_date() {
        for (name, text) in pages().unwrap() {
            let text = String::from_utf8(text).unwrap();
            let titles: Vec<_> = text.lines().filter(|line| line.starts_with(".TH ")).collect();
            let command = name.strip_suffix(".1").unwrap();
            assert_eq!(titles, [format!(".TH {command} 1 \"\" \"resview {VERSION}\" Resview")]);
        }
    }

    #[test]
    fn a_page_names_its_options() {
        let pages = pages().unwrap();
        let (_, run) = pages.iter().find(|(name, _)| name == "resview-run.1").unwrap();
        let run = String::from_utf8(run.clone()).unwrap().replace('\\', "");
        assert!(run.contains("--cpuset-cpus") && run.contains("resview run"), "{run}");
    }
}
