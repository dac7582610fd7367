//! The trees that are compared, each below a root of its own in the same container.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use conformance::Server;
use tempfile::TempDir;

use crate::alone::Alone;
use crate::container::{Container, MEMORY_LIMIT_BYTES};
use crate::protocol::{Laid, Order, Report};

/// Whose files they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The kernel's own.
    Kernel,
    /// Those of a FUSE server that has nothing to find out.
    Alone,
    /// Ours, as an attached container sees them.
    Container,
    /// Ours, as containers see them that mount them with `-v`.
    Shared,
    /// Somebody else's, such as those of LXCFS.
    Other(String),
}

impl Kind {
    /// What its column is called.
    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Kernel => "kernel",
            Self::Alone => "FUSE alone",
            Self::Container => "container tree",
            Self::Shared => "shared tree",
            Self::Other(title) => title,
        }
    }
}

/// A program to compare with: `TITLE=FILE`.
#[derive(Clone, Debug)]
pub(crate) struct Titled {
    pub(crate) title: String,
    pub(crate) program: PathBuf,
}

impl FromStr for Titled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (title, program) = text.split_once('=').ok_or("say TITLE=FILE")?;
        Ok(Self { title: title.to_owned(), program: program.into() })
    }
}

/// A tree that the container has.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) kind: Kind,
    /// Where the container finds its `proc` and `sys`.
    pub(crate) root: PathBuf,
    /// Which of the candidates it has.
    pub(crate) files: Vec<String>,
    /// Who serves it, if it is one of the servers started here.
    server: Option<usize>,
}

impl Tree {
    pub(crate) fn is_ours(&self) -> bool {
        [Kind::Container, Kind::Shared].contains(&self.kind)
    }
}

/// All trees, their servers, and the container that has them.
#[derive(Debug)]
pub(crate) struct Trees {
    pub(crate) container: Container,
    /// In the order of the columns.
    pub(crate) all: Vec<Tree>,
    pub(crate) servers: Servers,
    candidates: Vec<String>,
    /// Where the container finds them.
    places: TempDir,
    _alone: Alone,
    _containers: TempDir,
}

/// The programs that serve trees; ours is the first.
#[derive(Debug)]
pub(crate) struct Servers(Vec<Server>);

impl Servers {
    /// The CPU time that a tree's server has used, in nanoseconds, all its processes together;
    /// `None` for a tree that none of these serves.
    pub(crate) fn cpu_ns(&self, tree: &Tree) -> Option<u64> {
        self.0.get(tree.server?).map(Server::cpu_ns)
    }
}

/// Trees of others.
#[derive(Debug)]
pub(crate) struct Others<'a> {
    /// LXCFS to start.
    pub(crate) lxcfs: &'a [Titled],
    /// Mounted trees.
    pub(crate) mounted: &'a [PathBuf],
}

impl Trees {
    /// Starts the servers and lays out their trees.
    ///
    /// A server of others that does not start is left out, and said.
    pub(crate) fn new(resview: &Path, others: &Others<'_>, candidates: &[String]) -> Result<Self> {
        let containers = tempfile::tempdir()?;
        let tree = containers.path().to_string_lossy().into_owned();
        // The container has the mounts that there are when it starts.
        let mut servers = vec![Server::resview(resview, &["--containers", &tree])?];
        let mut titles = Vec::new();
        for Titled { title, program } in others.lxcfs {
            match Server::lxcfs(program, &[]) {
                Ok(server) => {
                    titles.push(title);
                    servers.push(server);
                }
                Err(error) => eprintln!("{title} is left out: {error:#}"),
            }
        }
        let dirs: Vec<_> = servers.iter().map(Server::dir).collect();
        let alone = Alone::serve(candidates)?;
        let of_alone = alone.binds.clone();
        let mut trees = Self {
            container: Container::start()?,
            all: Vec::new(),
            candidates: candidates.to_vec(),
            servers: Servers(servers),
            places: tempfile::tempdir()?,
            _alone: alone,
            _containers: containers,
        };
        trees.attach(resview)?;
        trees.lay(Kind::Kernel, Laid::Bound(Vec::new()), None)?;
        trees.lay(Kind::Alone, Laid::Bound(of_alone), None)?;
        trees.lay(Kind::Container, Laid::Attached, Some(0))?;
        let kinds = titles.into_iter().map(|title| Kind::Other(title.clone()));
        for ((number, dir), kind) in
            dirs.iter().enumerate().zip([Kind::Shared].into_iter().chain(kinds))
        {
            trees.lay(kind, bound(dir)?, Some(number))?;
        }
        for dir in others.mounted {
            let title = dir.display().to_string();
            trees.lay(Kind::Other(title), bound(dir)?, None)?;
        }
        Ok(trees)
    }

    fn lay(&mut self, kind: Kind, tree: Laid, server: Option<usize>) -> Result<()> {
        let root = self.places.path().join(self.all.len().to_string());
        self.container.order(&Order::Lay { root: root.clone(), tree })?;
        let (files, is_kernel) = (self.candidates.clone(), kind == Kind::Kernel);
        let which = Order::Which { root: root.clone(), files, kernel: is_kernel };
        let Report::Files(files) = self.container.order(&which)? else { return unexpected() };
        let tree = Tree { kind, root, files, server };
        self.look(&tree)?;
        self.all.push(tree);
        Ok(())
    }

    /// What shows the whole machine is measured for nothing.
    fn look(&mut self, tree: &Tree) -> Result<()> {
        if [Kind::Kernel, Kind::Alone].contains(&tree.kind) {
            return Ok(());
        }
        let has_it = tree.files.iter().any(|file| file == "proc/meminfo");
        ensure!(has_it, "{}: no file of it lies over /proc/meminfo", tree.kind.title());
        let read = Order::Read { root: tree.root.clone(), file: "proc/meminfo".to_owned() };
        let Report::Text(text) = self.container.order(&read)? else { return unexpected() };
        let first = text.lines().next().unwrap_or_default();
        let limit = (MEMORY_LIMIT_BYTES >> 10).to_string();
        let is_limit = first.split_whitespace().nth(1) == Some(limit.as_str());
        ensure!(is_limit, "{}: not the container's memory: {first}", tree.kind.title());
        Ok(())
    }

    /// Gives the container the container tree, over its own `/proc` and `/sys`.
    fn attach(&self, resview: &Path) -> Result<()> {
        let ours = self.servers.0.first().context("no server")?;
        let mut command = Command::new(resview);
        command.arg("attach").arg("--mountpoint").arg(ours.dir());
        command.arg("--runtime-dir").arg(ours.runtime_dir());
        let output = command.arg("--pid").arg(self.container.init.to_string()).output();
        let output = output.context("cannot start resview attach")?;
        ensure!(output.status.success(), "attach: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// What a container binds of a mounted tree.
fn bound(dir: &Path) -> Result<Laid> {
    let tree = conformance::Tree::mounted(&dir.to_string_lossy(), dir);
    let tree = tree.with_context(|| format!("cannot list {}", dir.display()))?;
    Ok(Laid::Bound(tree.binds().iter().map(|bind| (dir.join(bind), bind.clone())).collect()))
}

/// An answer to another question.
pub(crate) fn unexpected<T>() -> Result<T> {
    anyhow::bail!("the container has answered another question")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_a_title() {
        let lxcfs: Titled = "LXCFS 5.0.3=/usr/bin/lxcfs".parse().unwrap();
        assert_eq!((lxcfs.title.as_str(), lxcfs.program), ("LXCFS 5.0.3", "/usr/bin/lxcfs".into()));
        assert!("lxcfs".parse::<Titled>().is_err());
    }
}
