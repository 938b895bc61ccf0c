//! The signal that takes a vCPU's thread out of the guest.
//!
//! Its handler does nothing: KVM_RUN returns EINTR because a signal is pending, whatever the handler
//! does. The first real-time signal, since no default of the system and no Python handler uses it.

use std::cell::Cell;
use std::sync::Once;

use libc::{c_int, pid_t};

static INSTALLED: Once = Once::new();

thread_local! {
    static THREAD: Cell<pid_t> = const { Cell::new(0) };
}

extern "C" fn nothing(_signal: c_int) {}

/// Installs the handler (once a process), makes this thread take the signal (once a thread), and
/// answers the thread's id.
pub(crate) fn prepare_thread() -> pid_t {
    INSTALLED.call_once(install);
    let known = THREAD.get();
    if known != 0 {
        return known;
    }
    // SAFETY: the set is initialised by sigemptyset before use, and lives through the call. Whoever
    // made this thread may have blocked every signal; one pending and blocked would not end KVM_RUN.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGRTMIN());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
    // SAFETY: gettid has no preconditions.
    let thread = unsafe { libc::gettid() };
    THREAD.set(thread);
    thread
}

fn install() {
    let handler: extern "C" fn(c_int) = nothing;
    // SAFETY: zero is a valid sigaction; the handler is async-signal-safe for it does nothing.
    // SA_RESTART: other system calls of the thread must not notice. KVM_RUN always does.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGRTMIN(), &raw const action, std::ptr::null_mut());
    }
}

/// Signals a thread of this process. One that has ended meanwhile is no error; if its id is reused,
/// another thread of ours runs the empty handler.
pub(crate) fn signal_thread(thread: pid_t) {
    // SAFETY: tgkill takes three integers; a handler for the signal was installed before any thread
    // id became known (`prepare_thread`).
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGRTMIN());
    }
}
