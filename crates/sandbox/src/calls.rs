//! The system calls that the worker may make: its own, the standard library's, glibc's (dynamic and
//! static). By experiment, with strace(1) over a daemon that serves all files on each cgroup layout,
//! plus what a panic, a failed allocation and an abort need.

use std::collections::BTreeMap;

use libc as c;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use crate::{Error, Sandbox};

/// Calls with any arguments.
#[rustfmt::skip]
const PLAIN: &[i64] = &[
    // Files, by descriptor or below one.
    c::SYS_read, c::SYS_write, c::SYS_readv, c::SYS_writev, c::SYS_pread64, c::SYS_pwrite64,
    c::SYS_preadv, c::SYS_pwritev, c::SYS_close, c::SYS_close_range, c::SYS_lseek, c::SYS_fstat,
    c::SYS_newfstatat, c::SYS_statx, c::SYS_fstatfs, c::SYS_readlinkat, c::SYS_getdents64,
    c::SYS_fcntl, c::SYS_flock, c::SYS_ftruncate, c::SYS_fallocate, c::SYS_memfd_create, c::SYS_dup,
    c::SYS_dup3, c::SYS_pipe2, c::SYS_getcwd,
    // Waiting.
    c::SYS_epoll_create1, c::SYS_epoll_ctl, c::SYS_epoll_pwait, c::SYS_epoll_pwait2, c::SYS_ppoll,
    c::SYS_eventfd2, c::SYS_timerfd_create, c::SYS_timerfd_settime, c::SYS_timerfd_gettime,
    c::SYS_signalfd4, c::SYS_pidfd_open, c::SYS_futex, c::SYS_sched_yield,
    // Sockets that are there already: the supervisor's channel, the control socket.
    c::SYS_accept4, c::SYS_connect, c::SYS_sendto, c::SYS_recvfrom, c::SYS_sendmsg, c::SYS_recvmsg,
    c::SYS_shutdown, c::SYS_getsockopt, c::SYS_setsockopt, c::SYS_getsockname, c::SYS_getpeername,
    // Memory; mmap and mprotect are below.
    c::SYS_munmap, c::SYS_mremap, c::SYS_madvise, c::SYS_brk, c::SYS_membarrier,
    // Threads and their ends.
    c::SYS_set_robust_list, c::SYS_rseq, c::SYS_set_tid_address, c::SYS_sched_getaffinity,
    c::SYS_exit, c::SYS_exit_group, c::SYS_restart_syscall,
    // The end of a process that was started before.
    c::SYS_wait4, c::SYS_waitid,
    // Signals to be received.
    c::SYS_rt_sigaction, c::SYS_rt_sigprocmask, c::SYS_rt_sigreturn, c::SYS_rt_sigtimedwait,
    c::SYS_sigaltstack,
    // Who and where we are, and what time it is.
    c::SYS_getpid, c::SYS_gettid, c::SYS_getppid, c::SYS_getuid, c::SYS_geteuid, c::SYS_getgid,
    c::SYS_getegid, c::SYS_getrusage, c::SYS_sysinfo, c::SYS_uname, c::SYS_getrandom, c::SYS_capget,
    c::SYS_clock_gettime, c::SYS_clock_getres, c::SYS_clock_nanosleep, c::SYS_nanosleep,
    c::SYS_gettimeofday,
];

/// Older forms, which the newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const PLAIN_HERE: &[i64] = &[c::SYS_poll, c::SYS_epoll_wait, c::SYS_readlink, c::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const PLAIN_HERE: &[i64] = &[];

/// Making, moving and removing files and directories, for those that may write below a path.
const MAKE: &[i64] = &[c::SYS_mkdirat, c::SYS_unlinkat, c::SYS_renameat2];
#[cfg(target_arch = "x86_64")]
const MAKE_HERE: &[i64] =
    &[c::SYS_mkdir, c::SYS_rmdir, c::SYS_unlink, c::SYS_rename, c::SYS_renameat];
/// renameat(2), which the libc crate lacks there. Source: asm-generic/unistd.h.
#[cfg(not(target_arch = "x86_64"))]
const MAKE_HERE: &[i64] = &[38];

/// `NS_GET_TGID_FROM_PIDNS` of linux/nsfs.h.
const NS_GET_TGID_FROM_PIDNS: u32 = 0x8004_b707;
/// Terminals and flags of descriptors, for the standard library.
const IOCTLS: &[u32] = &[NS_GET_TGID_FROM_PIDNS, 0x5401, 0x5413, 0x5421, 0x5451];

/// Names of threads, names of memory (`PR_SET_VMA`), and giving up more. Source: linux/prctl.h.
const PRCTLS: &[i32] =
    &[c::PR_SET_NAME, c::PR_GET_NAME, 0x5356_4d41, c::PR_GET_NO_NEW_PRIVS, c::PR_SET_NO_NEW_PRIVS];

