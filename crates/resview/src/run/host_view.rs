//! Where the view comes from: a running daemon, else this process itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use view::policy::Policy;
use viewfs::Upkeep;

use super::mounts::make_private;
use super::plan::stage_command;
use crate::cli::{RunOptions, StageName};
use crate::exit_codes::{self, Code};
use crate::mountinfo::{self, Mount};
use crate::serve::{self, ServeOptions, Serving, Subtype, default_threads};

/// How long a daemon may take to say that it lives.
const PATIENCE: Duration = Duration::from_secs(2);

/// Directories of which one is everywhere, and none of which we read while the view hides it.
const PLACES: [&str; 3] = ["/run", "/mnt", "/tmp"];

/// A view of the machine that can be bound into a container.
#[derive(Debug)]
pub(super) enum HostView {
    /// A daemon's.
    Daemon { tree: PathBuf },
    /// Our own, mounted below `scratch` in a mount namespace that nobody else sees. The kernel
    /// removes it with this process, whatever ends that.
    Own { tree: PathBuf, scratch: PathBuf, _serving: Serving },
}

impl HostView {
    /// Finds a living daemon's view, else serves one. Moves this process, which must have one
    /// thread only, into a mount namespace of its own in the latter case.
    pub(super) fn find_or_serve(options: &RunOptions, mounts: &[Mount]) -> anyhow::Result<Self> {
        let daemon = mountinfo::at(mounts, &options.mountpoint);
        if daemon.is_some_and(|mount| mount.fs_type == "fuse.resview") {
            if ask(&options.mountpoint) == Answers::Yes {
                tracing::info!(mountpoint = %options.mountpoint.display(), "using the daemon's view");
                if options.view.policy()? != Policy::default() {
                    tracing::warn!("the daemon decides about the view, not this command's options");
                }
                return Ok(Self::Daemon { tree: options.mountpoint.clone() });
            }
            tracing::warn!("the daemon at {} does not answer", options.mountpoint.display());
        }
        Self::serve(options)
    }

    fn serve(options: &RunOptions) -> anyhow::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS)
            .context("cannot make a mount namespace; be root (CAP_SYS_ADMIN)")?;
        make_private()?;
        let scratch = PLACES.iter().map(Path::new).find(|place| place.is_dir());
        let scratch = scratch.with_context(|| format!("none of {PLACES:?} is a directory"))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("resview"), scratch, Some("tmpfs"), flags, Some("mode=0700,size=1m"))
            .with_context(|| format!("cannot mount a tmpfs on {}", scratch.display()))?;
        let tree = scratch.join("view");
        std::fs::create_dir(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
        let serving = serve::start(&ServeOptions {
            mountpoint: tree.clone(),
            subtype: Subtype::Resview,
            policy: options.view.policy()?,
            upkeep: Upkeep::default(),
            threads: default_threads(),
            triggers: true,
        })?;
        Ok(Self::Own { tree, scratch: scratch.to_owned(), _serving: serving })
    }

    /// The root of the view.
    pub(super) fn tree(&self) -> &Path {
        match self {
            Self::Daemon { tree } | Self::Own { tree, .. } => tree,
        }
    }

    /// What the container has to unmount when it has the view.
    pub(super) fn scratch(&self) -> Option<&Path> {
        match self {
            Self::Daemon { .. } => None,
            Self::Own { scratch, .. } => Some(scratch),
        }
    }
}

/// What a file system says when it is asked whether it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    Yes,
    /// Its server is gone (ENOTCONN).
    Dead,
    /// It did not answer in time.
    Late,
    /// It could not be asked: the path is not there, or not to be looked at.
    No,
}

/// Whether the file system at `path` answers. Asked in another process: a look at a hung file
/// system may never return.
pub(crate) fn ask(path: &Path) -> Answers {
    match asked(path) {
        Ok(Some(code)) if code == exit_codes::NOT_RUNNING.number() => Answers::Dead,
        Ok(Some(0)) => Answers::Yes,
        Ok(Some(_)) => Answers::No,
        Ok(None) => Answers::Late,
        Err(error) => {
            tracing::warn!("cannot ask {}: {error:#}", path.display());
            Answers::No
        }
    }
}

/// The exit code of a process that looks; `None`: it did not end in time.
fn asked(path: &Path) -> anyhow::Result<Option<i32>> {
    let mut probe = stage_command(StageName::Probe);
    probe.arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut probe = probe.spawn().context("cannot start a process")?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(status) = probe.try_wait().context("cannot wait for a process")? {
            return Ok(status.code());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // It may be beyond killing until the file system is aborted, so it is not waited for.
    probe.kill().context("cannot kill a process")?;
    Ok(None)
}

/// The process that looks.
pub(super) fn probe(arguments: &[OsString]) -> anyhow::Result<Code> {
    let [path] = arguments else { bail!("a probe looks at one path") };
    Ok(match rustix::fs::statfs(Path::new(path)) {
        Ok(_) => exit_codes::OK,
        Err(rustix::io::Errno::NOTCONN) => exit_codes::NOT_RUNNING,
        Err(_) => exit_codes::FAILED,
    })
}
