//! An NVMe controller with one namespace: a disk that every system of this decade boots from.
//!
//! Problem: systems without virtio drivers know this controller, and firmware boots from it. Choice: as in the
//! disk controller of old, a command is done in whole on the vCPU that rings its doorbell. Between two
//! accesses nothing is under way, so the state is plain values. What a doorbell can cause is bounded by the
//! size of a queue and of a transfer. Rejected: threads for the queues, which virtio disks have.
//!
//! Spec: NVM Express Base Specification 1.4, "Controller Registers", "Data Structures", "Admin Command Set",
//! "NVM Command Set".

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers and numbers of queues are parts of wider values"
)]

mod admin;
mod command;
mod identify;
mod io;
mod prp;
mod queues;
mod registers;

use std::sync::Arc;

use block::BlockDevice;
use memory::GuestMemory;
use serde::{Deserialize, Serialize};

use crate::pci::{
    BarKind, COMMAND_BUS_MASTER, ConfigSpace, ConfigState, Identity, MSIX_CAPABILITY, Msix,
    MsixState, PciFunction, Pin, msix_capability,
};
use crate::{DeviceState, Line, MsiSink, Pace, RestoreError, decode_state, encode_state};

use queues::{CompletionQueue, SubmissionQueue};
use registers::Registers;

const KIND: &str = "nvme";
const VERSION: u16 = 1;
const IDENTITY: Identity = Identity {
    // The one by which OVMF finds such a controller in a boot order.
    vendor: 0x8086,
    device: 0x5845,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    class: 0x01_08_02,
    revision: 2,
};
const BAR: u8 = 0;
const BAR_LEN: u64 = 0x4000;
const DOORBELLS: u64 = 0x1000;
const MSIX_TABLE: u64 = 0x2000;
const MSIX_PENDING: u64 = 0x3000;
/// Queue pairs for reads and writes; the admin pair is queue 0.
const IO_PAIRS: u16 = 4;
const PAIRS: usize = IO_PAIRS as usize + 1;
/// Interrupt vectors: one a completion queue.
const VECTORS: u16 = IO_PAIRS + 1;
/// Events that a driver may ask to be told of at once.
const MOST_EVENT_REQUESTS: usize = 4;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ControllerState {
    registers: Registers,
    submission: [Option<SubmissionQueue>; PAIRS],
    completion: [Option<CompletionQueue>; PAIRS],
    /// Commands that are answered when something happens, which never does.
    event_requests: Vec<u16>,
    write_cache_off: bool,
}

