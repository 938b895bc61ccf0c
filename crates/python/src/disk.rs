//! Disk images while no guest has them: made, looked into, converted, resized, checked.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use block::image::{self, NewImage, SnapshotChange};
use block::{
    BlockDevice, BlockError, Checkpoint, DiskOptions, Format, NbdServer, Overlay, Repair, Trust,
};
use machine::DiskConfig;
use pyo3::prelude::*;

use crate::errors::{raise, sentence};
use crate::spec::{DiskSpec, descriptor};

/// `innkeeper.machine.new_image.NewImage`.
#[derive(Debug, FromPyObject)]
pub(crate) struct NewImageSpec {
    format: String,
    size: Option<u64>,
    cluster_size: u32,
    lazy_refcounts: bool,
    backing: Option<PathBuf>,
    backing_format: String,
    preallocate: bool,
    replace: bool,
}

/// `innkeeper.machine.new_image.ExistingImage`.
#[derive(Debug, FromPyObject)]
pub(crate) struct ExistingImageSpec {
    path: PathBuf,
    format: String,
    trust_backing: bool,
    overlay: Option<PathBuf>,
    layers: Vec<PathBuf>,
}

/// `innkeeper._core.DiskSnapshot`.
#[pyclass(frozen, get_all, module = "innkeeper._core")]
#[derive(Debug, Clone)]
pub(crate) struct DiskSnapshot {
    id: String,
    name: String,
    date: u32,
    memory: u64,
    size: u64,
}

/// `innkeeper._core.DiskInfo`.
#[pyclass(frozen, get_all, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct DiskInfo {
    format: &'static str,
    size: u64,
    allocated: u64,
    file_size: u64,
    version: Option<u32>,
    cluster_size: Option<u64>,
    lazy_refcounts: bool,
    was_open: bool,
    zstd: bool,
    backing: Option<String>,
    backing_format: Option<String>,
    snapshots: Vec<DiskSnapshot>,
}

/// `innkeeper._core.DiskReport`.
#[pyclass(frozen, get_all, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct DiskReport {
    errors: u64,
    leaks: u64,
    repaired: u64,
    clusters: u64,
    allocated: u64,
    compressed: u64,
    was_open: bool,
    findings: Vec<String>,
}

fn disk_error(py: Python<'_>, error: &BlockError) -> PyErr {
    let class = match error {
        BlockError::Open { .. } | BlockError::Create { .. } | BlockError::Nbd { .. } => {
            "HostFailure"
        }
        // What was asked for could not be, or the host could not.
        BlockError::Change { source, .. } => match source.kind() {
            std::io::ErrorKind::NotFound => "NotFound",
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::AlreadyExists => "InvalidInput",
            _ => "HostFailure",
        },
        _ => "InvalidInput",
    };
    raise(py, class, (sentence(error),))
}

fn format_named(py: Python<'_>, name: &str) -> PyResult<Format> {
    Format::named(name).ok_or_else(|| {
        raise(
            py,
            "InvalidInput",
            (format!("there is no disk format {name:?}"),),
        )
    })
}

impl ExistingImageSpec {
    fn options(self, py: Python<'_>) -> PyResult<DiskOptions> {
        Ok(DiskOptions {
            format: format_named(py, &self.format)?,
            path: self.path,
            read_only: true,
            overlay: self.overlay.map_or(Overlay::None, Overlay::Keep),
            layers: self.layers,
            trust: if self.trust_backing {
                Trust::Anywhere
            } else {
                Trust::Beside
            },
        })
    }
}

impl NewImageSpec {
    fn new_image(self, py: Python<'_>) -> PyResult<NewImage> {
        let backing_format = format_named(py, &self.backing_format)?;
        Ok(NewImage {
            format: format_named(py, &self.format)?,
            size: self.size,
            cluster_bits: self.cluster_size.checked_ilog2().unwrap_or(0),
            lazy_refcounts: self.lazy_refcounts,
            backing: self.backing.map(|path| (path, backing_format)),
            preallocate: self.preallocate,
            replace: self.replace,
        })
    }
}

#[pyfunction]
pub(crate) fn disk_create(py: Python<'_>, path: PathBuf, new: NewImageSpec) -> PyResult<u64> {
    let new = new.new_image(py)?;
    let made = py.detach(|| image::create(&path, &new));
    made.map_err(|error| disk_error(py, &error))
}

