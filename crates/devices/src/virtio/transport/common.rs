//! The common configuration structure: features, status, queues.
//! Spec: "Common configuration structure layout", "Device Status Field".

use crate::virtio::interrupts::NO_VECTOR;
use crate::virtio::transport::{VirtioPci, slice_to_value};
use crate::virtio::{F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, QueueState};

/// Bytes of the structure.
pub(super) const LEN: u64 = 0x40;

pub(super) const STATUS_DRIVER_OK: u8 = 4;
pub(super) const STATUS_FEATURES_OK: u8 = 8;
const STATUS_NEEDS_RESET: u8 = 64;

const DEVICE_FEATURE_SELECT: u64 = 0x00;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURE: u64 = 0x0c;
const CONFIG_VECTOR: u64 = 0x10;
const DEVICE_STATUS: u64 = 0x14;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1a;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_DESCRIPTORS: u64 = 0x20;
const QUEUE_DRIVER: u64 = 0x28;
const QUEUE_DEVICE: u64 = 0x30;

/// What the driver has written.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) status: u8,
    pub(super) device_feature_select: u32,
    pub(super) driver_feature_select: u32,
    pub(super) driver_features: u64,
    pub(super) queue_select: u16,
    /// How far the device has come in each is with its ring.
    pub(super) queues: Vec<QueueState>,
    max_sizes: Vec<u16>,
}

impl Registers {
    pub(super) fn new(max_sizes: &[u16]) -> Registers {
        let mut registers = Registers {
            status: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues: Vec::new(),
            max_sizes: max_sizes.to_vec(),
        };
        registers.reset();
        registers
    }

    pub(super) fn reset(&mut self) {
        self.status = 0;
        self.device_feature_select = 0;
        self.driver_feature_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        let fresh = self.max_sizes.iter().map(|&size| QueueState {
            size,
            enabled: false,
            descriptors: 0,
            driver: 0,
            device: 0,
            next_available: 0,
            next_used: 0,
        });
        self.queues = fresh.collect();
    }

    pub(super) fn event_idx(&self) -> bool {
        self.driver_features & F_EVENT_IDX != 0
    }
}

impl VirtioPci {
    pub(super) fn offered(&self) -> u64 {
        self.device.features() | F_VERSION_1 | F_EVENT_IDX | F_INDIRECT_DESC
    }

    fn status(&self) -> u8 {
        let needs_reset = self.interrupts.needs_reset();
        self.registers.status | if needs_reset { STATUS_NEEDS_RESET } else { 0 }
    }

