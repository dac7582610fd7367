//! Every exit code of this program, in one place.

use std::process::ExitCode;

use rustix::process::WaitStatus;

/// An exit code of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(u8);

/// All went well.
pub(crate) const OK: Code = Code(0);
/// The daemon, or the drop-in for `lxcfs`, could not start.
pub(crate) const FAILED: Code = Code(1);
/// The command line made no sense.
pub(crate) const USAGE: Code = Code(2);
/// `resview status` found no daemon (the init scripts' 3, "not running").
pub(crate) const NOT_RUNNING: Code = Code(3);
/// The daemon ended because of `resview stop`, and the service manager is not to start it again: so
/// says the unit (`RestartPreventExitStatus=`).
pub(crate) const STOPPED: Code = Code(10);
/// `resview run` itself failed, as opposed to the command it ran (Docker's and env(1)'s 125).
pub(crate) const RUN_FAILED: Code = Code(125);
/// The command of `resview run` exists and cannot be executed.
pub(crate) const NOT_EXECUTABLE: Code = Code(126);
/// The command of `resview run` does not exist.
pub(crate) const NOT_FOUND: Code = Code(127);

impl Code {
    /// As a parent sees it.
    pub(crate) fn number(self) -> i32 {
        self.0.into()
    }

    /// The code that tells how a child ended: its own, or 128 + n if signal n killed it. `None`
    /// while the child lives (it was stopped or continued).
    pub(crate) fn of(status: WaitStatus) -> Option<Self> {
        let code = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => return None,
        };
        // exit(2) keeps eight bits and there are 64 signals.
        Some(Self(u8::try_from(code).unwrap_or(RUN_FAILED.0)))
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.0)
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::*;

    #[expect(clippy::zombie_processes, reason = "waitpid gives what is tested here")]
    fn code_of(script: &str) -> Option<Code> {
        let child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let (_, status) = waitpid(pid, WaitOptions::empty()).unwrap().unwrap();
        Code::of(status)
    }

    #[test]
    fn a_child_ends_with_its_code_or_128_and_its_signal() {
        assert_eq!(code_of("exit 7"), Some(Code(7)));
        assert_eq!(code_of("kill -TERM $$"), Some(Code(143)));
        assert_eq!(code_of("kill -KILL $$"), Some(Code(137)));
    }
}
