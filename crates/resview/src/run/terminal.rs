//! Sharing the controlling terminal with the command, as a shell does with its jobs.

use std::fs::File;
use std::io::IsTerminal;

use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use super::plan::Terminal;
use super::signals::without_ttou;

fn open() -> Option<File> {
    File::options().read(true).write(true).open("/dev/tty").ok()
}

/// How the command shall have the terminal. It gets it at once only if it would be alone with it:
/// in `resview run … | less`, `less` needs it as well.
pub(super) fn find() -> Terminal {
    let alone = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    match open() {
        None => Terminal::None,
        Some(_) if alone && is_ours() => Terminal::Foreground,
        Some(_) => Terminal::OnDemand,
    }
}

/// Whether our process group is in the foreground.
pub(super) fn is_ours() -> bool {
    open().is_some_and(|terminal| tcgetpgrp(&terminal) == Ok(getpgrp()))
}

/// Puts the process group that `leader` leads in the foreground. Fails where there is no terminal
/// any more, which then concerns nobody.
pub(super) fn give_to(leader: Pid) -> anyhow::Result<()> {
    if let Some(terminal) = open() {
        without_ttou(|| {
            let _ = tcsetpgrp(&terminal, leader);
        })?;
    }
    Ok(())
}

/// Takes the terminal back when the command, which had it, is gone. The group that was in the
/// foreground no longer exists then; a shell that has taken over meanwhile keeps the terminal.
pub(super) fn reclaim(terminal: Terminal) -> anyhow::Result<()> {
    if terminal == Terminal::None {
        return Ok(());
    }
    let Some(file) = open() else { return Ok(()) };
    let abandoned = match tcgetpgrp(&file) {
        Ok(group) => rustix::process::test_kill_process_group(group).is_err(),
        Err(_) => false,
    };
    if abandoned { give_to(getpgrp()) } else { Ok(()) }
}
