//! A device written in Python, as the machine sees one: innkeeper/devices/base.py is its protocol.
//!
//! The GIL is taken only while a device is called. An exception ends the guest; its sentence and
//! traceback come out of `Machine.run`, and the access that raised it reads all-ones.

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use machine::{Device, DeviceState, Gpa, MachineControl, RestoreError};
use pyo3::prelude::*;
use pyo3::types::PyTraceback;

use crate::errors::raise;

/// Where a device sits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Range {
    Ports { first: u16, count: u16 },
    Memory { base: Gpa, len: u64 },
}

/// The first exception of any of a machine's devices.
#[derive(Debug)]
pub(crate) struct Failure {
    first: Mutex<Option<(String, String)>>,
    control: MachineControl,
}

impl Failure {
    pub(crate) fn new(control: MachineControl) -> Self {
        Self {
            first: Mutex::new(None),
            control,
        }
    }

    /// The sentence and the traceback, once.
    pub(crate) fn take(&self) -> Option<(String, String)> {
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn record(&self, py: Python<'_>, kind: &str, error: &PyErr) {
        let details = error
            .traceback(py)
            .and_then(|traceback: Bound<'_, PyTraceback>| traceback.format().ok())
            .unwrap_or_default();
        let sentence = format!("the device {kind} failed: {error}");
        py.detach(|| {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert((sentence, details));
        });
        self.control.stop();
    }
}

/// Reads the protocol's attributes off `device`.
///
/// # Errors
/// When one is missing or out of range.
pub(crate) fn adapt(
    py: Python<'_>,
    device: Py<PyAny>,
    failure: Arc<Failure>,
) -> PyResult<(Range, Box<dyn Device>)> {
    let bound = device.bind(py);
    let described = describe(bound).map_err(|error| {
        let what = format!("{} is not a device: {error}", bound.get_type());
        raise(py, "InvalidInput", (what,))
    })?;
    let (range, kind, version) = described;
    let kind = intern(&kind);
    Ok((
        range,
        Box::new(PythonDevice {
            kind,
            version,
            device,
            failure,
        }),
    ))
}

fn describe(device: &Bound<'_, PyAny>) -> PyResult<(Range, String, u16)> {
    let range = if device.hasattr("first_port")? {
        Range::Ports {
            first: device.getattr("first_port")?.extract()?,
            count: device.getattr("port_count")?.extract()?,
        }
    } else {
        Range::Memory {
            base: Gpa(device.getattr("first_address")?.extract()?),
            len: device.getattr("length")?.extract()?,
        }
    };
    let version = device.getattr("version")?.extract()?;
    Ok((range, device.getattr("kind")?.extract()?, version))
}

/// Device kinds live as long as the process; each distinct one is kept once.
fn intern(kind: &str) -> &'static str {
    static KINDS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut kinds = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kinds.get(kind) {
        return known;
    }
    let kept: &'static str = Box::leak(kind.to_owned().into_boxed_str());
    kinds.insert(kept);
    kept
}

struct PythonDevice {
    kind: &'static str,
    version: u16,
    device: Py<PyAny>,
    failure: Arc<Failure>,
}

impl Debug for PythonDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PythonDevice")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl PythonDevice {
    /// Calls the device; an exception is recorded and answers nothing, as does an interpreter that
    /// is shutting down.
    fn call<T>(&self, call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> Option<T> {
        Python::try_attach(|py| match call(self.device.bind(py)) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failure.record(py, self.kind, &error);
                None
            }
        })
        .flatten()
    }

    fn take(&self, state: &DeviceState) -> Result<(), String> {
        let taken = Python::try_attach(|py| -> PyResult<()> {
            let text = String::from_utf8_lossy(&state.bytes).into_owned();
            let value = py.import("json")?.call_method1("loads", (text,))?;
            self.device
                .bind(py)
                .call_method1("restore", (value,))
                .map(drop)
        });
        match taken {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the interpreter is shutting down".to_owned()),
        }
    }
}

impl Device for PythonDevice {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let ones = u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
        let value = self.call(|device| {
            device
                .call_method1("read", (offset, size))?
                .extract::<u64>()
        });
        value.map_or(ones, |value| value & ones)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.call(|device| {
            device
                .call_method1("write", (offset, size, value))
                .map(drop)
        });
    }

    fn reset(&mut self) {
        self.call(|device| device.call_method0("reset").map(drop));
    }

    fn save(&self) -> DeviceState {
        let bytes = self.call(|device| {
            let state = device.call_method0("save")?;
            let json = device.py().import("json")?;
            json.call_method1("dumps", (state,))?.extract::<String>()
        });
        DeviceState {
            kind: self.kind.to_owned(),
            version: self.version,
            bytes: bytes.unwrap_or_default().into_bytes(),
        }
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        if state.kind != self.kind {
            return Err(RestoreError::Kind {
                wanted: self.kind.to_owned(),
                found: state.kind.clone(),
            });
        }
        if state.version > self.version {
            return Err(RestoreError::Version {
                kind: self.kind.to_owned(),
                found: state.version,
                newest: self.version,
            });
        }
        self.take(state).map_err(|what| RestoreError::Damaged {
            kind: self.kind.to_owned(),
            what,
        })
    }
}
