//! What is in force, for the log and for the status.

use std::fmt::{Display, Formatter, Result};
use std::path::PathBuf;

use serde::Serialize;

/// What is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The capabilities that were kept, by the kernel's names.
    pub capabilities: Vec<&'static str>,
    /// Whether no program can give new privileges; always, after [`enter`](crate::enter).
    pub no_new_privs: bool,
    /// What the filter for system calls does.
    pub seccomp: Seccomp,
    /// What is left of the machine's file tree.
    pub files: Files,
    /// The most memory, in bytes; `None`: no limit.
    pub memory: Option<u64>,
    /// The most open descriptors; `None`: no limit.
    pub descriptors: Option<u64>,
    /// Whether a crash leaves a core dump.
    pub core_dumps: bool,
    /// What could not be had here, in words.
    pub weaker: Vec<String>,
}

/// What happens to a system call that the filter does not allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// There is no filter.
    #[default]
    Off,
    /// It fails with EPERM.
    Refuses,
    /// It is made, and the kernel logs it.
    Logs,
}

/// What can be reached by a path. Whatever was open stays so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// Directories that can be written to.
    pub writable: Vec<PathBuf>,
    /// Files and directories that can be read.
    pub readable: Vec<PathBuf>,
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let list = |paths: &[PathBuf]| {
            let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            if paths.is_empty() { "nothing".to_owned() } else { paths.join(" ") }
        };
        write!(out, "capabilities {}", self.capabilities.join(" "))?;
        write!(out, "; no_new_privs {}", if self.no_new_privs { "on" } else { "off" })?;
        write!(out, "; seccomp {}", self.seccomp)?;
        write!(out, "; writes {}", list(&self.files.writable))?;
        write!(out, "; reads {}", list(&self.files.readable))?;
        if let Some(bytes) = self.memory {
            write!(out, "; memory {bytes} bytes")?;
        }
        if let Some(most) = self.descriptors {
            write!(out, "; descriptors {most}")?;
        }
        self.weaker.iter().try_for_each(|weaker| write!(out, "; but {weaker}"))
    }
}

impl Display for Seccomp {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        out.write_str(match self {
            Self::Off => "off",
            Self::Refuses => "refuses",
            Self::Logs => "logs",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_it_all() {
        let mut report = Report { no_new_privs: true, ..Report::default() };
        report.capabilities = vec!["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"];
        report.seccomp = Seccomp::Refuses;
        report.files.readable = vec!["/proc".into()];
        report.memory = Some(1 << 20);
        report.weaker.push("the bounding set stays as it was".to_owned());
        assert_eq!(
            report.to_string(),
            "capabilities CAP_SYS_PTRACE CAP_DAC_READ_SEARCH; no_new_privs on; seccomp refuses; \
             writes nothing; reads /proc; memory 1048576 bytes; but the bounding set stays as it was"
        );
    }
}
