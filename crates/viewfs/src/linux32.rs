//! The host's text as a caller with the personality `PER_LINUX32` gets it.
//!
//! On arm64 the kernel prints another `/proc/cpuinfo` for such a thread (setarch linux32, 32-bit
//! programs that ask for it). It goes by the thread that reads, so a thread of ours takes that
//! personality and reads for them. Source: personality(2), arch/arm64/kernel/cpuinfo.c.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fuse::Errno;
use hostfs::HostFs;
use nix::sys::personality::{self, Persona};
use procfmt::units::Usec;

use crate::clocks::monotonic;

/// Whether this kernel prints anything else for such callers; elsewhere nobody need be asked.
const DIFFERS: bool = cfg!(target_arch = "aarch64");
/// `PER_LINUX32` and the part of a personality that it is a value of, in linux/personality.h.
const PER_LINUX32: u32 = 0x8;
const PER_MASK: u32 = 0xff;
/// How long a text is good for: a tick. It is long on large machines, and dear to make.
const TICK: Usec = Usec(10_000);

/// Whether the file `name` of `/proc` may read otherwise for 32-bit callers.
pub(crate) fn may_differ(name: &str) -> bool {
    DIFFERS && name == "cpuinfo"
}

/// Whether a thread with this personality gets the 32-bit text. One that may not be read is taken
/// as the machine's own.
pub(crate) fn is_linux32(personality: Option<u32>) -> bool {
    personality.is_some_and(|personality| personality & PER_MASK == PER_LINUX32)
}

/// Reads `cpuinfo` as a 32-bit caller.
#[derive(Debug)]
pub(crate) struct Linux32 {
    host: Arc<HostFs>,
    /// Started for the first such caller: few machines ever have one.
    reader: OnceLock<Mutex<Sender<Request>>>,
    last: Mutex<Option<(Usec, Arc<Vec<u8>>)>>,
}

#[derive(Debug)]
struct Request {
    file: String,
    answer: Sender<Result<Vec<u8>, Errno>>,
}

impl Linux32 {
    pub(crate) fn new(host: Arc<HostFs>) -> Self {
        Self { host, reader: OnceLock::new(), last: Mutex::default() }
    }

    /// The text of `cpuinfo`, at most a tick old.
    pub(crate) fn cpuinfo(&self) -> fuse::Result<Arc<Vec<u8>>> {
        // Held while the text is read: whoever comes meanwhile wants the same one.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, text)) = &*last
            && monotonic() < *read_at + TICK
        {
            return Ok(Arc::clone(text));
        }
        let text = Arc::new(self.read("cpuinfo")?);
        *last = Some((monotonic(), Arc::clone(&text)));
        Ok(text)
    }

    /// Has the thread read a file of `/proc`.
    fn read(&self, file: &str) -> fuse::Result<Vec<u8>> {
        let (answer, answered) = channel();
        let request = Request { file: file.to_owned(), answer };
        let reader = self.reader.get_or_init(|| Mutex::new(start(Arc::clone(&self.host))));
        let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread is gone only if it could not be started.
        reader.send(request).map_err(|_| Errno::IO)?;
        drop(reader);
        answered.recv().map_err(|_| Errno::IO)?
    }
}

/// Starts the thread, which ends with the sender.
fn start(host: Arc<HostFs>) -> Sender<Request> {
    let (sender, requests) = channel::<Request>();
    let work = move || {
        if let Err(error) = take_personality() {
            tracing::warn!(%error, "32-bit callers get no cpuinfo: cannot set a personality");
            return;
        }
        for Request { file, answer } in requests {
            let mut text = Vec::new();
            let read = host.proc.read(&file, &mut text).map_err(|error| error.errno());
            // A caller that has gone wants no answer.
            let _ = answer.send(read.map(|()| text));
        }
    };
    let started = std::thread::Builder::new().name("linux32".to_owned()).spawn(work);
    if let Err(error) = started {
        tracing::warn!(%error, "32-bit callers get no cpuinfo: cannot start a thread");
    }
    sender
}

/// For the calling thread alone.
fn take_personality() -> nix::Result<()> {
    let bits = i32::try_from(PER_LINUX32).unwrap_or_default();
    personality::set(Persona::from_bits_retain(bits)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux32() -> Linux32 {
        Linux32::new(Arc::new(HostFs::at("/proc", "/sys").unwrap()))
    }

    #[test]
    fn the_reader_alone_has_the_personality() {
        let linux32 = linux32();
        let read = || String::from_utf8(linux32.read("thread-self/personality").unwrap()).unwrap();
        assert_eq!(read().trim(), "00000008");
        assert_eq!(read().trim(), "00000008", "a second time");
        let own = std::fs::read_to_string("/proc/thread-self/personality").unwrap();
        assert_eq!(own.trim(), "00000000");
        assert!(linux32.read("no-such-file").is_err());
    }

    #[test]
    fn cpuinfo_is_read_once_per_tick() {
        let linux32 = linux32();
        let read_at = monotonic() + Usec(3_600_000_000);
        *linux32.last.lock().unwrap() = Some((read_at, Arc::new(b"kept".to_vec())));
        assert_eq!(*linux32.cpuinfo().unwrap(), b"kept");
        *linux32.last.lock().unwrap() = Some((Usec::ZERO, Arc::new(b"old".to_vec())));
        assert!(linux32.cpuinfo().unwrap().starts_with(b"processor"));
    }

    #[test]
    fn only_this_personality_counts() {
        // ADDR_NO_RANDOMIZE beside it.
        assert!(is_linux32(Some(0x0004_0008)) && is_linux32(Some(8)));
        assert!(!is_linux32(Some(0)) && !is_linux32(Some(0x0004_0000)) && !is_linux32(None));
    }
}
