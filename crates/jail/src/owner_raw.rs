//! A user namespace that nobody lives in, as a table of owners for mounts: where a guest's process has
//! a user of its own, that one stands for root, whose files the guest's are.
//!
//! The kernel makes user namespaces with processes only. This one shares our memory, so that nothing is
//! copied for it, waits, and is ended once the namespace is held by a descriptor.
//!
//! Spec: `user_namespaces(7)`; `mount_setattr(2)`, "ID-mapped mounts".

use std::arch::asm;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

const STACK: usize = 16 << 10;

/// `root` (0) and `user` stand for each other, and all others for themselves.
pub(crate) fn exchanged(user: u32) -> Result<OwnedFd, Errno> {
    let mut stack = vec![0_u8; STACK];
    let flags = libc::CLONE_NEWUSER | libc::CLONE_VM | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.cast();
    // SAFETY: the new process runs `wait` on `stack`, which outlives it: it is waited for below. `wait`
    // touches no memory, so it does not matter that ours, thread-local variables too, is its own.
    let pid = unsafe { libc::clone(wait, top, flags, std::ptr::null_mut()) };
    if pid < 0 {
        return Err(last());
    }
    let made = describe(pid, user);
    // SAFETY: both are about our own child, which nobody else waits for; there is no status to write.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        while libc::waitpid(pid, std::ptr::null_mut(), 0) < 0 && last() == Errno::INTR {}
    }
    made
}

fn describe(pid: libc::pid_t, user: u32) -> Result<OwnedFd, Errno> {
    let before = user - 1;
    let after = user + 1;
    let rest = u32::MAX - after;
    let table = format!("0 {user} 1\n1 1 {before}\n{user} 0 1\n{after} {after} {rest}\n");
    let processes = processes()?;
    for map in ["uid_map", "gid_map"] {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let map = openat(&processes, format!("{pid}/{map}"), flags, Mode::empty())?;
        rustix::io::write(map, table.as_bytes())?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(&processes, format!("{pid}/ns/user"), flags, Mode::empty())
}

/// /proc as this process's namespace has it: the host's has other numbers.
fn processes() -> Result<OwnedFd, Errno> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// For ever. By instructions alone: a function of the C library's may look at its thread's variables.
extern "C" fn wait(_: *mut libc::c_void) -> libc::c_int {
    loop {
        // SAFETY: pause(2) has no arguments and touches no memory.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") libc::SYS_pause => _,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
    }
}

fn last() -> Errno {
    let code = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(code.unwrap_or(libc::EIO))
}
