//! Pressure stall information of a cgroup, which only v2 has.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use crate::error::Error;
use crate::group::Group;

/// What tasks wait for.
#[allow(missing_docs)] // the kernel's names, documented in psi.rst
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pressure {
    Cpu,
    Memory,
    Io,
    /// Since Linux 6.1, where interrupt time is accounted.
    Irq,
}

impl Pressure {
    /// The cgroup's file.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Cpu => "cpu.pressure",
            Self::Memory => "memory.pressure",
            Self::Io => "io.pressure",
            Self::Irq => "irq.pressure",
        }
    }
}

impl Group {
    /// The container's pressure file, verbatim. False where there is none: v1 only, switched off
    /// (`psi=0`, `cgroup.pressure`), or the container is in v2's root, whose file is the host's.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed; what reading it says.
    pub fn pressure(&self, what: Pressure, buffer: &mut Vec<u8>) -> Result<bool, Error> {
        let read = self.walk_unified(|chain, _| chain.own.read(what.file(), buffer))?;
        Ok(read.unwrap_or(false))
    }

    /// Opens the container's pressure file for a trigger: write one, then poll. `None` as
    /// [`Group::pressure`] says false.
    ///
    /// # Errors
    /// As [`Group::pressure`].
    pub fn open_pressure(&self, what: Pressure) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK;
        let opened =
            self.walk_unified(|chain, _| match chain.own.open_with(what.file(), flags) {
                Ok(file) => Ok(Some(file)),
                Err(Error::Absent { .. }) => Ok(None),
                Err(error) => Err(error),
            })?;
        Ok(opened.flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, V1, V2};

    #[test]
    fn io_pressure_is_own_or_missing() {
        let fake = Fake::new(V2);
        fake.write("unified/io.pressure", "host\n");
        fake.files("unified/a", &[("io.pressure", "own\n")]);
        fake.files("unified/b", &[]);
        let mut text = Vec::new();
        assert!(fake.group("/a").pressure(Pressure::Io, &mut text).unwrap());
        assert_eq!(text, b"own\n");
        assert!(fake.group("/a").open_pressure(Pressure::Io).unwrap().is_some());
        for path in ["/b", "/"] {
            assert!(!fake.group(path).pressure(Pressure::Io, &mut text).unwrap());
            assert!(fake.group(path).open_pressure(Pressure::Io).unwrap().is_none());
        }
        // Interrupts have a file of their own, on kernels that account for them.
        fake.files("unified/c", &[("irq.pressure", "full avg10=0.00\n")]);
        assert!(fake.group("/c").pressure(Pressure::Irq, &mut text).unwrap());
        assert_eq!(text, b"full avg10=0.00\n");
        assert!(!fake.group("/a").pressure(Pressure::Irq, &mut text).unwrap());
        assert!(!Fake::new(V1).group("/a").pressure(Pressure::Cpu, &mut text).unwrap());
    }
}
