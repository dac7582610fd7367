//! One look at the host, and what is done about what was found.

use std::path::PathBuf;

use anyhow::{Context, bail};
use kube::policy::Policy;

use super::daemon::{self, Daemon};
use super::init::Init;
use super::place::Place;
use super::program::{self, Installed, Stamp};
use super::{agent, files};
use crate::cli::VERSION;

/// Keeps the installation as it is to be.
#[derive(Debug)]
pub(crate) struct Keeper {
    place: Place,
    init: Init,
    /// Of the daemon.
    options: Vec<String>,
    /// The cluster's, where it is mounted.
    policy: Option<PathBuf>,
    downgrade: bool,
    /// The host's program when it was ours the last time.
    seen: Option<Stamp>,
    /// Whether the daemon has served since this process began.
    has_served: bool,
}

/// What has to be done about the program.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    /// Nothing.
    Nothing,
    /// It is another, or an upgrade was cut short.
    Renew,
    /// It is newer, with this version.
    LeaveNewer(String),
}

impl Keeper {
    pub(crate) fn new(
        place: Place,
        init: Init,
        options: Vec<String>,
        policy: Option<PathBuf>,
        downgrade: bool,
    ) -> Self {
        Self { place, init, options, policy, downgrade, seen: None, has_served: false }
    }

    /// Looks, and does what has to be done; how things are then, in a sentence.
    ///
    /// # Errors
    /// Why the daemon does not serve, or not as it should.
    pub(crate) fn look(&mut self) -> anyhow::Result<String> {
        let daemon = Daemon::look(&self.place.control())?;
        if let Some(other) = self.init.other(&self.place, &daemon)? {
            return only_watched(&other, &daemon);
        }
        let found = self.copy_policy();
        let sentence = self.keep(daemon)?;
        self.has_served = true;
        found.map(|()| sentence)
    }

    /// Whether the runtime has taken the daemon's plugin.
    pub(crate) fn is_registered(&self) -> bool {
        agent::is_registered(&self.place.agent())
    }

    fn keep(&mut self, daemon: Daemon) -> anyhow::Result<String> {
        match self.task()? {
            Task::LeaveNewer(version) => self.left_alone(&version, &daemon),
            Task::Renew => {
                program::put(&self.place)?;
                let before = self.init.written(&self.place)?;
                let done = self.renew(daemon, before.as_deref());
                self.seen = Stamp::of(&self.place).filter(|_| done.is_ok());
                done
            }
            Task::Nothing => self.keep_running(daemon),
        }
    }

    fn task(&mut self) -> anyhow::Result<Task> {
        if self.place.previous().exists() {
            return Ok(Task::Renew);
        }
        let stamp = Stamp::of(&self.place);
        if stamp.is_some() && stamp == self.seen {
            return Ok(Task::Nothing);
        }
        let installed = Installed::look(&self.place)?;
        Ok(match (&installed, installed.newer()) {
            (Installed::Own, _) => {
                self.seen = stamp;
                Task::Nothing
            }
            (_, Some(version)) if !self.downgrade => Task::LeaveNewer(version.to_owned()),
            _ => Task::Renew,
        })
    }

    /// Somebody has rolled the DaemonSet back: containers see the newer one, which knows how to take
    /// over from this one, but not the other way round.
    fn left_alone(&self, version: &str, daemon: &Daemon) -> anyhow::Result<String> {
        if !serves(daemon) {
            self.init.start(&self.place, &self.options)?;
        }
        Ok(format!(
            "version {version} is installed, which is newer than {VERSION}, and is left alone; \
             --downgrade replaces it"
        ))
    }

    /// The program is ours; is the daemon, and as it was told?
    fn keep_running(&mut self, daemon: Daemon) -> anyhow::Result<String> {
        let before = self.init.written(&self.place)?;
        let is_new = self.init.configure(&self.place, &self.options)?;
        match daemon {
            Daemon::Whole(found) if found.is(VERSION) && found.serves && !is_new => {}
            Daemon::Whole(found) if found.is(VERSION) && !is_new => {
                daemon::wait_for(&self.place.control(), |next| next.pid == found.pid)?;
            }
            Daemon::Whole(_) => return self.renew(daemon, before.as_deref()),
            Daemon::Nobody | Daemon::Orphan => {
                if self.has_served && self.init.is_stopped()? {
                    bail!(
                        "somebody has stopped the daemon; start it with `systemctl start resview`, \
                         or delete this pod"
                    );
                }
                self.start(None)?;
            }
        }
        Ok(served())
    }

    /// Our program is in its place, and its options may be others than `before`: now it is to serve.
    /// If it does not come up, what was before does.
    fn renew(&self, daemon: Daemon, before: Option<&[u8]>) -> anyhow::Result<String> {
        let Err(error) = self.try_to_renew(daemon) else {
            program::settled(&self.place)?;
            return Ok(served());
        };
        let error = error.context(format!("version {VERSION} does not come up"));
        match self.go_back(before) {
            Ok(()) => Err(error),
            Err(back) => Err(error.context(format!("nor does what was before: {back:#}"))),
        }
    }