impl ControllerState {
    /// Is it something that a guest can bring about?
    fn is_sound(&self) -> bool {
        let submission = self.submission.iter().flatten();
        let completion = self.completion.iter().flatten();
        submission.clone().all(SubmissionQueue::is_sound)
            && completion.clone().all(CompletionQueue::is_sound)
            && submission.clone().all(|queue| {
                self.completion
                    .get(usize::from(queue.completes_to))
                    .is_some_and(Option::is_some)
            })
            && self.event_requests.len() <= MOST_EVENT_REQUESTS
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct NvmeStateV1 {
    config: ConfigState,
    controller: ControllerState,
    msix: MsixState,
}

/// The function on the PCI bus.
#[derive(Debug)]
pub struct Nvme {
    config: ConfigSpace,
    msix: Msix,
    msix_control: u16,
    pin: Pin,
    memory: GuestMemory,
    disk: Arc<dyn BlockDevice>,
    /// Its first 20 bytes are what the guest reads.
    serial: String,
    state: ControllerState,
    pace: Pace,
    /// Behind the pair for reads and writes that was last at work: what waits goes on there first.
    next: usize,
    /// The machine saves, restores or is paused: what waits goes on when it does.
    quiet: bool,
}

impl Nvme {
    #[must_use]
    pub fn new(
        disk: Arc<dyn BlockDevice>,
        serial: &str,
        memory: GuestMemory,
        sink: Arc<dyn MsiSink>,
        line: Arc<dyn Line>,
    ) -> Nvme {
        let mut config = ConfigSpace::new(&IDENTITY)
            .with_bar(BAR, BarKind::Memory64, BAR_LEN)
            .with_interrupt_pin(1);
        // Both are offsets in the region, below 4 GiB.
        let (body, writable) =
            msix_capability(VECTORS, BAR, MSIX_TABLE as u32, MSIX_PENDING as u32);
        // The space has room for many such capabilities.
        let at = config.add_capability(MSIX_CAPABILITY, &body, &writable);
        Nvme {
            config,
            msix: Msix::new(VECTORS, sink),
            msix_control: at.map_or(0, |at| u16::from(at) + 2),
            pin: Pin::new(line),
            memory,
            disk,
            serial: serial.to_owned(),
            state: ControllerState::default(),
            pace: Pace::free(),
            next: 1,
            quiet: false,
        }
    }

    /// Keeps the disk to a rate. [`PciFunction::expire`] is called when its alarm comes.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Nvme {
        self.pace = pace;
        self
    }

    /// Does what waits in the queues, as far as it may.
    fn go_on(&mut self) {
        if !self.quiet && self.state.registers.is_ready() && self.may_master() {
            self.serve_all();
            self.drive_line();
        }
    }

    fn may_master(&self) -> bool {
        self.config.command() & COMMAND_BUS_MASTER != 0
    }

    /// Tells MSI-X and the pin what the configuration space says.
    fn configure(&mut self) {
        let control = self.config.read(self.msix_control, 2);
        // Two bytes were read.
        self.msix.set_control(control as u16);
        self.drive_line();
    }

    /// Does a completion queue hold what its driver has not seen, and shall say so by the pin?
    fn wants_attention(&self) -> bool {
        let masked = self.state.registers.interrupt_mask;
        let queues = self.state.completion.iter().flatten();
        !self.msix.enabled()
            && masked & 1 == 0
            && queues.clone().any(CompletionQueue::wants_attention)
    }

    fn drive_line(&self) {
        self.pin.set(self.wants_attention());
        self.pin.follow(self.config.command());
    }

    /// The driver's queues and requests are gone.
    fn forget(&mut self) {
        let registers = std::mem::take(&mut self.state.registers);
        self.state = ControllerState {
            registers,
            ..ControllerState::default()
        };
        self.msix.clear_pending();
        self.drive_line();
    }
}

impl PciFunction for Nvme {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_read(&mut self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size) | self.pin.status(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
        self.configure();
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        match offset {
            _ if bar != BAR => u64::MAX,
            0..DOORBELLS => self.read_registers(offset, size),
            MSIX_TABLE..MSIX_PENDING => self.msix.read_table(offset - MSIX_TABLE, size),
            MSIX_PENDING.. => self.msix.read_pending(offset - MSIX_PENDING, size),
            // Doorbells cannot be read.
            _ => 0,
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        match offset {
            _ if bar != BAR => {}
            0..DOORBELLS => self.write_registers(offset, size, value),
            MSIX_TABLE..MSIX_PENDING => self.msix.write_table(offset - MSIX_TABLE, size, value),
            MSIX_PENDING.. => {}
            // Positions in queues are 16 bits.
            _ => self.ring(offset - DOORBELLS, value as u16),
        }
    }

    fn reset(&mut self) {
        self.config.reset();
        self.msix.reset();
        self.state = ControllerState::default();
        self.configure();
    }

    fn save(&self) -> DeviceState {
        let state = NvmeStateV1 {
            config: self.config.save(),
            controller: self.state.clone(),
            msix: self.msix.save(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: NvmeStateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.into(),
            what,
        };
        if !state.controller.is_sound() {
            return Err(damaged("queues that no driver makes".into()));
        }
        let before = self.msix.save();
        self.msix.restore(&state.msix).map_err(damaged)?;
        if let Err(what) = self.config.restore(&state.config) {
            // As they were a moment ago.
            let _ = self.msix.restore(&before);
            return Err(damaged(what));
        }
        self.state = state.controller;
        self.quiet = true;
        self.drive_line();
        Ok(())
    }

    fn quiesce(&mut self) {
        self.quiet = true;
    }

    fn resume(&mut self) {
        self.quiet = false;
        self.go_on();
    }

    fn expire(&mut self) {
        self.go_on();
    }
}

#[cfg(test)]
mod tests;
