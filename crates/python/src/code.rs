//! What tells whether a file with an engine's code may be run.

use std::fs::File;

use machine::{CODE_SEAL_LEN, code_seal, is_of_kin};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::spec::descriptor;

/// The seal of the whole file `fd` by `key`.
#[pyfunction]
pub(crate) fn seal_of_code(
    py: Python<'_>,
    fd: i32,
    key: [u8; CODE_SEAL_LEN],
) -> PyResult<[u8; CODE_SEAL_LEN]> {
    let file = File::from(descriptor(py, fd)?);
    py.detach(|| code_seal(&file, &key))
        .map_err(|error| PyOSError::new_err(error.to_string()))
}

/// Whether a process of this one's template, or it itself, wrote the file `fd`.
#[pyfunction]
pub(crate) fn is_code_of_kin(py: Python<'_>, fd: i32) -> PyResult<bool> {
    let file = File::from(descriptor(py, fd)?);
    Ok(py.detach(|| is_of_kin(&file)))
}
