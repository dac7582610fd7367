//! Puts the mount of the pressure files in its place, which lies in the tree that the worker
//! serves: another process does, so that neither the worker nor the supervisor ever walks a path
//! through the worker. It is started before the worker gives up starting programs.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use control::{Holdings, Role};

use crate::mountpoint::has_view;

/// The process that waits to do it.
#[derive(Debug)]
pub(super) struct Attacher(Child);

/// Whose mount it is.
const ROLE: Role = Role::Pressure;

impl Attacher {
    /// `None` where everything is in its place.
    pub(super) fn prepare(holdings: &Holdings) -> anyhow::Result<Option<Self>> {
        // The shared tree's is the supervisor's own affair: the way there is the host's.
        let Some(held) = holdings.connection(ROLE) else { return Ok(None) };
        let Some(mount) = &held.mount else { return Ok(None) };
        let tree = holdings.connection(Role::Shared).context("there is no tree to mount on")?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let child = Command::new(program)
            .arg("__attach")
            .args([&tree.state.mountpoint, &held.state.mountpoint])
            .stdin(Stdio::piped())
            // What to mount; it says nothing.
            .stdout(mount.try_clone().context("cannot duplicate a descriptor")?)
            .spawn()
            .context("cannot start a process")?;
        Ok(Some(Self(child)))
    }

    /// Has it done, and says for which connection. To be called when the tree is served.
    pub(super) fn attach(mut self) -> anyhow::Result<Vec<Role>> {
        let mut pipe = self.0.stdin.take().context("no pipe to the process")?;
        pipe.write_all(b"go").context("the process that mounts is gone")?;
        drop(pipe);
        let status = self.0.wait().context("cannot wait for the process that mounts")?;
        ensure!(status.success(), "the mount for the {} files failed", ROLE.name());
        Ok(vec![ROLE])
    }
}

/// The process itself. Does nothing if the worker ends before.
pub(crate) fn main(arguments: &[OsString]) -> anyhow::Result<()> {
    let [tree, mountpoint] = arguments else { bail!("a tree and a mountpoint in it, please") };
    let mut word = Vec::new();
    std::io::stdin().read_to_end(&mut word).context("cannot read standard input")?;
    let (tree, mountpoint) = (Path::new(tree), Path::new(mountpoint));
    // A supervisor that died between the mount and the word about it has left it there.
    if word != b"go" || has_view(mountpoint)? {
        return Ok(());
    }
    match fuse::attach(std::io::stdout().as_fd(), mountpoint) {
        // Somebody unmounted meanwhile what it should have been mounted on.
        Err(_) if !has_view(tree)? => Ok(()),
        attached => Ok(attached?),
    }
}
