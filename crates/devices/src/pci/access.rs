//! The ways by which a guest reaches the bus, each a [`Device`] on the machine's port or memory bus.
//! Spec: PCI Local Bus Specification 3.0, "Configuration Mechanism #1"; PCI Express Base
//! Specification, "Enhanced Configuration Access Mechanism"; Intel ICH datasheet, "RST_CNT".

#![allow(
    clippy::cast_possible_truncation,
    reason = "a port or an address selects its fields by their low bits"
)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::pci::{DeviceFunction, PciRoot};
use crate::{Device, DeviceState, Lines, RestoreError, decode_state, encode_state};

const KIND: &str = "pci-root";
const VERSION: u16 = 1;
const ADDRESS: u64 = 0;
const RESET_CONTROL: u64 = 1;
const DATA: u64 = 4;
const ADDRESS_ENABLE: u32 = 1 << 31;
/// Enable, bus, device, function and register; the rest reads as zero.
const ADDRESS_BITS: u32 = 0x80ff_fffc;
/// In the reset control register: reset now, on the change from 0 to 1.
const RESET_CPU: u8 = 1 << 2;
const RESET_CONTROL_BITS: u8 = 0b1110;

/// All that the bus saves.
#[derive(Debug, Serialize, Deserialize)]
struct PciRootStateV1 {
    address: u32,
    reset_control: u8,
    functions: Vec<(u8, DeviceState)>,
}

/// Ports 0xCF8 to 0xCFF: configuration mechanism #1, and between them the reset control register
/// 0xCF9. Saves and restores the whole bus.
#[derive(Debug)]
pub struct ConfigPorts {
    root: PciRoot,
    lines: Arc<dyn Lines>,
    address: u32,
    reset_control: u8,
}

impl ConfigPorts {
    #[must_use]
    pub fn new(root: PciRoot, lines: Arc<dyn Lines>) -> ConfigPorts {
        ConfigPorts {
            root,
            lines,
            address: 0,
            reset_control: 0,
        }
    }

    /// What the address register and a data port select: bus, function, byte.
    fn target(&self, offset: u64) -> Option<(u8, DeviceFunction, u16)> {
        if self.address & ADDRESS_ENABLE == 0 {
            return None;
        }
        let [register, function, bus, _] = self.address.to_le_bytes();
        let byte = u16::from(register) + (offset - DATA) as u16;
        Some((bus, DeviceFunction::from_byte(function), byte))
    }
}

impl Device for ConfigPorts {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        match (offset, size) {
            (ADDRESS, 4) => u64::from(self.address),
            (RESET_CONTROL, 1) => u64::from(self.reset_control),
            (DATA.., 1 | 2 | 4) => match self.target(offset) {
                Some((bus, at, byte)) => u64::from(self.root.config_read(bus, at, byte, size)),
                None => u64::MAX,
            },
            _ => u64::MAX,
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        match (offset, size) {
            (ADDRESS, 4) => self.address = value as u32 & ADDRESS_BITS,
            (RESET_CONTROL, 1) => {
                let before = self.reset_control;
                self.reset_control = value as u8 & RESET_CONTROL_BITS;
                // Edge: guests write the kind of reset first, then again with this bit.
                if self.reset_control & !before & RESET_CPU != 0 {
                    self.lines.reset();
                }
            }
            (DATA.., 1 | 2 | 4) => {
                if let Some((bus, at, byte)) = self.target(offset) {
                    self.root.config_write(bus, at, byte, size, value as u32);
                }
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.address = 0;
        self.reset_control = 0;
        self.root.reset();
    }

    fn save(&self) -> DeviceState {
        let state = PciRootStateV1 {
            address: self.address,
            reset_control: self.reset_control,
            functions: self.root.save(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: PciRootStateV1 = decode_state(KIND, VERSION, state)?;
        self.root.restore(&state.functions)?;
        self.address = state.address & ADDRESS_BITS;
        self.reset_control = state.reset_control & RESET_CONTROL_BITS;
        Ok(())
    }
}

/// A window without state of its own.
macro_rules! stateless {
    ($kind:literal) => {
        fn kind(&self) -> &'static str {
            $kind
        }

        fn reset(&mut self) {}

        fn save(&self) -> DeviceState {
            encode_state($kind, 1, &())
        }

        fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
            decode_state($kind, 1, state)
        }
    };
}

/// The memory-mapped configuration space: 4096 bytes a function, 1 MiB a bus.
#[derive(Debug)]
pub struct Ecam {
    root: PciRoot,
}

impl Ecam {
    #[must_use]
    pub fn new(root: PciRoot) -> Ecam {
        Ecam { root }
    }
}

fn ecam_target(offset: u64) -> (u8, DeviceFunction, u16) {
    let function = DeviceFunction::from_byte((offset >> 12) as u8);
    ((offset >> 20) as u8, function, offset as u16 & 0xfff)
}

impl Device for Ecam {
    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let (bus, at, byte) = ecam_target(offset);
        match size {
            1 | 2 | 4 => u64::from(self.root.config_read(bus, at, byte, size)),
            8 => {
                let low = u64::from(self.root.config_read(bus, at, byte, 4));
                low | u64::from(self.root.config_read(bus, at, byte + 4, 4)) << 32
            }
            _ => u64::MAX,
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        let (bus, at, byte) = ecam_target(offset);
        match size {
            1 | 2 | 4 => self.root.config_write(bus, at, byte, size, value as u32),
            8 => {
                self.root.config_write(bus, at, byte, 4, value as u32);
                let high = (value >> 32) as u32;
                self.root.config_write(bus, at, byte + 4, 4, high);
            }
            _ => {}
        }
    }

    stateless!("pci-ecam");
}

/// A range of guest-physical addresses in which functions' memory regions lie.
#[derive(Debug)]
pub struct MemoryWindow {
    root: PciRoot,
    base: u64,
}

impl MemoryWindow {
    /// `base` is the guest-physical address of the window's first byte.
    #[must_use]
    pub fn new(root: PciRoot, base: u64) -> MemoryWindow {
        MemoryWindow { root, base }
    }
}

impl Device for MemoryWindow {
    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.root.memory_read(self.base + offset, size)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.root.memory_write(self.base + offset, size, value);
    }

    stateless!("pci-memory-window");
}

/// A range of ports in which functions' I/O regions lie.
#[derive(Debug)]
pub struct IoWindow {
    root: PciRoot,
    base: u64,
}

impl IoWindow {
    /// `base` is the window's first port.
    #[must_use]
    pub fn new(root: PciRoot, base: u16) -> IoWindow {
        IoWindow {
            root,
            base: u64::from(base),
        }
    }
}

impl Device for IoWindow {
    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.root.io_read(self.base + offset, size)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.root.io_write(self.base + offset, size, value);
    }

    stateless!("pci-io-window");
}

#[cfg(test)]
mod tests;