/// What pthread_create(3) asks for: a thread, and no namespace.
const THREAD: i32 = c::CLONE_VM
    | c::CLONE_FS
    | c::CLONE_FILES
    | c::CLONE_SIGHAND
    | c::CLONE_THREAD
    | c::CLONE_SYSVSEM
    | c::CLONE_SETTLS
    | c::CLONE_PARENT_SETTID
    | c::CLONE_CHILD_CLEARTID;

/// All ways of opening that change something.
const CHANGES: i32 = c::O_ACCMODE | c::O_CREAT | c::O_TRUNC | (c::O_TMPFILE & !c::O_DIRECTORY);

/// Which calls are allowed; an empty list of rules means with any arguments.
pub(crate) fn allowed(sandbox: &Sandbox) -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut plain = vec![PLAIN, PLAIN_HERE];
    if !sandbox.writable.is_empty() {
        plain.extend([MAKE, MAKE_HERE]);
    }
    rules.extend(plain.into_iter().flatten().map(|&call| (call, Vec::new())));

    rules.insert(c::SYS_openat, opening(sandbox)?);
    // Nothing that can be written can be executed.
    for call in [c::SYS_mmap, c::SYS_mprotect] {
        rules.insert(call, vec![rule(&[bits(2, c::PROT_EXEC, 0)?])?]);
    }
    // CLONE_DETACHED, which musl sets, means nothing.
    rules.insert(c::SYS_clone, vec![rule(&[bits(0, !c::CLONE_DETACHED, THREAD)?])?]);
    // abort(3): to ourselves only.
    let own = rustix::process::getpid().as_raw_nonzero().get();
    rules.insert(c::SYS_tgkill, vec![rule(&[is(0, own)?])?]);
    // Reading limits, not setting them.
    rules.insert(c::SYS_prlimit64, vec![rule(&[null(2)?])?]);
    let unix = rule(&[is(0, c::AF_UNIX)?])?;
    // Statistics of tasks, from the kernel.
    let netlink = rule(&[is(0, c::AF_NETLINK)?, is(2, c::NETLINK_GENERIC)?])?;
    rules.insert(c::SYS_socketpair, vec![unix.clone()]);
    rules.insert(c::SYS_socket, vec![unix, netlink]);
    let one_of = |argument, values: &[i32]| -> Result<Vec<_>, Error> {
        values.iter().map(|&value| rule(&[is(argument, value)?])).collect()
    };
    let ioctls: Vec<_> = IOCTLS.iter().map(|request| request.cast_signed()).collect();
    rules.insert(c::SYS_ioctl, one_of(1, &ioctls)?);
    rules.insert(c::SYS_prctl, one_of(0, PRCTLS)?);
    // One more filter, which can only take away.
    let more = [is(0, c::SECCOMP_SET_MODE_FILTER.cast_signed())?];
    rules.insert(c::SYS_seccomp, vec![rule(&more)?]);
    if sandbox.rings {
        // No new ones, and none of another kind: io_uring_setup(2) and io_uring_register(2) fail.
        rules.insert(c::SYS_io_uring_enter, Vec::new());
        rules.insert(c::SYS_sched_setaffinity, vec![rule(&[is(0, 0)?])?]);
    }
    if cfg!(target_arch = "aarch64") {
        // PER_LINUX32, for the text that 32-bit programs get.
        rules.insert(c::SYS_personality, one_of(0, &[8])?);
    }
    Ok(rules)
}

/// To read anything; to write only as far as the sandbox says, never to make a file without that.
fn opening(sandbox: &Sandbox) -> Result<Vec<SeccompRule>, Error> {
    if !sandbox.writable.is_empty() {
        return Ok(Vec::new());
    }
    let mut ways = vec![rule(&[bits(2, CHANGES, c::O_RDONLY)?])?];
    if sandbox.triggers {
        ways.push(rule(&[bits(2, CHANGES, c::O_RDWR)?])?);
    }
    Ok(ways)
}

/// Which of the calls that are allowed are refused from [`crate::settle`] on.
pub(crate) fn settled(sandbox: &Sandbox) -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.extend([MAKE, MAKE_HERE].into_iter().flatten().map(|&call| (call, Vec::new())));
    let mut refused = [c::O_CREAT, c::O_TRUNC, c::O_TMPFILE & !c::O_DIRECTORY]
        .map(|bit| bits(2, bit, bit))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    refused.push(bits(2, c::O_ACCMODE, c::O_WRONLY)?);
    refused.push(bits(2, c::O_ACCMODE, c::O_ACCMODE)?);
    if !sandbox.triggers {
        refused.push(bits(2, c::O_ACCMODE, c::O_RDWR)?);
    }
    let refused: Result<Vec<_>, _> = refused.into_iter().map(|one| rule(&[one])).collect();
    rules.insert(c::SYS_openat, refused?);
    Ok(rules)
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, Error> {
    SeccompRule::new(conditions.to_vec()).map_err(Error::rules)
}