/// `report` is called with bytes done and all bytes; its exception ends the work.
#[pyfunction]
pub(crate) fn disk_convert(
    py: Python<'_>,
    source: ExistingImageSpec,
    target: PathBuf,
    new: NewImageSpec,
    compress: bool,
    report: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (options, new) = (source.options(py)?, new.new_image(py)?);
    let report = report.clone().unbind();
    let mut stopped = None;
    let done = py.detach(|| {
        let disk = block::open(&options)?;
        block::convert(&*disk, &target, &new, compress, |done, all| {
            let called = Python::attach(|py| {
                py.check_signals()?;
                report.call1(py, (done, all))
            });
            stopped = called.err();
            stopped.is_none()
        })
    });
    match stopped {
        Some(exception) => Err(exception),
        None => done.map_err(|error| disk_error(py, &error)),
    }
}

#[pyfunction]
pub(crate) fn disk_info(py: Python<'_>, image: ExistingImageSpec) -> PyResult<DiskInfo> {
    let options = image.options(py)?;
    let found = py.detach(|| image::info(&options.path, options.format, options.trust));
    let info = found.map_err(|error| disk_error(py, &error))?;
    let qcow2 = info.qcow2.as_ref();
    Ok(DiskInfo {
        format: info.format.name(),
        size: info.size,
        allocated: info.allocated,
        file_size: info.file_size,
        version: qcow2.map(|it| it.version),
        cluster_size: qcow2.map(|it| it.cluster_size),
        lazy_refcounts: qcow2.is_some_and(|it| it.lazy_refcounts),
        was_open: qcow2.is_some_and(|it| it.was_open),
        zstd: qcow2.is_some_and(|it| it.zstd),
        backing: qcow2.and_then(|it| it.backing.clone()),
        backing_format: qcow2.and_then(|it| it.backing_format.clone()),
        snapshots: qcow2.map_or_else(Vec::new, |it| it.snapshots.iter().map(shown).collect()),
    })
}

fn shown(snapshot: &block::SnapshotInfo) -> DiskSnapshot {
    DiskSnapshot {
        id: snapshot.id.clone(),
        name: snapshot.name.clone(),
        date: snapshot.date,
        memory: snapshot.memory,
        size: snapshot.size,
    }
}

#[pyfunction]
pub(crate) fn disk_files(py: Python<'_>, image: ExistingImageSpec) -> PyResult<Vec<PathBuf>> {
    let options = image.options(py)?;
    let found = py.detach(|| image::files(&options));
    found.map_err(|error| disk_error(py, &error))
}

#[pyfunction]
pub(crate) fn disk_resize(
    py: Python<'_>,
    image: ExistingImageSpec,
    size: u64,
    shrink: bool,
) -> PyResult<()> {
    let options = image.options(py)?;
    let done = py.detach(|| image::resize(&options.path, options.format, size, shrink));
    done.map_err(|error| disk_error(py, &error))
}

/// `repair`: nothing, leaks or all.
#[pyfunction]
pub(crate) fn disk_check(
    py: Python<'_>,
    image: ExistingImageSpec,
    repair: &str,
) -> PyResult<DiskReport> {
    let options = image.options(py)?;
    let repair = match repair {
        "all" => Repair::All,
        "leaks" => Repair::Leaks,
        _ => Repair::Nothing,
    };
    let found = py.detach(|| image::check(&options.path, options.format, repair));
    let report = found.map_err(|error| disk_error(py, &error))?;
    Ok(DiskReport {
        errors: report.errors,
        leaks: report.leaks,
        repaired: report.repaired,
        clusters: report.clusters,
        allocated: report.allocated,
        compressed: report.compressed,
        was_open: report.was_open,
        findings: report.findings,
    })
}

/// Ranges as pairs of little-endian words.
pub(crate) fn packed(ranges: &[Range<u64>]) -> Vec<u8> {
    let ends = ranges.iter().flat_map(|range| [range.start, range.end]);
    ends.flat_map(u64::to_le_bytes).collect()
}

#[pyfunction]
pub(crate) fn disk_checkpoint(
    py: Python<'_>,
    path: PathBuf,
    name: String,
    since: Option<String>,
    forget: Vec<String>,
) -> PyResult<Option<Vec<u8>>> {
    let checkpoint = Checkpoint {
        name,
        since,
        forget,
    };
    let same = py.detach(|| image::checkpoint(&path, &checkpoint));
    let same = same.map_err(|error| disk_error(py, &error))?;
    Ok(same.map(|ranges| packed(&ranges)))
}

