//! `innkeeper._core.Machine`, and how a run ended.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use machine::{MachineError, Outcome as Ended, Symbols};
use pyo3::prelude::*;

use crate::control::Control;
use crate::device::{Failure, Range, adapt};
use crate::errors::{machine_error, poisoned, raise};
use crate::recording::BeginningFiles;
use crate::spec::{MachineSpec, Wiring};
use crate::statistics::Statistics;

/// Interrupt lines of the board that devices may drive: the I/O APIC's inputs.
const LINES: u8 = 24;

/// `innkeeper._core.Outcome`.
#[pyclass(frozen, get_all, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Outcome {
    kind: &'static str,
    code: Option<u32>,
    what: Option<String>,
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        let kind = match ended {
            Ended::PowerOff => "power-off",
            Ended::Reset => "reset",
            Ended::TripleFault => "triple-fault",
            Ended::Panicked => "panic",
            Ended::DeviceExit(_) => "device-exit",
            Ended::Stopped => "stopped",
            Ended::EngineFailed(_) => "engine-failed",
        };
        let (code, what) = match ended {
            Ended::DeviceExit(code) => (Some(code), None),
            Ended::EngineFailed(what) => (None, Some(what)),
            _ => (None, None),
        };
        Self { kind, code, what }
    }
}

/// `innkeeper._core.Machine`.
#[pyclass(frozen, module = "innkeeper._core")]
#[derive(Debug)]
pub(crate) struct Machine {
    /// There until it is dropped.
    machine: Mutex<Option<machine::Machine>>,
    control: Py<Control>,
    failure: Arc<Failure>,
}

#[pymethods]
impl Machine {
    #[new]
    #[pyo3(signature = (spec, wiring))]
    fn new(py: Python<'_>, spec: MachineSpec, wiring: Wiring) -> PyResult<Self> {
        let (vcpus, memory) = (spec.vcpus, spec.memory);
        let config = spec.into_config(py, wiring)?;
        let made = py.detach(move || threads::apart(move || machine::Machine::new(config)));
        let machine = made.map_err(|error| machine_error(py, &error))?;
        let lines = (0..LINES).map(|gsi| machine.interrupt_line(gsi)).collect();
        let control = machine.control();
        let failure = Arc::new(Failure::new(control.clone()));
        Ok(Self {
            machine: Mutex::new(Some(machine)),
            control: Py::new(py, Control::new(control, lines, vcpus, memory))?,
            failure,
        })
    }

    fn attach(&self, py: Python<'_>, device: Py<PyAny>) -> PyResult<()> {
        let (range, device) = adapt(py, device, Arc::clone(&self.failure))?;
        self.with(py, |machine| match range {
            Range::Ports { first, count } => machine.attach_port_device(first, count, device),
            Range::Memory { base, len } => machine.attach_mmio_device(base, len, device),
        })
    }

    fn begin_as(&self, py: Python<'_>, beginning: BeginningFiles) -> PyResult<()> {
        let beginning = beginning.open(py)?;
        self.with(py, |machine| machine.begin_as(&beginning))
    }

    #[getter]
    fn control(&self, py: Python<'_>) -> Py<Control> {
        self.control.clone_ref(py)
    }

    fn run(&self, py: Python<'_>) -> PyResult<Outcome> {
        let ended = self.with(py, machine::Machine::run);
        if let Some((message, details)) = self.failure.take() {
            return Err(raise(py, "DeviceFailed", (message, details)));
        }
        ended.map(Outcome::from)
    }

    fn write_perf_map(&self, py: Python<'_>, symbols: Vec<(u64, String)>) -> PyResult<PathBuf> {
        let symbols = Symbols::new(symbols);
        self.with(py, |machine| machine.write_perf_map(symbols))
    }

    fn statistics(&self, py: Python<'_>) -> PyResult<Statistics> {
        let stats = self.with(py, |machine| Ok(machine.stats()));
        stats.map(Statistics::from)
    }
}

impl Machine {
    /// Does `what` with it, while Python's other threads go on.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        what: impl FnOnce(&mut machine::Machine) -> Result<T, MachineError> + Send,
    ) -> PyResult<T> {
        let done = py.detach(|| {
            let mut machine = self.machine.lock().map_err(|_| None)?;
            what(machine.as_mut().ok_or(None)?).map_err(Some)
        });
        done.map_err(|error| error.map_or_else(poisoned, |error| machine_error(py, &error)))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let machine = match self.machine.get_mut() {
            Ok(machine) => machine.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        // Its threads and its TPM may take seconds to end, for which nobody else has to wait.
        Python::attach(|py| py.detach(move || drop(machine)));
    }
}
