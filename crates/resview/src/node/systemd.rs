//! The host's systemd, over the system bus. It has a socket of its own as well, for root, but names
//! itself in its answers there in a way that zbus refuses.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use zbus::connection::Builder;
use zbus::{DynamicType, Message, OwnedObjectPath, OwnedVariant, Variant};

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long an answer may take: systemd reads all units anew when it is told to reload.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a job may take: the unit's time-outs are within that, and detaching from all containers.
const JOB_MAX: Duration = Duration::from_secs(400);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to systemd. Each question is a connection: it may have been re-executed in between.
pub(crate) struct Systemd {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

/// What systemd says of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The file, on the host; none where there is no such unit.
    pub(crate) fragment: Option<PathBuf>,
    /// `enabled`, `disabled`, `linked`, …
    pub(crate) enabled: String,
    /// `active`, `failed`, `inactive`, …
    pub(crate) active: String,
    /// Whether the file has changed since systemd read it.
    pub(crate) is_stale: bool,
    /// How the last run of a service ended: `success`, `exit-code`, …
    pub(crate) result: String,
}

impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Systemd").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Systemd {
    /// The one behind this socket.
    ///
    /// # Errors
    /// This process can have no more descriptors.
    pub(crate) fn new(socket: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot talk to systemd")?;
        Ok(Self { socket: socket.to_owned(), runtime })
    }

    /// Its version, such as 257.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn version(&self) -> anyhow::Result<u32> {
        let version: String = self.property(MANAGER_PATH, MANAGER, "Version")?;
        Ok(version_of(&version))
    }

    /// Has it read all units anew.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        self.manager("Reload", &()).map(drop)
    }

    /// Has a unit started with the machine from now on.
    ///
    /// # Errors
    /// It refuses.
    pub(crate) fn enable(&self, unit: &str) -> anyhow::Result<()> {
        self.manager("EnableUnitFiles", &(vec![unit], false, true))?;
        self.reload()
    }

    /// No longer.
    ///
    /// # Errors
    /// It refuses.
    pub(crate) fn disable(&self, unit: &str) -> anyhow::Result<()> {
        self.manager("DisableUnitFiles", &(vec![unit], false))?;
        self.reload()
    }

    /// Starts a unit, and waits until it is.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(&self, unit: &str) -> anyhow::Result<()> {
        // One that has failed often is started all the same.
        let _ = self.manager("ResetFailedUnit", &(unit,));
        self.job("StartUnit", unit)?;
        self.is_active(unit)
    }

    /// Stops and starts a unit, and waits until that is done.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn restart(&self, unit: &str) -> anyhow::Result<()> {
        self.job("RestartUnit", unit)?;
        self.is_active(unit)
    }

    /// Stops a unit, and waits until it is. It forgets what it has kept for it, where it can
    /// (systemd 254).
    ///
    /// # Errors
    /// It does not stop.
    pub(crate) fn stop(&self, unit: &str) -> anyhow::Result<()> {
        self.job("StopUnit", unit)?;
        let _ = self.manager("CleanUnit", &(unit, vec!["fdstore"]));
        Ok(())
    }

    /// What it says of a unit.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn unit(&self, unit: &str) -> anyhow::Result<Unit> {
        let path = self.load(unit)?;
        let text = |interface, name| self.property::<String>(&path, interface, name);
        let fragment = text(UNIT, "FragmentPath")?;
        Ok(Unit {
            fragment: (!fragment.is_empty()).then(|| fragment.into()),
            enabled: text(UNIT, "UnitFileState")?,
            active: text(UNIT, "ActiveState")?,
            is_stale: self.property(&path, UNIT, "NeedDaemonReload")?,
            result: text(SERVICE, "Result").unwrap_or_default(),
        })
    }

    /// Runs a program on the host, as a service of its own, to its end.
    ///
    /// # Errors
    /// It cannot be started, or fails: the journal says why.
    pub(crate) fn run(&self, unit: &str, command: &[&str]) -> anyhow::Result<()> {
        let path = command.first().context("a program, please")?;
        let line = vec![(*path, command.to_vec(), false)];
        let properties: Vec<(&str, Variant<'_>)> =
            vec![("Type", Variant::from("oneshot")), ("ExecStart", Variant::from(line))];
        let others: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let _ = self.manager("ResetFailedUnit", &(unit,));
        self.manager("StartTransientUnit", &(unit, "replace", properties, others))?;
        let path = self.load(unit)?;
        self.wait(unit, &path)?;
        // One that has ended well is gone; LoadUnit makes an empty one of that name.
        if self.unit(unit)?.active == "failed" {
            bail!("{unit} has failed; see: journalctl -u {unit}");
        }
        Ok(())
    }

    fn job(&self, what: &str, unit: &str) -> anyhow::Result<()> {
        let path = self.load(unit)?;
        self.manager(what, &(unit, "replace"))?;
        self.wait(unit, &path)
    }

    /// Waits until nothing is to be done about a unit any more.
    fn wait(&self, unit: &str, path: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        while self.property::<(u32, OwnedObjectPath)>(path, UNIT, "Job")?.0 != 0 {
            if begin.elapsed() > JOB_MAX {
                bail!("systemd is not done with {unit} after {} s", JOB_MAX.as_secs());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn is_active(&self, name: &str) -> anyhow::Result<()> {
        let unit = self.unit(name)?;
        if unit.active != "active" {
            bail!(
                "{name} does not start ({}, {}); see: journalctl -u {name}",
                unit.active,
                unit.result
            );
        }
        Ok(())
    }

    fn load(&self, unit: &str) -> anyhow::Result<String> {
        let path: OwnedObjectPath = body(&self.manager("LoadUnit", &(unit,))?)?;
        Ok(path.as_str().to_owned())
    }

    fn property<T>(&self, path: &str, interface: &str, name: &str) -> anyhow::Result<T>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: Into<zbus::Error>,
    {
        let answer = self.call(path, PROPERTIES, "Get", &(interface, name))?;
        let value: OwnedVariant = body(&answer)?;
        let value = T::try_from(value).map_err(Into::into);
        value.with_context(|| format!("systemd's {name} is of another type"))
    }

    fn manager<B>(&self, method: &str, arguments: &B) -> anyhow::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        self.call(MANAGER_PATH, MANAGER, method, arguments)
    }

    fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        arguments: &B,
    ) -> anyhow::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        let socket = UnixStream::connect(&self.socket).with_context(|| {
            format!("cannot connect to the system bus at {}", self.socket.display())
        })?;
        let answer = self.runtime.block_on(async {
            let builder = Builder::unix_stream(socket).method_timeout(PATIENCE);
            let connection = tokio::time::timeout(PATIENCE, builder.build()).await;
            let connection = connection.context("systemd does not answer")??;
            let destination = Some(DESTINATION);
            let call =
                connection.call_method(destination, path, Some(interface), method, arguments);
            anyhow::Ok(call.await?)
        });
        answer.with_context(|| format!("systemd refuses {method}"))
    }
}

fn body<T: DeserializeOwned + zbus::Type>(message: &Message) -> anyhow::Result<T> {
    message.body().deserialize().context("systemd answers with something else")
}

/// The first number in it: it may be followed by a distribution's own, and begin with a letter.
fn version_of(text: &str) -> u32 {
    let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).unwrap_or_default().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_number() {
        for (text, version) in
            [("257.9-1~deb13u1", 257), ("v255.4-1-g1234", 255), ("252", 252), ("", 0), ("x", 0)]
        {
            assert_eq!(version_of(text), version, "{text}");
        }
    }

    #[test]
    fn a_missing_socket_is_named() {
        let systemd = Systemd::new(Path::new("/none/bus")).unwrap();
        let error = format!("{:#}", systemd.version().unwrap_err());
        assert!(error.contains("/none/bus"), "{error}");
    }
}
