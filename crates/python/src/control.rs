//! The handle to a running machine: for its owner, and for Python devices.

use std::os::fd::{IntoRawFd, RawFd};
use std::sync::Arc;

use block::Checkpoint;
use machine::{Line, MachineControl, MachineError, MouseEvent, NetworkWay, Plug, TabletEvent};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::disk::{OpenDisk, packed};
use crate::errors::{machine_error, raise};
use crate::memory::Memory;
use crate::migration::{Migration, MigrationOptions};
use crate::network::{FirewallSpec, NetworkSpec};
use crate::recording::{LayerFiles, Recording, record_order};
use crate::screen::Screen;
use crate::spec::{DiskSpec, LimitsSpec, descriptor};
use crate::statistics::Statistics;

/// How many, their bytes, their nanoseconds, and how many failed.
type Requests = (u64, u64, u64, u64);

/// A card's id; frames and bytes that were sent, and those that were received; and why the host's kernel does not move
/// them, where it does not.
type CardTraffic = (String, [(u64, u64); 2], Option<String>);

/// `innkeeper._core.Control`. Every call gives up the GIL first: it may wait for a lock whose holder
/// is about to call a Python device.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Control {
    control: MachineControl,
    lines: Vec<Arc<dyn Line>>,
    #[pyo3(get)]
    vcpus: u32,
    #[pyo3(get)]
    memory: u64,
}

impl Control {
    pub(crate) fn new(
        control: MachineControl,
        lines: Vec<Arc<dyn Line>>,
        vcpus: u32,
        memory: u64,
    ) -> Self {
        Self {
            control,
            lines,
            vcpus,
            memory,
        }
    }
}

#[pymethods]
impl Control {
    fn exit(&self, py: Python<'_>, code: u32) {
        py.detach(|| self.control.exit(code));
    }

    fn guest_panicked(&self, py: Python<'_>) {
        py.detach(|| self.control.guest_panicked());
    }

    fn set_line(&self, py: Python<'_>, gsi: usize, high: bool) -> PyResult<()> {
        let Some(line) = self.lines.get(gsi) else {
            return Err(PyValueError::new_err(format!(
                "there is no interrupt line {gsi}"
            )));
        };
        py.detach(|| line.set(high));
        Ok(())
    }

    fn power_button(&self, py: Python<'_>) {
        py.detach(|| self.control.power_button());
    }

    fn pause(&self, py: Python<'_>) {
        py.detach(|| self.control.pause());
    }

    fn resume(&self, py: Python<'_>) {
        py.detach(|| self.control.resume());
    }

