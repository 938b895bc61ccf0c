//! What every device is, and the few things it may ask of the machine.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A device's saved state: which device, which version of its state value, and the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    /// The device's [`Device::kind`].
    pub kind: String,
    pub version: u16,
    /// The state value as postcard bytes (Rust devices) or JSON (Python devices).
    pub bytes: Vec<u8>,
}

/// A saved state that a device cannot take.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RestoreError {
    #[error("the saved state is of a {found}, not a {wanted}")]
    Kind { wanted: String, found: String },
    #[error("{kind}: saved state of version {found}, this version reads up to {newest}")]
    Version {
        kind: String,
        found: u16,
        newest: u16,
    },
    #[error("{kind}: the saved state is damaged: {what}")]
    Damaged { kind: String, what: String },
}

/// A device behind a range of ports or of physical addresses.
///
/// `offset` counts from the first byte of the range; `size` is 1, 2, 4 or 8 bytes. Values are
/// little-endian in the low bytes. No guest access is an error: what does not exist reads all-ones.
pub trait Device: Send + Debug {
    /// The name in saved states, specs and documentation.
    fn kind(&self) -> &'static str;
    fn read(&mut self, offset: u64, size: u8) -> u64;
    fn write(&mut self, offset: u64, size: u8, value: u64);
    /// Machine reset: back to power-on state. Lines it drives go low.
    fn reset(&mut self);
    fn save(&self) -> DeviceState;
    /// # Errors
    /// When the state is another device's, newer, or damaged. The device is then unchanged.
    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError>;
    /// A [`Timer`] that the device armed has expired. `now` in nanoseconds of the machine's clock.
    fn expire(&mut self, now: u64) {
        let _ = now;
    }
}

/// An interrupt wire. Level: a device holds it high while it wants attention; a pulse is high, low.
pub trait Line: Send + Sync + Debug {
    fn set(&self, high: bool);
}

/// Lines to the machine itself, for devices such as i8042, port 92h and the ACPI registers.
pub trait Lines: Send + Sync + Debug {
    fn set_a20(&self, enabled: bool);
    /// The guest asks for a machine reset.
    fn reset(&self);
    /// The guest powered itself off (S5).
    fn power_off(&self);
    /// The guest went to sleep with its memory kept (S3).
    fn suspend(&self);
    /// Something happened that wakes it; nothing if it is awake.
    fn wake(&self);
}

/// Where message-signalled interrupts go.
pub trait MsiSink: Send + Sync + Debug {
    fn send(&self, address: u64, data: u32);
}

/// The machine's time: nanoseconds since the guest was created, standing still while it is paused.
pub trait Clock: Send + Sync + Debug {
    fn now(&self) -> u64;
    /// Wall-clock time as the guest shall see it, nanoseconds since 1970-01-01 UTC.
    fn wall(&self) -> u64;
}

/// A one-shot alarm of one device: [`Device::expire`] is called at or soon after `deadline`.
pub trait Timer: Send + Sync + Debug {
    /// `deadline` in nanoseconds of [`Clock::now`]; replaces an earlier one.
    fn arm(&self, deadline: u64);
    /// As [`Timer::arm`], but an earlier one that has not come yet stays.
    fn arm_by(&self, deadline: u64);
    fn disarm(&self);
}

/// Packs a device's state value.
#[must_use]
pub fn encode_state<T: Serialize>(kind: &str, version: u16, value: &T) -> DeviceState {
    // Plain structs of integers and vectors always serialise; an empty body is refused on restore.
    let bytes = postcard::to_stdvec(value).unwrap_or_default();
    DeviceState {
        kind: kind.to_owned(),
        version,
        bytes,
    }
}

/// Unpacks a state value of exactly this kind and version.
///
/// # Errors
/// When kind or version differ, or the bytes are not such a value.
pub fn decode_state<T: DeserializeOwned>(
    kind: &str,
    version: u16,
    state: &DeviceState,
) -> Result<T, RestoreError> {
    if state.kind != kind {
        return Err(RestoreError::Kind {
            wanted: kind.to_owned(),
            found: state.kind.clone(),
        });
    }
    if state.version != version {
        return Err(RestoreError::Version {
            kind: kind.to_owned(),
            found: state.version,
            newest: version,
        });
    }
    postcard::from_bytes(&state.bytes).map_err(|error| RestoreError::Damaged {
        kind: kind.to_owned(),
        what: error.to_string(),
    })
}
