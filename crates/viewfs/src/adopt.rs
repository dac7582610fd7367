//! Taking over what the process before this one had open.

use std::collections::HashMap;
use std::sync::Arc;

use container::{Container, ContainerKey};
use fuse::{Context, Errno, Fh, NodeId};

use crate::clocks::monotonic;
use crate::contents::Contents;
use crate::handles::{Handles, Snapshot};
use crate::keep::{Adopted, Keep, Meta, Owner, What, listing_of};
use crate::nodes::Node;
use crate::open::{self, OpenDirectory, OpenFile};
use crate::shared_tree::SharedTree;

/// Whose content an open file shows.
#[derive(Clone, Debug)]
pub(crate) enum Whose {
    Host,
    Container(Arc<Container>),
    /// That of a container that has ended, whoever may have its process id by now: the content
    /// stays as it was.
    Ended(ContainerKey),
}

impl Whose {
    /// The container for which to make content.
    pub(crate) fn container(&self) -> fuse::Result<Option<&Arc<Container>>> {
        match self {
            Self::Host => Ok(None),
            Self::Container(container) => Ok(Some(container)),
            Self::Ended(_) => Err(Errno::SRCH),
        }
    }

    pub(crate) fn key(&self) -> Option<ContainerKey> {
        match self {
            Self::Host => None,
            Self::Container(container) => Some(container.key()),
            Self::Ended(key) => Some(*key),
        }
    }
}

impl From<Option<Arc<Container>>> for Whose {
    fn from(container: Option<Arc<Container>>) -> Self {
        container.map_or(Self::Host, Self::Container)
    }
}

/// Containers as they were written down, each found again once.
#[derive(Debug)]
pub(crate) struct Owners<'c> {
    contents: &'c Contents,
    found: HashMap<Owner, Whose>,
}

impl<'c> Owners<'c> {
    pub(crate) fn new(contents: &'c Contents) -> Self {
        Self { contents, found: HashMap::new() }
    }

    /// Whose it is now.
    pub(crate) fn find(&mut self, owner: Option<&Owner>) -> Whose {
        let Some(owner) = owner else { return Whose::Host };
        if let Some(whose) = self.found.get(owner) {
            return whose.clone();
        }
        let identity = owner.identity();
        let whose = match self.contents.find_again(&identity) {
            Some(container) => Whose::Container(container),
            None => Whose::Ended(identity.key),
        };
        self.found.insert(owner.clone(), whose.clone());
        whose
    }
}

/// What is written down of a file that is about to be open.
pub(crate) fn new_meta(
    ctx: &Context<'_>,
    node: NodeId,
    fh: Fh,
    container: Option<&Container>,
    what: What,
) -> Meta {
    Meta {
        fh: fh.0,
        node: node.0,
        owner: container.map(Owner::of),
        opened_by: ctx.unique(),
        opened_at: monotonic().0,
        refreshed_by: 0,
        is_good: true,
        what,
    }
}

/// What the last worker had opened, by the number of the request: one whose answer did not arrive
/// is sent again, and gets the same answer.
#[derive(Debug, Default)]
pub(crate) struct Resent(HashMap<u64, (NodeId, Fh)>);

impl Resent {
    pub(crate) fn of(adopted: &[Adopted]) -> Self {
        let known = adopted.iter().map(|one| &one.meta).filter(|meta| meta.opened_by != 0);
        Self(known.map(|meta| (meta.opened_by, (NodeId(meta.node), Fh(meta.fh)))).collect())
    }

    /// The handle that this request has been given already, if it is still among `handles`; else a
    /// new one there, for what `open` makes.
    pub(crate) fn open<T>(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        handles: &Handles<T>,
        keep: &Keep,
        open: impl FnOnce(Fh) -> fuse::Result<T>,
    ) -> fuse::Result<Fh> {
        let given = self.0.get(&ctx.unique()).filter(|(of, _)| *of == node);
        if let Some(&(_, fh)) = given.filter(|(_, fh)| handles.get(*fh).is_some()) {
            return Ok(fh);
        }
        let fh = keep.new_fh();
        handles.insert(fh, open(fh)?);
        Ok(fh)
    }
}

impl SharedTree {
    /// Opens what the last worker had open.
    pub(crate) fn adopt(&self) -> Resent {
        let is_ours = |what: &What| matches!(what, What::File { .. } | What::Directory);
        let adopted = self.keep.adopted(is_ours);
        let resent = Resent::of(&adopted);
        let mut owners = Owners::new(&self.contents);
        let count = adopted.len();
        for one in adopted {
            let fh = Fh(one.meta.fh);
            let whose = owners.find(one.meta.owner.as_ref());
            if self.adopt_one(fh, one, whose).is_none() {
                tracing::warn!(?fh, "an open file is of no use to this version and left out");
                self.keep.close(fh);
            }
        }
        if count > 0 {
            tracing::info!(count, "took over open files and directories");
        }
        resent
    }

    fn adopt_one(&self, fh: Fh, one: Adopted, whose: Whose) -> Option<()> {
        // There is room for all that the last worker has let in.
        let place = self.place(whose.key(), one.content.len());
        if one.meta.what == What::Directory {
            let listed = listing_of(&one.content)?;
            self.directories.insert(fh, OpenDirectory { listed, _place: place });
            return Some(());
        }
        let what = match self.node(NodeId(one.meta.node)).ok()? {
            Node::Proc(file) => {
                let is_linux32 = one.meta.what == What::File { is_linux32: true };
                open::What::Proc { file, is_linux32 }
            }
            Node::Sys(path) => open::What::Sys(path),
            Node::Passage(_) => return None,
        };
        let snapshot = Snapshot::adopted(one);
        self.files.insert(fh, OpenFile { what, whose, snapshot, _place: place });
        Some(())
    }
}