    fn reset(&self, py: Python<'_>) {
        py.detach(|| self.control.reset());
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.control.stop());
    }

    fn set_limits(&self, py: Python<'_>, limits: LimitsSpec) {
        let limits = limits.into();
        py.detach(|| self.control.set_limits(&limits));
    }

    fn set_firewall(&self, py: Python<'_>, firewall: FirewallSpec) -> PyResult<()> {
        let rules = firewall.into_rules(py)?;
        py.detach(|| self.control.set_rules(rules));
        Ok(())
    }

    fn statistics(&self, py: Python<'_>) -> Option<Statistics> {
        py.detach(|| self.control.stats()).map(Statistics::from)
    }

    #[pyo3(signature = (files, below, overlays=Vec::new(), code=None, complete=false))]
    fn save(
        &self,
        py: Python<'_>,
        files: LayerFiles,
        below: Vec<LayerFiles>,
        overlays: Vec<i32>,
        code: Option<i32>,
        complete: bool,
    ) -> PyResult<Option<Recording>> {
        let order = record_order(py, &files, &below, &overlays, code, complete)?;
        match py.detach(|| self.control.save(order)) {
            None => Ok(None),
            Some(Ok(recorded)) => Ok(Some(Recording::from(recorded))),
            Some(Err(error)) => Err(machine_error(py, &error)),
        }
    }

    fn checkpoint(
        &self,
        py: Python<'_>,
        disk: usize,
        name: String,
        since: Option<String>,
        forget: Vec<String>,
    ) -> PyResult<Option<Vec<u8>>> {
        let checkpoint = Checkpoint {
            name,
            since,
            forget,
        };
        match py.detach(|| self.control.checkpoint(disk, checkpoint)) {
            None => Ok(None),
            Some(Ok(same)) => Ok(same.map(|ranges| packed(&ranges))),
            Some(Err(error)) => Err(machine_error(py, &error)),
        }
    }

    fn migrate(
        &self,
        py: Python<'_>,
        stream: i32,
        options: MigrationOptions,
    ) -> PyResult<Migration> {
        let stream = descriptor(py, stream)?;
        let begun = py.detach(|| self.control.migrate(stream, options.into()));
        begun.map(Migration).map_err(|error| {
            let what = format!("cannot begin to migrate: {error}");
            raise(py, "HostFailure", (what,))
        })
    }

    /// By disk: what was read, written, flushed and unmapped, and where writes ended at most.
    fn disk_traffic(&self) -> Vec<(String, [Requests; 4], u64)> {
        let counts = |found: block::Counts| {
            let block::Counts {
                requests,
                bytes,
                nanoseconds,
                failed,
            } = found;
            (requests, bytes, nanoseconds, failed)
        };
        let disks = self.control.disk_traffic().into_iter();
        disks
            .map(|(id, it)| {
                let kinds = [it.read(), it.written(), it.flushed(), it.unmapped()];
                (id, kinds.map(counts), it.highest_written())
            })
            .collect()
    }

    fn card_traffic(&self) -> Vec<CardTraffic> {
        let cards = self.control.card_traffic().into_iter();
        cards
            .map(|(id, it)| {
                let directions = [it.sent(), it.received()];
                let directions = directions.map(|found| (found.frames, found.bytes));
                (id, directions, it.by_kernel().err())
            })
            .collect()
    }

    fn stop_when_full(&self, py: Python<'_>) {
        py.detach(|| self.control.stop_when_full());
    }

    fn full_disks(&self) -> Vec<(String, String)> {
        let full = self.control.full_disks().into_iter();
        full.map(|disk| (disk.id, disk.image)).collect()
    }

    fn memory_report(&self, py: Python<'_>) -> Option<Memory> {
        py.detach(|| self.control.memory()).map(Memory::from)
    }

    fn set_balloon(&self, py: Python<'_>, size: u64) {
        py.detach(|| self.control.set_balloon(size));
    }

    fn want_cpus(&self, py: Python<'_>, count: u32) {
        py.detach(|| self.control.want_cpus(count));
    }

    fn cpus(&self, py: Python<'_>) -> Option<Vec<bool>> {
        py.detach(|| self.control.cpus())
    }

    fn plug_disk(
        &self,
        py: Python<'_>,
        disk: DiskSpec,
        opened: Py<OpenDisk>,
    ) -> PyResult<Option<u8>> {
        let mut disk = disk.into_config(py)?;
        opened.get().is_all_of(&mut disk);
        let plug = Plug::Disk(Box::new(disk));
        done(py, py.detach(|| self.control.plug(plug)))
    }

    fn plug_network(
        &self,
        py: Python<'_>,
        network: NetworkSpec,
        taps: Vec<i32>,
    ) -> PyResult<Option<u8>> {
        let mut network = network.into_config(py)?;
        if let NetworkWay::Bridge(_, own) = &mut network.way {
            let taps = taps
                .into_iter()
                .map(|tap| descriptor(py, tap).map(Arc::new));
            *own = taps.collect::<PyResult<_>>()?;
        }
        let plug = Plug::Network(Box::new(network));
        done(py, py.detach(|| self.control.plug(plug)))
    }

    fn ask_out(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        let asked = done(py, py.detach(|| self.control.ask_out(name)))?;
        Ok(asked.is_some())
    }

    fn plugged(&self, py: Python<'_>) -> Vec<(String, u8, bool)> {
        let plugged = py.detach(|| self.control.plugged()).into_iter();
        plugged.map(|it| (it.id, it.slot, it.leaving)).collect()
    }

    fn media(&self, py: Python<'_>) -> Vec<(String, bool, bool, bool)> {
        let media = py.detach(|| self.control.media()).into_iter();
        media
            .map(|(id, drive)| (id, drive.medium, drive.open, drive.locked))
            .collect()
    }

    fn open_tray(&self, py: Python<'_>, drive: &str, force: bool) -> PyResult<bool> {
        let opened = py.detach(|| self.control.open_tray(drive, force));
        opened.map_err(|error| machine_error(py, &error))
    }

    fn close_tray(&self, py: Python<'_>, drive: &str) -> PyResult<()> {
        let closed = py.detach(|| self.control.close_tray(drive));
        closed.map_err(|error| machine_error(py, &error))
    }

    fn change_medium(
        &self,
        py: Python<'_>,
        drive: &str,
        medium: Option<Py<OpenDisk>>,
    ) -> PyResult<()> {
        let medium = medium.map(|medium| medium.get().device());
        let changed = py.detach(|| self.control.change_medium(drive, medium));
        changed.map_err(|error| machine_error(py, &error))
    }

    fn request_memory(&self, py: Python<'_>, size: u64) {
        py.detach(|| self.control.request_memory(size));
    }

    fn ask_memory_statistics(&self, py: Python<'_>) {
        py.detach(|| self.control.ask_memory_statistics());
    }

    fn news(&self, py: Python<'_>) -> PyResult<RawFd> {
        let news = py.detach(|| self.control.news());
        let news = news.map_err(|error| {
            let what = format!("the host has no descriptor left: {error}");
            raise(py, "HostFailure", (what,))
        })?;
        Ok(news.into_raw_fd())
    }

    fn connect_to_guest(&self, py: Python<'_>, stream: i32, port: u32) -> PyResult<()> {
        let stream = descriptor(py, stream)?;
        py.detach(|| self.control.connect_to_guest(stream, port));
        Ok(())
    }

    fn screen(&self, py: Python<'_>) -> Option<Screen> {
        py.detach(|| self.control.screen()).map(Screen::from)
    }

    fn key(&self, py: Python<'_>, scan_codes: Vec<u8>) -> bool {
        py.detach(|| self.control.key(&scan_codes))
    }

    fn point(&self, py: Python<'_>, x: u16, y: u16, wheel: i32, buttons: u8) -> bool {
        let event = TabletEvent {
            x,
            y,
            wheel,
            buttons,
        };
        py.detach(|| self.control.point(event))
    }

    fn mouse(&self, py: Python<'_>, right: i32, down: i32, wheel: i32, buttons: u8) {
        let event = MouseEvent {
            right,
            down,
            wheel,
            buttons,
        };
        py.detach(|| self.control.mouse(event));
    }

    fn resize_console(&self, py: Python<'_>, columns: u16, rows: u16) {
        py.detach(|| self.control.resize_console(columns, rows));
    }
}

fn done<T>(py: Python<'_>, result: Option<Result<T, MachineError>>) -> PyResult<Option<T>> {
    result
        .transpose()
        .map_err(|error| machine_error(py, &error))
}
