//! `innkeeper._core.Migration`, `innkeeper._core.Incoming` and `innkeeper._core.LateMemory`: the two ends of a migration.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use machine::{
    Bounds, Fetcher, Fetching, FrameError, Kind, MigrationOrder, MigrationProgress, Receiver,
    Userfault, frame, index_of,
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
    post_copy: bool,
    compress: bool,
}

impl From<MigrationOptions> for MigrationOrder {
    fn from(options: MigrationOptions) -> MigrationOrder {
        MigrationOrder {
            copied: options.copied,
            pause: Duration::try_from_secs_f64(options.pause).unwrap_or_default(),
            slows: options.slows,
            post_copy: options.post_copy,
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
    wanted_pages: u64,
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
            wanted_pages: it.wanted,
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

    fn go_on(&self, py: Python<'_>, stream: i32) -> PyResult<bool> {
        let stream = descriptor(py, stream)?;
        Ok(py.detach(|| self.0.go_on(stream)))
    }
}

/// `innkeeper._core.Incoming`.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: Mutex<UnixStream>,
    userfault: Mutex<Option<Userfault>>,
    late: Mutex<Option<Arc<machine::LateMemory>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            userfault: Mutex::default(),
            late: Mutex::default(),
        })
    }

    fn allow_post_copy(&self, py: Python<'_>) -> PyResult<()> {
        let opened = Userfault::open().map_err(|error| {
            let what = format!("cannot open userfaultfd: {error}");
            raise(py, "HostFailure", (what,))
        })?;
        *lock(&self.userfault) = Some(opened);
        Ok(())
    }

    /// Takes all that comes: into `pages` and `index`, and into the files of `disks`, each of so many bytes.
    /// Answers state and what the process knew.
    #[pyo3(signature = (pages, index, disks, *, most_memory, most_state, most_about))]
    #[allow(clippy::too_many_arguments, reason = "a call from Python names them")]
    fn receive(
        &self,
        py: Python<'_>,
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
            post_copy: lock(&self.userfault).is_some(),
        };
        let received = py.detach(|| -> Result<_, FrameError> {
            let stream = lock(&self.stream);
            let receiver = Receiver::new(bounds, pages, files);
            let received = receiver.receive(&mut &*stream, |_| {})?;
            let bytes = index_of(received.all, &received.runs);
            index.write_all(&bytes).map_err(FrameError::Keep)?;
            if let (Some(missing), Some(userfault)) =
                (received.missing, lock(&self.userfault).take())
            {
                let stream = stream.try_clone().map_err(FrameError::Keep)?;
                let late = machine::LateMemory::new(stream, missing, userfault);
                *lock(&self.late) = Some(Arc::new(late));
            }
            Ok((received.state, received.about))
        });
        received.map_err(|error| failed(py, &error))
    }

    /// What comes when the guest runs; nothing where it is whole.
    #[getter]
    fn late(&self) -> Option<LateMemory> {
        lock(&self.late).clone().map(LateMemory)
    }

    /// Says that the guest could go on here, and waits until it is to.
    fn ready(&self, py: Python<'_>) -> PyResult<()> {
        let told = py.detach(|| {
            let late = lock(&self.late).clone();
            if let Some(late) = late {
                return late.ready();
            }
            let stream = lock(&self.stream);
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
        py.detach(|| match self.fetcher() {
            Some(fetcher) => fetcher.running(),
            // A source that does not hear it asks.
            None => drop(self.say(Kind::Running, &[])),
        });
    }

    /// Says why it is not wanted here.
    fn refuse(&self, py: Python<'_>, reason: &str) {
        let reason: String = reason.chars().take(1000).collect();
        let _ = py.detach(|| self.say(Kind::Refused, reason.as_bytes()));
    }
}

impl Incoming {
    fn fetcher(&self) -> Option<Arc<Fetcher>> {
        let late = lock(&self.late).clone();
        late.and_then(|late| late.fetcher())
    }

    fn say(&self, kind: Kind, body: &[u8]) -> Result<(), FrameError> {
        match self.fetcher() {
            Some(fetcher) => fetcher.say(kind, body),
            None => frame::write(&mut &*lock(&self.stream), kind, body),
        }
    }
}

/// `innkeeper._core.LateMemory`.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct LateMemory(pub(crate) Arc<machine::LateMemory>);

#[pymethods]
impl LateMemory {
    fn fileno(&self) -> RawFd {
        let fetcher = self.0.fetcher();
        fetcher.map_or(-1, |fetcher| fetcher.news().as_raw_fd())
    }

    /// Its phase, why that is, and how many bytes are missing.
    fn progress(&self) -> (&'static str, Option<String>, u64) {
        let Some(fetcher) = self.0.fetcher() else {
            return ("none", None, 0);
        };
        let (fetching, pages) = fetcher.fetching();
        let (phase, reason) = match fetching {
            Fetching::Before => ("active", None),
            Fetching::Active => ("postcopy-active", None),
            Fetching::Paused(why) => ("postcopy-paused", Some(why)),
            Fetching::Completed => ("completed", None),
            Fetching::Failed(why) => ("failed", Some(why)),
        };
        (phase, reason, pages * 4096)
    }

    fn go_on(&self, py: Python<'_>, stream: i32) -> PyResult<bool> {
        let stream = descriptor(py, stream)?;
        let goes_on = py.detach(|| self.0.go_on(stream));
        goes_on.map_err(|error| raise(py, "HostFailure", (error.to_string(),)))
    }

    fn abandon(&self, py: Python<'_>) {
        py.detach(|| {
            if let Some(fetcher) = self.0.fetcher() {
                fetcher.abandon();
            }
        });
    }
}

/// Why no guest can begin here before all of its memory has come; nothing where one can.
#[pyfunction]
pub(crate) fn post_copy_missing() -> Option<String> {
    Userfault::open().err().map(|error| error.to_string())
}

/// What a processor of this model is on this host, in words that are equal where it is.
#[pyfunction]
pub(crate) fn processor(py: Python<'_>, model: &str) -> PyResult<String> {
    machine::processor(model).map_err(|error| machine_error(py, &error))
}