    fn go_back(&self, before: Option<&[u8]>) -> anyhow::Result<()> {
        let is_back = program::put_back(&self.place)?;
        let Some(before) = before else { return Ok(()) };
        let differs = self.init.write_again(&self.place, before)?;
        // It has not stopped, or its worker has not: then this is a take-over.
        if !is_back && !differs || serves(&Daemon::look(&self.place.control())?) {
            return Ok(());
        }
        // Without a service manager, what is written down is the options.
        let options = serde_json::from_slice(before).ok();
        self.init.start(&self.place, &options.unwrap_or_else(|| self.options.clone()))
    }

    fn try_to_renew(&self, daemon: Daemon) -> anyhow::Result<()> {
        let before = match daemon {
            Daemon::Whole(before) => {
                // The worker first: if it is no good, nothing has happened.
                daemon::upgrade(&self.place.control(), &self.place.program())?;
                Some(before.pid)
            }
            Daemon::Nobody | Daemon::Orphan => None,
        };
        self.init.configure(&self.place, &self.options)?;
        // Then the supervisor and the agent.
        self.start(before)
    }

    fn start(&self, before: Option<u64>) -> anyhow::Result<()> {
        self.init.start(&self.place, &self.options)?;
        daemon::wait_for(&self.place.control(), |found| {
            Some(found.pid) != before && found.is(VERSION)
        })
    }

    /// The plugin reads it again when it changes. One that cannot be read never gets there.
    fn copy_policy(&self) -> anyhow::Result<()> {
        let Some(from) = &self.policy else { return Ok(()) };
        let Some(text) = files::read(from)? else {
            bail!("{} is not there: is the ConfigMap mounted?", from.display());
        };
        Policy::parse(&text).with_context(|| {
            format!("{} is no policy, and the one before holds", from.display())
        })?;
        let to = self.place.policy();
        if files::replace(&to, &text, 0o644)? {
            tracing::info!(policy = %to.display(), "the policy is on the host");
        }
        Ok(())
    }
}

fn served() -> String {
    format!("version {VERSION} serves")
}

fn serves(daemon: &Daemon) -> bool {
    matches!(daemon, Daemon::Whole(daemon) if daemon.serves)
}

/// What somebody else has installed is theirs.
fn only_watched(other: &str, daemon: &Daemon) -> anyhow::Result<String> {
    let text = format!("{other} another installation's, such as a package's, and is left alone");
    match daemon {
        Daemon::Whole(daemon) if daemon.serves => {
            Ok(format!("{text}; version {} serves", daemon.version))
        }
        _ => bail!("{text}; it does not serve"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::daemon::Supervised;
    use super::super::init::HasSystemd;
    use super::*;

    fn keeper(host: &Path, policy: Option<PathBuf>) -> Keeper {
        let place = Place::new(host, Path::new("/opt/resview"));
        let init = Init::find(&place, HasSystemd::No, "resview-test").unwrap();
        Keeper::new(place, init, Vec::new(), policy, false)
    }

    #[test]
    fn a_policy_that_cannot_be_read_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let (to, from) = (dir.path().join("etc/resview/policy.json"), dir.path().join("policy"));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let keeper = keeper(dir.path(), Some(from.clone()));
        assert!(keeper.copy_policy().unwrap_err().to_string().contains("is not there"));
        std::fs::write(&from, r#"{"version":1,"default":"off"}"#).unwrap();
        keeper.copy_policy().unwrap();
        let good = std::fs::read(&to).unwrap();
        assert_eq!(good, std::fs::read(&from).unwrap());
        std::fs::write(&from, r#"{"version":1,"defautl":"on"}"#).unwrap();
        assert!(keeper.copy_policy().unwrap_err().to_string().contains("the one before holds"));
        assert_eq!(std::fs::read(&to).unwrap(), good);
    }

    #[test]
    fn a_newer_program_is_left_alone_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path(), None);
        let path = dir.path().join("opt/resview/resview");
        assert_eq!(keeper.task().unwrap(), Task::Renew);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "#!/bin/sh\necho resview 999.1\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        assert_eq!(keeper.task().unwrap(), Task::LeaveNewer("999.1".to_owned()));
        keeper.downgrade = true;
        assert_eq!(keeper.task().unwrap(), Task::Renew);
        program::put(&keeper.place).unwrap();
        assert_eq!(keeper.task().unwrap(), Task::Renew, "it has not proved itself");
        program::settled(&keeper.place).unwrap();
        assert_eq!(keeper.task().unwrap(), Task::Nothing);
        assert!(keeper.seen.is_some());
    }

    #[test]
    fn others_are_watched_only() {
        let served = Daemon::Whole(Supervised {
            serves: true,
            version: "0.9".to_owned(),
            ..Supervised::default()
        });
        let text = only_watched("the unit /usr/lib/systemd/system/resview.service is", &served);
        assert!(text.unwrap().ends_with("is left alone; version 0.9 serves"));
        assert!(only_watched("x is", &Daemon::Nobody).is_err());
    }
}
