//! Files and directories of one container: which there are, and what is in them.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use container::Container;
use container::registry::Found;
use fuse::{Errno, FileType};
use view::catalogue::{PRESSURE, ProcFile, Sys};

use super::nodes::{Inner, Known, What};
use super::{ContainerTree, FIXED, TTL};
use crate::contents::lists;
use crate::degraded::Log;
use crate::keep::{self, Meta, Owner};
use crate::nodes::sys_number;
use crate::pressure::source::{Source, name, on_host};
use crate::sys;

/// An entry of a directory.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) inner: Inner,
    pub(super) kind: FileType,
    pub(super) mode: u32,
    /// How long its name leads there without asking.
    pub(super) ttl: Duration,
}

impl ContainerTree {
    /// The container, for what lies below a directory of `sys`; `None`: it gets the host's.
    fn own_of_sys(&self, path: &str, container: &Arc<Container>) -> Option<Arc<Container>> {
        let own = self.contents.own_of_sys(path, Some(container))?;
        self.contents.is_virtual().then(|| Arc::clone(own))
    }

    fn serves(&self, name: &str, in_lxcfs: bool, container: &Container) -> bool {
        lists(self.contents.decision(container).policy(), name, in_lxcfs)
    }

    fn serves_file(&self, file: &ProcFile, container: &Container) -> bool {
        let wanted = self.serves(file.name, file.in_lxcfs, container);
        wanted && self.contents.is_on_host(file)
    }

    /// The child `name` of a directory, if this container has it.
    pub(super) fn child(
        &self,
        parent: &Inner,
        name: &str,
        container: &Arc<Container>,
    ) -> fuse::Result<Entry> {
        match &parent.what {
            What::Passage(_) => {
                let inner = self.known.child(parent.number, name).ok_or(Errno::NOENT)?;
                self.fixed(inner, container).ok_or(Errno::NOENT)
            }
            What::Pressures => self
                .pressures(container)
                .into_iter()
                .find(|(found, _)| *found == name)
                .map(|(_, entry)| entry)
                .ok_or(Errno::NOENT),
            What::Sys(path) => {
                let path = sys::join(path, name);
                let own = self.own_of_sys(&path, container);
                let found = sys::entry(&self.contents, &path, || Ok(own))?;
                let number = sys_number(&path);
                self.keep.name(number, &path);
                let inner = Inner { number, what: What::Sys(path.into()) };
                // Which CPUs, nodes and disks there are may change.
                let ttl = if found.depends_on_caller { TTL } else { FIXED };
                Ok(Entry { inner, kind: found.kind, mode: found.mode, ttl })
            }
            What::Proc(_) | What::Pressure(_) => Err(Errno::NOTDIR),
        }
    }

    /// An entry that is there for every container, unless it is decided otherwise.
    fn fixed(&self, inner: Inner, container: &Arc<Container>) -> Option<Entry> {
        let is_served = match &inner.what {
            What::Proc(file) => self.serves_file(file, container),
            What::Pressures => self.serves(PRESSURE, true, container),
            What::Sys(directory) => {
                let served = view::catalogue::sys_directory(directory)?;
                let wanted = self.serves(served.name, served.in_lxcfs, container);
                wanted && self.contents.host().sys.stat(&**directory).is_ok()
            }
            What::Passage(names) => names.iter().any(|name| {
                let child = self.known.child(inner.number, name);
                child.and_then(|child| self.fixed(child, container)).is_some()
            }),
            What::Pressure(_) => false,
        };
        let (kind, mode) = match &inner.what {
            What::Proc(file) => (FileType::Regular, file.mode),
            _ => (FileType::Directory, 0o555),
        };
        is_served.then_some(Entry { inner, kind, mode, ttl: FIXED })
    }

    /// The pressure files that this container has, by name.
    fn pressures(&self, container: &Arc<Container>) -> Vec<(&'static str, Entry)> {
        let all = on_host(self.contents.host()).into_iter();
        let there = all.filter(|what| {
            let source = self.pressure_source(*what, container);
            matches!(source.read(self.contents.host()), Ok(Some(_)))
        });
        let entry = |what| {
            let inner = Known::pressure(what);
            (name(what), Entry { inner, kind: FileType::Regular, mode: 0o444, ttl: FIXED })
        };
        there.map(entry).collect()
    }

    fn pressure_source(&self, what: cgroup::Pressure, container: &Arc<Container>) -> Source {
        let own = self.contents.own(PRESSURE, Some(container));
        Source { what, container: own.filter(|_| self.contents.is_virtual()).cloned() }
    }