#[pyfunction]
pub(crate) fn disk_snapshots(py: Python<'_>, path: PathBuf) -> PyResult<Vec<DiskSnapshot>> {
    let found = py.detach(|| image::snapshots(&path));
    let found = found.map_err(|error| disk_error(py, &error))?;
    Ok(found.iter().map(shown).collect())
}

/// `change`: create, apply or delete.
#[pyfunction]
pub(crate) fn disk_snapshot(
    py: Python<'_>,
    path: PathBuf,
    change: &str,
    name: String,
) -> PyResult<()> {
    let change = match change {
        "create" => SnapshotChange::Create(name),
        "apply" => SnapshotChange::Apply(name),
        _ => SnapshotChange::Delete(name),
    };
    let done = py.detach(|| image::change_snapshots(&path, &change));
    done.map_err(|error| disk_error(py, &error))
}

/// `innkeeper._core.OpenDisk`.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct OpenDisk(Arc<dyn BlockDevice>);

impl OpenDisk {
    pub(crate) fn device(&self) -> Arc<dyn BlockDevice> {
        Arc::clone(&self.0)
    }

    /// It has what `disk` says: image, overlay and all.
    pub(crate) fn is_all_of(&self, disk: &mut DiskConfig) {
        disk.opened = Some(self.device());
        disk.overlay = Overlay::None;
        disk.layers = Vec::new();
    }
}

/// Opens a disk of files that somebody else has opened, by their names.
#[pyfunction]
pub(crate) fn open_disk(
    py: Python<'_>,
    disk: DiskSpec,
    files: Vec<(PathBuf, i32)>,
) -> PyResult<OpenDisk> {
    let files = files.into_iter();
    let files = files.map(|(path, fd)| Ok((path, File::from(descriptor(py, fd)?))));
    let files = files.collect::<PyResult<Vec<_>>>()?;
    let disk = disk.into_config(py)?;
    let options = DiskOptions {
        path: disk.path,
        format: disk.format,
        read_only: disk.read_only,
        overlay: disk.overlay,
        layers: Vec::new(),
        trust: disk.trust,
    };
    let opened = py.detach(|| block::open_given(&options, files));
    opened.map(OpenDisk).map_err(|error| disk_error(py, &error))
}

/// Connects to an NBD server.
#[pyfunction]
pub(crate) fn nbd_connect(py: Python<'_>, uri: PathBuf, read_only: bool) -> PyResult<OpenDisk> {
    let options = DiskOptions {
        path: uri,
        read_only,
        ..DiskOptions::default()
    };
    let opened = py.detach(|| block::open(&options));
    opened.map(OpenDisk).map_err(|error| disk_error(py, &error))
}

/// `innkeeper.machine.new_image.Export`.
#[derive(Debug, FromPyObject)]
pub(crate) struct ExportSpec {
    image: ExistingImageSpec,
    read_only: bool,
    socket: Option<PathBuf>,
    host: String,
    port: u16,
    once: bool,
}

/// Lets others have a disk by NBD. `ready` is called with the port, or None, when they can connect.
/// A signal whose handler raises ends it; with `once`, so does the last client that goes.
#[pyfunction]
pub(crate) fn disk_serve(
    py: Python<'_>,
    export: ExportSpec,
    ready: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let options = DiskOptions {
        read_only: export.read_only,
        ..export.image.options(py)?
    };
    let disk = py.detach(|| block::open(&options));
    let disk = disk.map_err(|error| disk_error(py, &error))?;
    let held = Arc::clone(&disk);
    let failed = |error: std::io::Error| {
        raise(
            py,
            "HostFailure",
            (format!("cannot serve the disk: {error}"),),
        )
    };
    let server = match &export.socket {
        Some(path) => NbdServer::on_socket(path, disk),
        None => NbdServer::on_port(&export.host, export.port, disk),
    };
    let server = server.map_err(failed)?;
    ready.call1((server.port(),))?;
    let mut came = false;
    let ended = loop {
        if let Err(signal) = py.check_signals() {
            break Err(signal);
        }
        came |= py.detach(|| server.accept()).map_err(failed)?;
        if export.once && came && server.clients() == 0 {
            break Ok(());
        }
    };
    drop(server);
    let flushed = py.detach(|| held.flush());
    ended.and(flushed.map_err(failed))
}
