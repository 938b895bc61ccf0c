//! `innkeeper._core.Recording`, and what a machine is recorded to or begins as.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex};

use machine::{Beginning, Layer, RecordOrder, read_index};
use pyo3::prelude::*;

use crate::errors::raise;
use crate::migration::LateMemory;
use crate::spec::descriptor;

/// No index has more bytes.
const LONGEST: u64 = 128 << 20;

/// `innkeeper.vm.saved.LayerFiles`: descriptors of files.
#[derive(Debug, FromPyObject)]
pub(crate) struct LayerFiles {
    pages: i32,
    index: i32,
}

/// `innkeeper.vm.saved.Beginning`.
#[derive(Debug, FromPyObject)]
pub(crate) struct BeginningFiles {
    state: Vec<u8>,
    layers: Vec<LayerFiles>,
    moved: bool,
    late: Option<Py<LateMemory>>,
    code: Option<i32>,
}

impl LayerFiles {
    fn open(&self, py: Python<'_>) -> PyResult<Layer> {
        let failed = |error: &dyn std::fmt::Display| {
            let what = format!("a snapshot cannot be used: {error}");
            raise(py, "HostFailure", (what,))
        };
        let index = File::from(descriptor(py, self.index)?);
        let pages = File::from(descriptor(py, self.pages)?);
        let runs = py.detach(|| read(&index).map(|bytes| read_index(&bytes)));
        let runs = runs.map_err(|error| failed(&error))?;
        Ok(Layer {
            file: Arc::new(pages),
            runs: runs.map_err(|error| failed(&error))?,
        })
    }
}

/// Where others who have the same descriptor have read to does not matter.
fn read(file: &File) -> std::io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    if len > LONGEST {
        return Err(std::io::Error::other("the index of its memory is too long"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0)?;
    Ok(bytes)
}

impl BeginningFiles {
    /// # Errors
    /// When a file is not open, or no layer.
    pub(crate) fn open(self, py: Python<'_>) -> PyResult<Beginning> {
        let code = self.code.map(|code| descriptor(py, code)).transpose()?;
        Ok(Beginning {
            state: self.state,
            layers: layers(py, &self.layers)?,
            moved: self.moved,
            code: code.map(|code| Arc::new(File::from(code))),
            late: self.late.map(|late| Arc::clone(&late.get().0)),
        })
    }
}

fn layers(py: Python<'_>, files: &[LayerFiles]) -> PyResult<Vec<Layer>> {
    files.iter().map(|layer| layer.open(py)).collect()
}

/// Where a machine is to be recorded to: `below` are the layers that the new one lies on, `overlays` descriptors
/// for what temporary overlays of its disks hold, `code` is one for the code made of the guest's, which may be
/// made `complete` before.
pub(crate) fn record_order(
    py: Python<'_>,
    files: &LayerFiles,
    below: &[LayerFiles],
    overlays: &[i32],
    code: Option<i32>,
    complete: bool,
) -> PyResult<RecordOrder> {
    Ok(RecordOrder {
        layers: layers(py, below)?,
        pages: File::from(descriptor(py, files.pages)?),
        index: File::from(descriptor(py, files.index)?),
        overlays: overlays
            .iter()
            .map(|&fd| Ok(File::from(descriptor(py, fd)?)))
            .collect::<PyResult<_>>()?,
        code: code
            .map(|fd| descriptor(py, fd).map(File::from))
            .transpose()?,
        complete,
    })
}

/// `innkeeper._core.Recording`.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Recording {
    #[pyo3(get)]
    state: Vec<u8>,
    running: Mutex<Option<machine::Recording>>,
}

impl From<machine::Recorded> for Recording {
    fn from(recorded: machine::Recorded) -> Self {
        Self {
            state: recorded.state,
            running: Mutex::new(Some(recorded.recording)),
        }
    }
}

#[pymethods]
impl Recording {
    fn fileno(&self) -> RawFd {
        let running = self.running.lock();
        running.map_or(-1, |running| {
            running
                .as_ref()
                .map_or(-1, |running| running.as_fd().as_raw_fd())
        })
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let running = self.running.lock().ok().and_then(|mut it| it.take());
        let Some(running) = running else {
            return Ok(());
        };
        py.detach(|| running.finish()).map_err(|error| {
            let what = format!("the guest's memory could not be written: {error}");
            raise(py, "HostFailure", (what,))
        })
    }
}
