//! A fork of this process that is the first of its own in a namespace of processes.
//!
//! A process cannot enter such a namespace, only its children can. So there is one in between, which makes the
//! namespace, forks and ends. It runs no Python: that would look at a good part of what it was forked with, and so
//! have the host copy it.

use std::ffi::c_int;
use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::ffi;
use pyo3::prelude::*;

/// `innkeeper._core.fork_first`: the number of the new process outside, zero in that one itself; there also why it is
/// not the first of its own, where it is not.
///
/// This process must have one thread, and be the parent that orphans of its children get.
#[pyfunction]
pub(crate) fn fork_first(
    _py: Python<'_>,
    network: bool,
    tap: bool,
) -> PyResult<(c_int, Option<String>)> {
    let needs = ::jail::Needs {
        network,
        tap,
        ..::jail::Needs::default()
    };
    let (told, tell) = io::pipe()?;
    // SAFETY: what Python does around a fork it does in this order, holding its lock as we do (`_py`): "before", then
    // "parent" in this process, or "child" in one that goes on to run Python.
    unsafe { ffi::PyOS_BeforeFork() };
    // SAFETY: the caller keeps its promise of one thread, so nobody holds a lock of the C library's or of Rust's.
    let between = unsafe { libc::fork() };
    if between == 0 {
        drop(told);
        if let Err(missing) = ::jail::separate_children(&needs) {
            say(tell, 0);
            // SAFETY: as above; this is the new process.
            unsafe { ffi::PyOS_AfterFork_Child() };
            return Ok((0, Some(missing)));
        }
        // SAFETY: as for the first.
        let first = unsafe { libc::fork() };
        if first == 0 {
            drop(tell);
            // SAFETY: as above.
            unsafe { ffi::PyOS_AfterFork_Child() };
            return Ok((0, None));
        }
        say(tell, if first < 0 { -errno() } else { first });
        // SAFETY: ends this process, which nothing was begun in, without what is done at an end of Python's.
        unsafe { libc::_exit(0) };
    }
    let failed = errno();
    // SAFETY: as above; this is the one that was there.
    unsafe { ffi::PyOS_AfterFork_Parent() };
    drop(tell);
    if between < 0 {
        return Err(PyOSError::new_err((failed, "cannot fork")));
    }
    let first = heard(told);
    if matches!(first, Ok(0)) {
        return Ok((between, None));
    }
    // SAFETY: a child of ours, which nobody else waits for.
    unsafe { libc::waitpid(between, std::ptr::null_mut(), 0) };
    match first? {
        first if first < 0 => Err(PyOSError::new_err((-first, "cannot fork"))),
        first => Ok((first, None)),
    }
}

/// The reader has gone if this cannot be said.
fn say(mut tell: io::PipeWriter, number: c_int) {
    let _ = io::Write::write_all(&mut tell, &number.to_ne_bytes());
}

fn heard(mut told: io::PipeReader) -> io::Result<c_int> {
    let mut number = [0; size_of::<c_int>()];
    io::Read::read_exact(&mut told, &mut number)?;
    Ok(c_int::from_ne_bytes(number))
}

fn errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EAGAIN)
}
