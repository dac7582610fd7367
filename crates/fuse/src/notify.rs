//! What is sent to the kernel without a request.

use std::sync::Arc;

use rustix::io::Errno;
use zerocopy::IntoBytes;

use crate::abi;
use crate::device::Device;
use crate::types::PollHandle;

/// Sends a session's notifications, from any thread and while the session serves. Never waits for
/// the kernel's answer, for there is none.
#[derive(Clone, Debug)]
pub struct Notifier(Arc<Device>);

impl Notifier {
    pub(crate) fn new(device: Arc<Device>) -> Self {
        Self(device)
    }

    /// Wakes those who wait in poll(2), select(2) or epoll(7) for an open file; each is then asked
    /// about in a POLL of its own. Nothing happens where nobody waits, the file was closed, or
    /// nothing is mounted any more.
    ///
    /// # Errors
    /// What write(2) says; `ENOSYS` from a kernel before 2.6.29, where nobody can wait either.
    pub fn wake(&self, handle: PollHandle) -> Result<(), Errno> {
        self.0.write(wakeup(handle).as_bytes()).map(drop)
    }
}

/// Asks the kernel to send again what it has handed out and got no answer to, with bit 63 of the
/// number set. That includes what a living thread has in hand, so there must be none.
pub(crate) fn resend(device: &Device) -> Result<(), Errno> {
    let message = abi::OutHeader { len: 16, error: abi::NOTIFY_RESEND, unique: 0 };
    device.write(message.as_bytes()).map(drop)
}

/// `FUSE_NOTIFY_POLL`. A message without a request has the number 0.
fn wakeup(handle: PollHandle) -> abi::PollWakeup {
    let header = abi::OutHeader { len: 24, error: abi::NOTIFY_POLL, unique: 0 };
    abi::PollWakeup { header, body: abi::NotifyPollWakeupOut { kh: handle.0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_says_its_own_length() {
        let message = wakeup(PollHandle(0x1122));
        let bytes = message.as_bytes();
        assert_eq!(bytes.len(), 24);
        assert_eq!(bytes[..4], 24_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 1_i32.to_ne_bytes());
        assert_eq!(bytes[8..16], [0; 8]);
        assert_eq!(bytes[16..], 0x1122_u64.to_ne_bytes());
    }
}