    pub(super) fn read_common(&self, offset: u64, size: u8) -> u64 {
        let registers = &self.registers;
        let mut bytes = Vec::with_capacity(LEN as usize);
        bytes.extend_from_slice(&registers.device_feature_select.to_le_bytes());
        let offered = half(self.offered(), registers.device_feature_select);
        bytes.extend_from_slice(&offered.to_le_bytes());
        bytes.extend_from_slice(&registers.driver_feature_select.to_le_bytes());
        let accepted = half(registers.driver_features, registers.driver_feature_select);
        bytes.extend_from_slice(&accepted.to_le_bytes());
        let selected = usize::from(registers.queue_select);
        let (config_vector, queue_vector) = {
            let state = self.interrupts.state();
            let vector = state.queue_vectors.get(selected).copied();
            (state.config_vector, vector.unwrap_or(NO_VECTOR))
        };
        bytes.extend_from_slice(&config_vector.to_le_bytes());
        bytes.extend_from_slice(&(registers.queues.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&[self.status(), self.interrupts.generation()]);
        bytes.extend_from_slice(&registers.queue_select.to_le_bytes());
        // A queue that does not exist has size 0, and zeros everywhere.
        if let Some(queue) = registers.queues.get(selected) {
            bytes.extend_from_slice(&queue.size.to_le_bytes());
            bytes.extend_from_slice(&queue_vector.to_le_bytes());
            bytes.extend_from_slice(&u16::from(queue.enabled).to_le_bytes());
            bytes.extend_from_slice(&registers.queue_select.to_le_bytes());
            for address in [queue.descriptors, queue.driver, queue.device] {
                bytes.extend_from_slice(&address.to_le_bytes());
            }
            bytes.extend_from_slice(&registers.queue_select.to_le_bytes());
        }
        slice_to_value(&bytes, offset, size)
    }

    pub(super) fn write_common(&mut self, offset: u64, size: u8, value: u64) {
        if size == 8 {
            self.write_common(offset, 4, value & 0xffff_ffff);
            self.write_common(offset + 4, 4, value >> 32);
            return;
        }
        let registers = &mut self.registers;
        match (offset, size) {
            (DEVICE_FEATURE_SELECT, 4) => registers.device_feature_select = value as u32,
            (DRIVER_FEATURE_SELECT, 4) => registers.driver_feature_select = value as u32,
            // Settled once the driver has said so.
            (DRIVER_FEATURE, 4) if registers.status & STATUS_FEATURES_OK == 0 => {
                let shift = 32 * registers.driver_feature_select.min(2);
                let mask = 0xffff_ffff_u64.checked_shl(shift).unwrap_or(0);
                let bits = (value & 0xffff_ffff).checked_shl(shift).unwrap_or(0);
                registers.driver_features = registers.driver_features & !mask | bits;
            }
            (CONFIG_VECTOR, 2) => {
                let mut state = self.interrupts.state();
                state.config_vector = possible_vector(value as u16, state.msix.vectors());
            }
            (DEVICE_STATUS, 1) => self.write_status(value as u8),
            (QUEUE_SELECT, 2) => registers.queue_select = value as u16,
            (QUEUE_SIZE.., _) => self.write_queue(offset, size, value),
            _ => {}
        }
    }

    fn write_queue(&mut self, offset: u64, size: u8, value: u64) {
        let select = usize::from(self.registers.queue_select);
        let max_size = self.registers.max_sizes.get(select).copied();
        let Some(queue) = self.registers.queues.get_mut(select) else {
            return;
        };
        if (offset, size) == (QUEUE_VECTOR, 2) {
            let mut state = self.interrupts.state();
            let vector = possible_vector(value as u16, state.msix.vectors());
            if let Some(slot) = state.queue_vectors.get_mut(select) {
                *slot = vector;
            }
            return;
        }
        if queue.enabled {
            return;
        }
        match (offset, size) {
            (QUEUE_SIZE, 2) => {
                let wanted = value as u16;
                if wanted.is_power_of_two() && Some(wanted) <= max_size {
                    queue.size = wanted;
                }
            }
            (QUEUE_ENABLE, 2) if value == 1 => self.enable_queue(select),
            (QUEUE_DESCRIPTORS.., 4) => {
                let register = match offset & !4 {
                    QUEUE_DESCRIPTORS => &mut queue.descriptors,
                    QUEUE_DRIVER => &mut queue.driver,
                    QUEUE_DEVICE => &mut queue.device,
                    _ => return,
                };
                let shift = if offset & 4 == 0 { 0 } else { 32 };
                *register = *register & !(0xffff_ffff << shift) | value << shift;
            }
            _ => {}
        }
    }

    fn enable_queue(&mut self, index: usize) {
        if self.registers.status & STATUS_FEATURES_OK == 0 {
            return;
        }
        let event_idx = self.registers.event_idx();
        let state = &mut self.registers.queues[index];
        let (worker, local) = self.served_by[index];
        let enabled = {
            let mut work = self.workers[worker].work();
            work.rings[local].enable(state, event_idx)
        };
        match enabled {
            Ok(()) => {
                state.enabled = true;
                self.notify(index as u16);
            }
            Err(_) => self.interrupts.ask_for_reset(),
        }
    }

    fn write_status(&mut self, value: u8) {
        if value == 0 {
            self.reset_device();
            return;
        }
        let before = self.registers.status;
        // Bits are only ever added; the driver takes them away by a reset.
        let mut status = before | value & !STATUS_NEEDS_RESET;
        let accepted = self.registers.driver_features;
        let acceptable = accepted & !self.offered() == 0 && accepted & F_VERSION_1 != 0;
        if before & STATUS_FEATURES_OK == 0 && !acceptable {
            status &= !STATUS_FEATURES_OK;
        }
        if status & STATUS_FEATURES_OK == 0 {
            status &= !STATUS_DRIVER_OK;
        }
        self.registers.status = status;
        if status & !before & STATUS_DRIVER_OK != 0 {
            self.activate();
        }
    }
}

/// The `select`-th 32 bits of a feature set.
fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

/// What a vector register holds after `vector` was written: drivers read back whether it took.
fn possible_vector(vector: u16, vectors: usize) -> u16 {
    if usize::from(vector) < vectors {
        vector
    } else {
        NO_VECTOR
    }
}