/// The argument is `value`. The kernel takes all of these as 32 bits.
fn is(argument: u8, value: i32) -> Result<SeccompCondition, Error> {
    condition(argument, SeccompCmpOp::Eq, value)
}

/// The bits of `mask` are as in `value`.
fn bits(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition, Error> {
    condition(argument, SeccompCmpOp::MaskedEq(mask.cast_unsigned().into()), value)
}

/// The pointer is null.
fn null(argument: u8) -> Result<SeccompCondition, Error> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
        .map_err(Error::rules)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: i32) -> Result<SeccompCondition, Error> {
    let value = value.cast_unsigned().into();
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(Error::rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What would give a program, a namespace, a mount, somebody else's memory or descriptors, the
    /// kernel's own, or a part of the kernel that has often had faults.
    #[rustfmt::skip]
    const DANGEROUS: &[i64] = &[
        c::SYS_execve, c::SYS_execveat, c::SYS_setns, c::SYS_unshare, c::SYS_chroot,
        c::SYS_pivot_root, c::SYS_mount, c::SYS_umount2, c::SYS_move_mount, c::SYS_open_tree,
        c::SYS_fsopen, c::SYS_fsmount, c::SYS_fsconfig, c::SYS_fspick, c::SYS_mount_setattr,
        c::SYS_ptrace, c::SYS_process_vm_readv, c::SYS_process_vm_writev, c::SYS_kcmp,
        c::SYS_pidfd_getfd, c::SYS_kill, c::SYS_tkill, c::SYS_pidfd_send_signal,
        c::SYS_rt_sigqueueinfo, c::SYS_rt_tgsigqueueinfo, c::SYS_capset, c::SYS_setuid,
        c::SYS_setresuid, c::SYS_bpf, c::SYS_perf_event_open, c::SYS_userfaultfd,
        c::SYS_io_uring_setup, c::SYS_io_uring_enter, c::SYS_io_uring_register, c::SYS_init_module,
        c::SYS_finit_module, c::SYS_delete_module, c::SYS_kexec_load,
        c::SYS_reboot, c::SYS_swapon, c::SYS_swapoff, c::SYS_add_key, c::SYS_request_key,
        c::SYS_keyctl, c::SYS_open_by_handle_at, c::SYS_name_to_handle_at, c::SYS_openat2,
        c::SYS_mknodat, c::SYS_fchmod, c::SYS_fchmodat, c::SYS_fchown, c::SYS_fchownat,
        c::SYS_linkat, c::SYS_symlinkat, c::SYS_setxattr, c::SYS_bind, c::SYS_listen,
        c::SYS_settimeofday, c::SYS_clock_settime, c::SYS_adjtimex, c::SYS_sethostname, c::SYS_acct,
        c::SYS_syslog, c::SYS_quotactl, c::SYS_fanotify_init,
    ];

    #[test]
    fn dangerous_calls_are_never_allowed() {
        let most = Sandbox { triggers: true, writable: vec!["/x".into()], ..Sandbox::default() };
        let allowed = allowed(&most).unwrap();
        let wrong: Vec<_> = DANGEROUS.iter().filter(|call| allowed.contains_key(call)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn rings_that_are_there_can_be_used_and_none_be_made() {
        let allowed = allowed(&Sandbox { rings: true, ..Sandbox::default() }).unwrap();
        assert_eq!(allowed.get(&c::SYS_io_uring_enter), Some(&Vec::new()));
        assert_eq!(allowed.get(&c::SYS_sched_setaffinity).map(Vec::len), Some(1), "of itself only");
        for call in [c::SYS_io_uring_setup, c::SYS_io_uring_register] {
            assert!(!allowed.contains_key(&call), "call {call}");
        }
    }

    #[test]
    fn calls_with_conditions_are_not_allowed_without() {
        let allowed = allowed(&Sandbox::default()).unwrap();
        for call in [
            c::SYS_openat,
            c::SYS_mmap,
            c::SYS_mprotect,
            c::SYS_clone,
            c::SYS_tgkill,
            c::SYS_prlimit64,
            c::SYS_socket,
            c::SYS_socketpair,
            c::SYS_ioctl,
            c::SYS_prctl,
            c::SYS_seccomp,
        ] {
            assert!(allowed.get(&call).is_some_and(|rules| !rules.is_empty()), "call {call}");
        }
        for call in MAKE.iter().chain(MAKE_HERE) {
            assert!(!allowed.contains_key(call), "call {call}");
        }
    }
}
