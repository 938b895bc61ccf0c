//! A whole machine as one value.
//!
//! What a saved machine holds: processors, devices, the clock. Not in it: memory, which is large and
//! goes its own way ([`memory::GuestMemory::record`]); disks, which the restoring machine's description names again; what the host's
//! ends of character devices held. A machine is restored into one of the same shape, made from a
//! description, that has not run.

mod exchange;

use std::borrow::Cow;

use devices::{Clock, DeviceState};
use memory::RamRange;
use serde::{Deserialize, Serialize};
use x86::CpuState;

use crate::MachineError;
use crate::board::Named;
use crate::machine::Machine;
use crate::plugging::SLOTS_NAME;
use crate::sync::lock;

/// Whoever changes a field of [`SavedMachine`] or of [`CpuState`] raises this, and the latter's own. What it was before
/// moves into `saved/upgrade.rs`, with a step to the next version as [`devices::step`] is for devices; so older ones are
/// read for good. `saved/tests.rs` keeps one of each.
const VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"INNK";
/// A machine that has run for centuries. Devices may count on for as long again. Nanoseconds.
const LATEST: u64 = 1 << 62;

/// Everything but memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedMachine {
    ranges: Vec<RamRange>,
    /// `kvm`, `translator` or `interpreter`.
    engine: String,
    /// The machine's clock, in nanoseconds.
    clock: u64,
    cpu_version: u16,
    vcpus: Vec<CpuState>,
    devices: Vec<(String, DeviceState)>,
    /// Devices that the engine has.
    engine_devices: Vec<u8>,
}

impl SavedMachine {
    /// As it was saved before devices could come and go: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn before_hot_plug(mut self) -> SavedMachine {
        self.devices.retain(|(name, _)| name != SLOTS_NAME);
        self
    }

    /// # Errors
    /// When the value cannot be encoded, which would be a bug.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MachineError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(postcard::to_stdvec(self).map_err(|error| damaged(&error.to_string()))?);
        Ok(bytes)
    }

    /// Devices that came to be later are as at power-on.
    fn has(&self, named: &Named) -> bool {
        named.name != SLOTS_NAME || self.devices.iter().any(|(name, _)| *name == named.name)
    }

    /// # Errors
    /// When the bytes are no saved machine of this version. They may come from anywhere.
    pub fn from_bytes(bytes: &[u8]) -> Result<SavedMachine, MachineError> {
        let rest = bytes.strip_prefix(&MAGIC);
        let rest = rest.ok_or_else(|| damaged("it is no saved machine"))?;
        let (version, body) = rest
            .split_first_chunk::<2>()
            .ok_or_else(|| damaged("it ends after its first bytes"))?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            let what = format!("it is of version {version}, this Innkeeper reads {VERSION}");
            return Err(damaged(&what));
        }
        postcard::from_bytes(body).map_err(|error| damaged(&error.to_string()))
    }
}

fn damaged(what: &str) -> MachineError {
    MachineError::Saved {
        what: what.to_owned(),
    }
}

impl Machine {
    /// Everything but memory, of a machine between two runs.
    ///
    /// # Errors
    /// When the host fails, or the TPM's process: what was saved without that could not be restored.
    pub fn save(&mut self) -> Result<SavedMachine, MachineError> {
        let vcpus = self.cpu_states()?;
        let engine_devices = self.engine.save_devices();
        let devices = self.board.devices.iter().map(|named| {
            let state = lock(&named.device).save();
            (named.name.clone(), state)
        });
        let devices = devices.collect();
        if let Some(tpm) = &self.peripherals.tpm {
            let saved = lock(tpm).saved();
            saved.map_err(|source| MachineError::SaveTpm { source })?;
        }
        Ok(SavedMachine {
            ranges: self.memory().ranges(),
            engine: self.engine.name().to_owned(),
            clock: self.shared.clock.now(),
            cpu_version: CpuState::VERSION,
            vcpus,
            devices,
            engine_devices: engine_devices.map_err(|source| self.engine_error(source))?,
        })
    }

    /// Becomes what was saved; the next run continues it. Memory is restored apart
    /// ([`Machine::begin_as`] does both). After an error the machine must not be run.
    ///
    /// # Errors
    /// When the saved machine has another shape, or a part of it is damaged.
    pub fn restore(&mut self, saved: &SavedMachine) -> Result<(), MachineError> {
        let saved = self.fitting(saved)?;
        let saved = saved.as_ref();
        self.check_shape(saved)?;
        self.shared.clock.set(saved.clock);
        self.board.clock_changed();
        let known = |named: &&Named| saved.has(named);
        let devices = self.board.devices.iter().filter(known);
        for (named, (_, state)) in devices.zip(&saved.devices) {
            lock(&named.device).restore(state)?;
        }
        self.peripherals.hot_plug = saved.devices.iter().any(|(name, _)| name == SLOTS_NAME);
        self.forget_gone();
        let restored = self.engine.restore_devices(&saved.engine_devices);
        restored.map_err(|source| self.engine_error(source))?;
        for (runner, state) in self.vcpus.iter_mut().zip(&saved.vcpus) {
            runner.restore(state)?;
        }
        self.off = false;
        Ok(())
    }

    /// The saved machine as it would have been saved here: who has the interrupt controllers may
    /// differ.
    pub(crate) fn fitting<'a>(
        &self,
        saved: &'a SavedMachine,
    ) -> Result<Cow<'a, SavedMachine>, MachineError> {
        let names = self.board.devices.iter().map(|named| named.name.as_str());
        let other = saved.exchanged(self.shared.irqchip.is_none(), names)?;
        Ok(other.map_or(Cow::Borrowed(saved), Cow::Owned))
    }

    pub(crate) fn check_shape(&self, saved: &SavedMachine) -> Result<(), MachineError> {
        if saved.cpu_version != CpuState::VERSION {
            return Err(damaged("its processors are of another version"));
        }
        if saved.clock > LATEST {
            return Err(damaged("its clock has run for centuries"));
        }
        if saved.ranges != self.memory().ranges() {
            return Err(damaged("it has another amount of memory"));
        }
        if saved.vcpus.len() != self.vcpus.len() {
            return Err(damaged("it has another number of processors"));
        }
        let known = |named: &&Named| saved.has(named);
        let devices = self.board.devices.iter().filter(known);
        let names = devices.map(|named| &named.name);
        if !names.eq(saved.devices.iter().map(|(name, _)| name)) {
            return Err(damaged("it has other devices"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
