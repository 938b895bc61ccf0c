//! The seccomp filter: a list of what is allowed. All else is refused with EPERM, so that a program
//! that is surprised goes on or says so; what it was is then found by its complaint.

use std::collections::BTreeMap;

use libc::{c_long, c_ulong};
use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::{JailError, Needs};

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Without a look at the arguments.
const ALLOWED: &[c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    // Files that are open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_getdents64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    // Files by name, of which Landlock says the rest.
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_umask,
    // Waiting.
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe,
    libc::SYS_pipe2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_delete,
    libc::SYS_setitimer,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_times,
    libc::SYS_restart_syscall,
    // For the end of a copy of this process.
    libc::SYS_wait4,
    // Threads and signals of this process.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_arch_prctl,
    // Made by a thread's start in newer C libraries; another filter answers that there is none.
    libc::SYS_clone3,
    // Who and where this is.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getpgrp,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_getrlimit,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    // Sockets that are there: clients, and a machine's ends.
    libc::SYS_socketpair,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
];

/// For connections of the Internet. A Unix socket can be made by none of them.
const NETWORK: &[c_long] = &[libc::SYS_bind, libc::SYS_connect, libc::SYS_listen];
const FAMILIES: [libc::c_int; 2] = [libc::AF_INET, libc::AF_INET6];

/// For folders that the guest has, in which Landlock says what may be changed.
const FOLDERS: &[c_long] = &[
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_fchmod,
    libc::SYS_utimensat,
    libc::SYS_syncfs,
];

/// What fork(3) of the C library asks for: a copy of this process, which has no more rights than it. So a guest's
/// memory is written while the guest goes on.
const FORK: u64 =
    (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD).cast_unsigned() as u64;

/// What a thread may say of itself: when it goes with its parent, its name, that of a mapping, how exact its timers are.
const PRCTL: [libc::c_int; 5] = [
    libc::PR_SET_PDEATHSIG,
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_SET_TIMERSLACK,
];

pub(crate) fn install(needs: &Needs) -> Result<(), JailError> {
    // The filters are asked one after the other, and the strictest answer counts.
    let none = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    apply(none, SeccompAction::Allow, absent)?;
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    apply(allowed(needs)?, refused, SeccompAction::Allow)
}

fn apply(rules: Rules, otherwise: SeccompAction, then: SeccompAction) -> Result<(), JailError> {
    let filter = SeccompFilter::new(rules, otherwise, then, TargetArch::x86_64)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    apply_filter(&program)?;
    Ok(())
}

fn allowed(needs: &Needs) -> Result<Rules, BackendError> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_kill, vec![when(0, SeccompCmpOp::Eq, own)?]);
    rules.insert(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own)?]);
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let is_thread = SeccompCmpOp::MaskedEq(thread);
    rules.insert(
        libc::SYS_clone,
        vec![
            when(0, is_thread, thread)?,
            when(0, SeccompCmpOp::Eq, FORK)?,
        ],
    );
    rules.insert(libc::SYS_prlimit64, vec![when(0, SeccompCmpOp::Eq, 0)?]);
    rules.insert(libc::SYS_prctl, any_of(&PRCTL)?);
    rules.insert(
        libc::SYS_ioctl,
        vec![but_for(&[libc::TIOCSTI, libc::TIOCLINUX])?],
    );
    if needs.has_folders {
        rules.extend(FOLDERS.iter().map(|call| (*call, Vec::new())));
    }
    if needs.network {
        rules.extend(NETWORK.iter().map(|call| (*call, Vec::new())));
        rules.insert(libc::SYS_socket, any_of(&FAMILIES)?);
    }
    Ok(rules)
}

fn when(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    let length = SeccompCmpArgLen::Dword;
    SeccompRule::new(vec![SeccompCondition::new(
        argument, length, compare, value,
    )?])
}

/// Rules for each of these as the first argument.
fn any_of(values: &[libc::c_int]) -> Result<Vec<SeccompRule>, BackendError> {
    let each = values.iter().map(|value| u64::from(value.cast_unsigned()));
    each.map(|value| when(0, SeccompCmpOp::Eq, value)).collect()
}

/// Any second argument but these.
fn but_for(values: &[c_ulong]) -> Result<SeccompRule, BackendError> {
    let conditions = values
        .iter()
        .map(|value| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *value));
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}
