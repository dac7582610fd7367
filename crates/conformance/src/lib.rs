//! What a container should see in `/proc` and `/sys`, as named checks over any mounted tree: ours,
//! that of LXCFS, or the kernel's own files.
//!
//! The checks are black boxes. Each makes containers with limits, lays the tree's files over
//! those of `/proc` and `/sys` as `docker run -v` does, and looks at what commands read there. A
//! check that a tree cannot be asked, since it has no such file, is not applicable to it.

#![forbid(unsafe_code)]

mod checks;
mod container;
mod server;
mod table;
mod text;
mod tree;

use std::time::Instant;

pub use checks::{Check, all, by_system_call, consumers};
pub use server::{Server, hide_cgroup2, private_mounts};
pub use table::{Column, markdown};
pub use tree::Tree;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The property holds.
    Pass,
    /// It does not, for this reason.
    Fail(String),
    /// It cannot be asked of this tree, or on this machine.
    NotApplicable(String),
}

/// Ends a check that cannot be asked here. Any other error of a check is a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotApplicable(String);

/// What a check returns to say that it cannot be asked here.
pub(crate) fn not_applicable<T>(reason: impl Into<String>) -> anyhow::Result<T> {
    Err(NotApplicable(reason.into()).into())
}

/// Runs one check.
#[must_use]
pub fn run(check: &Check, tree: &Tree) -> Verdict {
    match check.run(tree) {
        Ok(()) => Verdict::Pass,
        Err(error) => match error.downcast_ref::<NotApplicable>() {
            Some(reason) => Verdict::NotApplicable(reason.to_string()),
            None => Verdict::Fail(format!("{error:#}")),
        },
    }
}

/// Runs those `checks` whose name contains one of `only`, or all; `tell` hears of each as it ends.
///
/// The calling thread must be in [`private_mounts`] with the tree's server.
pub fn run_all(
    tree: &Tree,
    checks: Vec<Check>,
    only: &[String],
    mut tell: impl FnMut(&Check, &Verdict, std::time::Duration),
) -> Column {
    let explained = !tree.is_kernel();
    let mut column = Column { title: tree.title().to_owned(), verdicts: Vec::new(), explained };
    for check in checks {
        if !only.is_empty() && !only.iter().any(|part| check.name().contains(part.as_str())) {
            continue;
        }
        let begin = Instant::now();
        let verdict = run(&check, tree);
        tell(&check, &verdict, begin.elapsed());
        column.verdicts.push((check.name().to_owned(), verdict));
    }
    column
}
