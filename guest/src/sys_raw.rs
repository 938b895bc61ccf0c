//! The few system calls that rustix has no safe form of.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Blocks `signals` and returns a descriptor that is readable when one is pending. Children would
/// inherit that: [`lead_session`] unblocks all signals in each.
pub(crate) fn receive_signals(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: `set` is a local that sigemptyset initialises before it is read; signalfd gets a valid
    // set and a fresh descriptor that nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

// Both flags are below 1 << 7, and C's short is what the kernel's structure has.
const LOOPBACK_FLAGS: libc::c_short = 0x1 | 0x40; // IFF_UP | IFF_RUNNING

/// Sets the flag IFF_UP on the loop-back interface. Spec: netdevice(7), "SIOCSIFFLAGS".
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: ifreq is plain data for which zero is valid; the name is three bytes in a longer
    // array; the ioctl reads the request of the size that it names.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        let mut request: libc::ifreq = mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = LOOPBACK_FLAGS;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The child leads a session of its own, with no signal blocked; with `terminal`, its standard input becomes the controlling
/// terminal.
pub(crate) fn lead_session(command: &mut Command, terminal: bool) {
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe calls; `none`
    // is a local that sigemptyset initialises.
    unsafe {
        command.pre_exec(move || {
            let mut none: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&raw mut none);
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            rustix::process::setsid()?;
            if terminal {
                rustix::process::ioctl_tiocsctty(std::io::stdin())?;
            }
            Ok(())
        });
    }
}

/// Sends a signal to every process but this one. Spec: kill(2), "pid equals -1".
pub(crate) fn signal_all(signal: i32) -> io::Result<()> {
    // SAFETY: kill touches no memory; process 1 is exempt from its own broadcast.
    if unsafe { libc::kill(-1, signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