    /// What a node that was looked up before is now.
    pub(super) fn entry(&self, inner: Inner, container: &Arc<Container>) -> fuse::Result<Entry> {
        let is_top = inner.number == self.known.top().number;
        match &inner.what {
            What::Passage(_) if is_top => {
                let (kind, mode) = (FileType::Directory, 0o555);
                Ok(Entry { inner, kind, mode, ttl: Duration::ZERO })
            }
            What::Passage(_) | What::Proc(_) | What::Pressures => {
                self.fixed(inner, container).ok_or(Errno::NOENT)
            }
            What::Pressure(_) => {
                Ok(Entry { inner, kind: FileType::Regular, mode: 0o444, ttl: FIXED })
            }
            What::Sys(_) if self.known.is_fixed(inner.number) => {
                self.fixed(inner, container).ok_or(Errno::NOENT)
            }
            What::Sys(path) => {
                let own = self.own_of_sys(path, container);
                let found = sys::entry(&self.contents, path, || Ok(own))?;
                Ok(Entry { kind: found.kind, mode: found.mode, ttl: TTL, inner })
            }
        }
    }

    /// The names in a directory.
    pub(super) fn list(
        &self,
        inner: &Inner,
        container: &Arc<Container>,
    ) -> fuse::Result<Vec<(String, Inner, FileType)>> {
        match &inner.what {
            What::Passage(names) => {
                let served = names.iter().filter_map(|name| {
                    let child = self.known.child(inner.number, name)?;
                    let entry = self.fixed(child, container)?;
                    Some(((*name).to_owned(), entry.inner, entry.kind))
                });
                Ok(served.collect())
            }
            What::Pressures => {
                let all = self.pressures(container).into_iter();
                Ok(all.map(|(name, entry)| (name.to_owned(), entry.inner, entry.kind)).collect())
            }
            What::Sys(path) => {
                let own = self.own_of_sys(path, container);
                let entries = sys::list(&self.contents, path, || Ok(own))?;
                let entry = |(name, kind): (String, FileType)| {
                    let path = sys::join(path, &name);
                    let inner = Inner { number: sys_number(&path), what: What::Sys(path.into()) };
                    (name, inner, kind)
                };
                Ok(entries.into_iter().map(entry).collect())
            }
            What::Proc(_) | What::Pressure(_) => Err(Errno::NOTDIR),
        }
    }

    pub(super) fn link(&self, inner: &Inner, container: &Arc<Container>) -> fuse::Result<OsString> {
        let What::Sys(path) = &inner.what else { return Err(Errno::INVAL) };
        let own = self.own_of_sys(path, container);
        sys::read_link(&self.contents, path, || Ok(own))
    }

    /// The content of a file, certainly of this container. `last` is what it read last.
    pub(super) fn content(
        &self,
        inner: &Inner,
        found: &Found,
        last: Option<&[u8]>,
    ) -> fuse::Result<Vec<u8>> {
        let content = self.made(inner, &found.container, last);
        // Only now is it certain that nobody else had its place meanwhile; and a failure may come
        // from its end.
        if self.contents.is_there(found)? { content } else { Err(Errno::NOENT) }
    }

    fn made(
        &self,
        inner: &Inner,
        container: &Arc<Container>,
        last: Option<&[u8]>,
    ) -> fuse::Result<Vec<u8>> {
        if let Some(log) = self.contents.degraded().filter(|_| self.is_made(inner, container))
            && let Some(content) = self.without_making(log, inner, container, last)
        {
            return Ok(content);
        }
        let own = Some(container).filter(|_| self.contents.is_virtual());
        match &inner.what {
            What::Proc(file) => self.contents.proc_file(file, false, own),
            What::Sys(path) => self.contents.sys_file(path, own),
            What::Pressure(what) => {
                let source = self.pressure_source(*what, container);
                source.read(self.contents.host())?.ok_or(Errno::NOENT)
            }
            What::Passage(_) | What::Pressures => Err(Errno::ISDIR),
        }
    }

    /// Whether the content is made for the container, and not the host's or the kernel's.
    fn is_made(&self, inner: &Inner, container: &Arc<Container>) -> bool {
        let own = match &inner.what {
            What::Proc(file) => self.contents.own(file.name, Some(container)),
            What::Sys(path) if matches!(view::catalogue::sys(path), Sys::Virtual(_)) => {
                self.contents.own_of_sys(path, Some(container))
            }
            _ => None,
        };
        own.is_some() && self.contents.is_virtual()
    }

    /// What is shown while nothing may be made; `None`: the host's.
    fn without_making(
        &self,
        log: &Log,
        inner: &Inner,
        container: &Container,
        last: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        let file = match &inner.what {
            What::Proc(file) => file.name,
            What::Sys(path) => path,
            _ => return None,
        };
        if let Some(content) = log.last_shown(inner.number.0, file, last) {
            return Some(content);
        }
        // What it read last in the shared tree.
        let meta = Meta {
            fh: 0,
            node: inner.number.0,
            owner: Some(Owner::of(container)),
            opened_by: 0,
            opened_at: 0,
            refreshed_by: 0,
            is_good: false,
            what: keep::What::File { is_linux32: false },
        };
        let found = log.last_good(&self.keep, &meta, file);
        if found.is_none() {
            log.host(inner.number.0, file);
        }
        found
    }
}
