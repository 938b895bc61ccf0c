//! `innkeeper._core.Migration` and `innkeeper._core.Incoming`: the two ends of a migration.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

use machine::{
    Bounds, FrameError, Kind, MigrationOrder, MigrationProgress, Receiver, frame, index_of,
};
use pyo3::prelude::*;

use crate::errors::{machine_error, raise};
use crate::spec::descriptor;

/// `innkeeper.vm.moving.MigrationOptions`.
#[derive(Debug, FromPyObject)]
pub(crate) struct MigrationOptions {
    copied: Vec<usize>,
    pause: f64,
    slows: bool,
    compress: bool,
}

impl From<MigrationOptions> for MigrationOrder {
    fn from(options: MigrationOptions) -> MigrationOrder {
        MigrationOrder {
            copied: options.copied,
            pause: Duration::try_from_secs_f64(options.pause).unwrap_or_default(),
            slows: options.slows,
            compress: options.compress,
        }
    }
}

/// `innkeeper._core.MigrationProgress`.
#[pyclass(
    frozen,
    get_all,
    module = "innkeeper._core",
    name = "MigrationProgress"
)]
#[derive(Debug)]
pub(crate) struct Progress {
    phase: &'static str,
    over: bool,
    reason: Option<String>,
    memory: u64,
    disks: u64,
    left: u64,
    sent: u64,
    zero_pages: u64,
    like_pages: u64,
    same_pages: u64,
    data_pages: u64,
    rounds: u32,
    slowed: u8,
    dirty_rate: u64,
    downtime: Option<f64>,
    took: f64,
}

impl From<MigrationProgress> for Progress {
    fn from(it: MigrationProgress) -> Progress {
        Progress {
            phase: it.phase.name(),
            over: it.phase.is_over(),
            reason: it.reason,
            memory: it.memory,
            disks: it.disks,
            left: it.left,
            sent: it.sent.bytes,
            zero_pages: it.sent.zero,
            like_pages: it.sent.like,
            same_pages: it.sent.same,
            data_pages: it.sent.data,
            rounds: it.rounds,
            slowed: it.slowed,
            dirty_rate: it.dirty_rate,
            downtime: it.downtime.map(|it| it.as_secs_f64()),
            took: it.took.as_secs_f64(),
        }
    }
}

/// `innkeeper._core.Migration`.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Migration(pub(crate) machine::Migration);

#[pymethods]
impl Migration {
    fn fileno(&self) -> RawFd {
        self.0.news().as_raw_fd()
    }

    fn progress(&self) -> Progress {
        self.0.progress().into()
    }

    fn stop(&self, py: Python<'_>) -> PyResult<bool> {
        let stopped = py.detach(|| self.0.stop());
        stopped.map_err(|error| machine_error(py, &error))
    }

    fn finish(&self, py: Python<'_>, about: Vec<u8>) {
        py.detach(|| self.0.finish(about));
    }

    fn cancel(&self, py: Python<'_>) -> bool {
        py.detach(|| self.0.cancel())
    }

    fn take_back(&self, py: Python<'_>) -> bool {
        py.detach(|| self.0.take_back())
    }

    fn give_up(&self, py: Python<'_>) -> bool {
        py.detach(|| self.0.give_up())
    }
}

/// `innkeeper._core.Incoming`.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: Mutex<UnixStream>,
}

fn failed(py: Python<'_>, error: &FrameError) -> PyErr {
    let mut what = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        what = format!("{what}: {source}");
    }
    raise(py, "HostFailure", (what,))
}

#[pymethods]
impl Incoming {
    #[new]
    fn new(py: Python<'_>, stream: i32) -> PyResult<Self> {
        let stream = UnixStream::from(descriptor(py, stream)?);
        Ok(Self {
            stream: Mutex::new(stream),
        })
    }

    /// Takes all that comes: into `pages` and `index`, and into the files of `disks`, each of so many bytes.
    /// Answers state and what the process knew.
    #[pyo3(signature = (pages, index, disks, *, most_memory, most_state, most_about))]
    #[allow(clippy::too_many_arguments, reason = "a call from Python names them")]
    fn receive<'py>(
        &self,
        py: Python<'py>,
        pages: i32,
        index: i32,
        disks: Vec<(i32, u64)>,
        most_memory: u64,
        most_state: usize,
        most_about: usize,
    ) -> PyResult<(Vec<u8>, Vec<u8>)> {
        let pages = File::from(descriptor(py, pages)?);
        let mut index = File::from(descriptor(py, index)?);
        let mut files = Vec::new();
        let mut sizes = Vec::new();
        for (fd, size) in disks {
            files.push(File::from(descriptor(py, fd)?));
            sizes.push(size);
        }
        let bounds = Bounds {
            pages: most_memory / 4096,
            disks: sizes,
            state: most_state,
            about: most_about,
        };
        let received = py.detach(|| -> Result<_, FrameError> {
            let stream = self
                .stream
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let receiver = Receiver::new(bounds, pages, files);
            let received = receiver.receive(&mut &*stream, |_| {})?;
            let bytes = index_of(received.all, &received.runs);
            index.write_all(&bytes).map_err(FrameError::Keep)?;
            Ok((received.state, received.about))
        });
        received.map_err(|error| failed(py, &error))
    }

    /// Says that the guest could go on here, and waits until it is to.
    fn ready(&self, py: Python<'_>) -> PyResult<()> {
        let told = py.detach(|| {
            let stream = self
                .stream
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            frame::write(&mut &*stream, Kind::Ready, &[])?;
            match frame::read(&mut &*stream, &mut Vec::new())? {
                Kind::Go => Ok(()),
                _ => Err(FrameError::Nonsense("it says what is for another time")),
            }
        });
        told.map_err(|error| failed(py, &error))
    }

    /// Says that it runs here.
    fn running(&self, py: Python<'_>) {
        // A source that does not hear it asks.
        let _ = py.detach(|| self.say(Kind::Running, &[]));
    }

    /// Says why it is not wanted here.
    fn refuse(&self, py: Python<'_>, reason: &str) {
        let reason: String = reason.chars().take(1000).collect();
        let _ = py.detach(|| self.say(Kind::Refused, reason.as_bytes()));
    }
}

impl Incoming {
    fn say(&self, kind: Kind, body: &[u8]) -> Result<(), FrameError> {
        let stream = self
            .stream
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        frame::write(&mut &*stream, kind, body)
    }
}

/// What a processor of this model is on this host, in words that are equal where it is.
#[pyfunction]
pub(crate) fn processor(py: Python<'_>, model: &str) -> PyResult<String> {
    machine::processor(model).map_err(|error| machine_error(py, &error))
}
