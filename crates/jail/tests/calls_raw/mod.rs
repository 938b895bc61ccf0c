//! System calls that nobody wraps, since nobody is to make them.

/// A system call of two numbers; what is wrong with it, where something is.
pub(crate) fn call(number: libc::c_long, first: i32, second: i32) -> Result<(), i32> {
    // SAFETY: those that are called are refused, or look at no memory with these arguments.
    let done = unsafe { libc::syscall(number, first, second, 0, 0, 0, 0) };
    if done >= 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
