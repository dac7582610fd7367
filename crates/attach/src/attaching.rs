//! Attaching: all bindings or none.

use std::os::fd::AsFd;
use std::time::Instant;

use crate::clone::{Prepared, clone};
use crate::error::Error;
use crate::hidden;
use crate::process::{Held, Procfs};
use crate::removal::ATTEMPTS;
use crate::request::{Attach, FileReport, Ours, Outcome, Report, Root, below_root};
use crate::table::Table;
use crate::target::{Place, Verdict, verdict};
use crate::thread::{Ticket, run};
use crate::undo::{Step, undo};
use crate::visit::{Position, Target, Visit, mount_id};

/// Mounts all bindings of `request` in the container, or none of them. What is there already is
/// left as it is, so it may be called again and again.
///
/// Where it succeeds, a binding may still have been left out for a reason that is no error: see
/// [`Outcome`].
///
/// # Errors
/// Any [`Error`]; the container is then as it was before, unless it is [`Error::Left`].
pub fn attach(request: Attach) -> Result<Report, Error> {
    for binding in &request.bindings {
        below_root(&binding.target)?;
    }
    let begin = Instant::now();
    loop {
        let again = request.clone();
        let left = request.limit.saturating_sub(begin.elapsed());
        match run(request.process.pid, left, move |ticket| visit(again, ticket)) {
            Err(Error::Restless { .. }) if begin.elapsed() < request.limit / 2 => {}
            result => return result,
        }
    }
}

fn visit(request: Attach, ticket: &Ticket) -> Result<Report, Error> {
    let procfs = Procfs::open()?;
    let held = Held::open(&procfs, request.process)?;
    held.namespace(&procfs)?;
    let prepared = request.bindings.into_iter();
    let prepared: Result<Vec<_>, _> =
        prepared.map(|binding| Prepared::new(binding, request.propagation)).collect();
    let prepared = prepared?;
    let visit = Visit::enter(&procfs, held, &request.root)?;
    let mut work = Work { visit: &visit, ours: &request.ours, ticket, steps: Vec::new() };
    let result = work.plan(prepared).and_then(|mut plan| {
        let hidden = match request.root {
            Root::Namespace => hidden::keep(&mut work, &mut plan, request.nesting)?,
            Root::BeforePivot(_) => Vec::new(),
        };
        let files = work.carry_out(plan)?;
        visit.held.check()?;
        ticket.commit()?;
        Ok(Report { files, hidden })
    });
    let steps = work.steps;
    result.map_err(|error| undo(&visit, steps, error))
}

/// An attachment under way.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) visit: &'a Visit,
    pub(crate) ours: &'a Ours,
    ticket: &'a Ticket,
    steps: Vec<Step>,
}

/// What is going to be done, from one look at everything.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) table: Table,
    pub(crate) items: Vec<Item>,
}

/// One binding, and what is at its target.
#[derive(Debug)]
pub(crate) struct Item {
    prepared: Prepared,
    target: Option<Target>,
    pub(crate) todo: Todo,
    /// The mount that it lies on, or is going to.
    pub(crate) base: Option<u64>,
}

/// What is to be done about one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    Mount,
    Replace,
    Nothing(Outcome),
}

impl Work<'_> {
    /// Looks at all targets. Nothing is changed yet.
    fn plan(&self, prepared: Vec<Prepared>) -> Result<Plan, Error> {
        let mut table = self.visit.table()?;
        let mut items = Vec::new();
        for prepared in prepared {
            items.push(self.look(prepared, &mut table)?);
        }
        Ok(Plan { table, items })
    }

    fn look(&self, prepared: Prepared, table: &mut Table) -> Result<Item, Error> {
        let shown = self.visit.shown(&prepared.target)?;
        for _ in 0..ATTEMPTS {
            let Some(target) = self.visit.open(&prepared.target, table)? else {
                let todo = Todo::Nothing(Outcome::Missing);
                return Ok(Item { prepared, target: None, todo, base: None });
            };
            let place = Place { shown: &shown, below_root: below_root(&prepared.target)? };
            let source = (prepared.identity, prepared.kind);
            let todo = match verdict(table, &target.sight, place, source, self.ours) {
                Verdict::Free => Todo::Mount,
                Verdict::Replace => Todo::Replace,
                Verdict::Already => Todo::Nothing(Outcome::Already),
                Verdict::Masked => Todo::Nothing(Outcome::Masked),
                Verdict::Refuse(found) => return Err(self.visit.refused(&prepared.target, found)),
                Verdict::Unsettled => {
                    *table = self.visit.table()?;
                    continue;
                }
            };
            if matches!(todo, Todo::Mount | Todo::Replace) {
                self.visit.check_private(&prepared.target, &target.sight, table)?;
            }
            let base = match table.stack(target.sight.mount) {
                Some((_, base)) if target.sight.is_mounted => base.id,
                _ => target.sight.mount,
            };
            return Ok(Item { prepared, target: Some(target), todo, base: Some(base) });
        }
        Err(self.visit.restless(&prepared.target))
    }

    fn carry_out(&mut self, plan: Plan) -> Result<Vec<FileReport>, Error> {
        let Plan { table, items } = plan;
        let mut files = Vec::new();
        for item in items {
            let outcome = match (item.todo, &item.target) {
                (Todo::Nothing(outcome), _) => outcome,
                (Todo::Mount, Some(target)) => {
                    self.put(&table, &item.prepared, target)?;
                    Outcome::Attached
                }
                (Todo::Replace, Some(target)) => {
                    self.replace(&table, &item.prepared, target)?;
                    Outcome::Replaced
                }
                (_, None) => Outcome::Missing,
            };
            files.push(FileReport { target: item.prepared.target, outcome });
        }
        Ok(files)
    }

    /// Mounts over all that is at the target, and makes sure that it is seen there.
    pub(crate) fn put(
        &mut self,
        table: &Table,
        new: &Prepared,
        target: &Target,
    ) -> Result<(), Error> {
        let id = self.mount(new, target, Position::Top)?;
        self.visit.expect(&new.target, table, id).map(drop)
    }

    /// Takes the place of the uppermost mount. What is under that one never shows.
    fn replace(&mut self, table: &Table, new: &Prepared, target: &Target) -> Result<(), Error> {
        let old = target.sight.mount;
        // What is mounted inside the old one would go with it.
        if table.inside(old).is_some() {
            return self.put(table, new, target);
        }
        let copy = clone(target.fd.as_fd(), true).ok();
        let id = match self.mount(new, target, Position::Beneath) {
            Ok(id) => id,
            // Before Linux 6.5, and where a user namespace has locked the old one.
            Err(Error::Step { errno: rustix::io::Errno::INVAL, .. }) => {
                return self.put(table, new, target);
            }
            Err(error) => return Err(error),
        };
        let top = self.visit.expect(&new.target, table, old)?;
        let unmounted = self.visit.unmount(&top);
        unmounted.map_err(|errno| self.visit.step("unmount", &new.target, errno))?;
        if let Some(step) = self.steps.last_mut() {
            step.replaced = copy;
        }
        self.visit.expect(&new.target, table, id).map(drop)
    }

    fn mount(&mut self, new: &Prepared, at: &Target, position: Position) -> Result<u64, Error> {
        self.ticket.is_wanted()?;
        let failed = |errno| self.visit.step("mount on", &new.target, errno);
        let id = mount_id(new.mount.as_fd()).map_err(failed)?;
        self.visit.put(new.mount.as_fd(), at, position).map_err(failed)?;
        self.steps.push(Step { target: new.target.clone(), id, replaced: None });
        Ok(id)
    }
}
