//! A port: its registers, and the link to its drive. Spec: AHCI 1.3.1, "Port Registers (one set per port)".

use std::sync::{Arc, Mutex};

use block::BlockDevice;
use memory::GuestMemory;
use serde::{Deserialize, Serialize};

use super::cd::Cd;
use super::fis::{self, Task};
use super::{SataDrive, SharedCd};
use crate::Line;
use crate::ports::locked;
use crate::scsi::Tray;

/// What interrupts: a register FIS, a PIO set-up, device bits; the guest's memory is none; a command failed.
pub(super) const REGISTERS_CAME: u32 = 1 << 0;
pub(super) const SETUP_CAME: u32 = 1 << 1;
pub(super) const BITS_CAME: u32 = 1 << 3;
pub(super) const HOST_BUS_FAILED: u32 = 1 << 29;
pub(super) const TASK_FAILED: u32 = 1 << 30;

/// In the command register: start, spin up, power on, override, receive FISes.
const START: u32 = 1 << 0;
const SPIN_UP: u32 = 1 << 1;
const POWER_ON: u32 = 1 << 2;
const OVERRIDE: u32 = 1 << 3;
const RECEIVE: u32 = 1 << 4;
/// Besides them: that it is a CD-ROM drive, its light, power of the link.
const COMMAND_WRITABLE: u32 = START | SPIN_UP | POWER_ON | RECEIVE | 0x0f00_0000;
const RECEIVES: u32 = 1 << 14;
const RUNS: u32 = 1 << 15;
/// Which slot is at work.
const SLOT_SHIFT: u32 = 8;

/// The link is up, at 3 Gbit/s, and awake.
const LINK_UP: u32 = 0x123;
/// In the link's control: what is to be done with it.
const DETECTION: u32 = 0xf;
const DETECTION_RESET: u32 = 1;
const DETECTION_OFF: u32 = 4;
const LINK_OFF: u32 = 4;
const NO_TASK: u32 = 0x7f;
const NO_SIGNATURE: u32 = u32::MAX;

pub(super) mod status {
    pub(in crate::ahci) const ERROR: u8 = 1 << 0;
    pub(in crate::ahci) const DATA_REQUEST: u8 = 1 << 3;
    pub(in crate::ahci) const SEEK_COMPLETE: u8 = 1 << 4;
    pub(in crate::ahci) const READY: u8 = 1 << 6;
    pub(in crate::ahci) const BUSY: u8 = 1 << 7;
    pub(in crate::ahci) const IDLE: u8 = READY | SEEK_COMPLETE;
}

/// A queued command that failed, until its driver has asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FailedQueued {
    pub(super) tag: u8,
    pub(super) task: Task,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortState {
    pub(super) list: u64,
    pub(super) received: u64,
    pub(super) pending: u32,
    enabled: u32,
    command: u32,
    /// Status and error of the drive.
    pub(super) task: u32,
    signature: u32,
    link: u32,
    control: u32,
    error: u32,
    pub(super) active: u32,
    pub(super) issued: u32,
    /// A command failed: no more is done before the driver stops the port.
    pub(super) stopped: bool,
    /// Between the two halves of a software reset.
    pub(super) resetting: bool,
    /// The drive's signature lies where FISes go.
    signed: bool,
    pub(super) slot: u8,
    /// Sectors that are transferred at once by READ MULTIPLE.
    pub(super) multiple: u8,
    pub(super) failed: Option<FailedQueued>,
}

impl PortState {
    /// Is it something that a guest can bring about?
    pub(super) fn is_sound(&self) -> bool {
        self.slot < 32
            && self.list.is_multiple_of(1 << 10)
            && self.received.is_multiple_of(1 << 8)
            && self.command & !COMMAND_WRITABLE == 0
            && self.failed.as_ref().is_none_or(|failed| failed.tag < 32)
    }

    pub(super) fn interrupts(&self) -> bool {
        self.pending & self.enabled != 0
    }

    pub(super) fn receives(&self) -> bool {
        self.command & RECEIVE != 0
    }

    pub(super) fn register(&self, at: u64) -> u32 {
        match at {
            0x00 => self.list as u32,
            0x04 => (self.list >> 32) as u32,
            0x08 => self.received as u32,
            0x0c => (self.received >> 32) as u32,
            0x10 => self.pending,
            0x14 => self.enabled,
            0x18 => {
                let mut command = self.command | u32::from(self.slot) << SLOT_SHIFT;
                if self.command & RECEIVE != 0 {
                    command |= RECEIVES;
                }
                if self.command & START != 0 {
                    command |= RUNS;
                }
                command
            }
            0x20 => self.task,
            0x24 => self.signature,
            0x28 => self.link,
            0x2c => self.control,
            0x30 => self.error,
            0x34 => self.active,
            0x38 => self.issued,
            _ => 0,
        }
    }

    pub(super) fn set_task(&mut self, status: u8, error: u8) {
        self.task = u32::from(error) << 8 | u32::from(status);
    }
}

#[derive(Debug)]
pub(super) enum PortDrive {
    Disk {
        disk: Arc<dyn BlockDevice>,
        serial: String,
    },
    Cd(SharedCd),
}

#[derive(Debug)]
pub(super) struct Port {
    pub(super) drive: PortDrive,
    pub(super) state: PortState,
    /// Behind the slot that was last at work; the first of them where the port was started anew.
    pub(super) next: u8,
}

impl Port {
    pub(super) fn new(drive: SataDrive, trays: &Arc<dyn Line>) -> Port {
        let drive = match drive {
            SataDrive::Disk { disk, serial } => PortDrive::Disk { disk, serial },
            SataDrive::Cd(disc) => PortDrive::Cd(Arc::new(Mutex::new(Cd {
                disc,
                tray: Tray::default(),
                moved: Arc::clone(trays),
            }))),
        };
        let mut port = Port {
            drive,
            state: PortState::default(),
            next: 0,
        };
        port.reset();
        port
    }

    pub(super) fn cd(&self) -> Option<SharedCd> {
        match &self.drive {
            PortDrive::Cd(cd) => Some(Arc::clone(cd)),
            PortDrive::Disk { .. } => None,
        }
    }

    /// As at power-on. Whoever looks at trays is told where it was out.
    pub(super) fn close_tray(&self) {
        if let PortDrive::Cd(cd) = &self.drive {
            let mut cd = locked(cd);
            if std::mem::take(&mut cd.tray).open {
                cd.moved.set(false);
            }
        }
    }

    pub(super) fn reset(&mut self) {
        self.state = PortState {
            command: SPIN_UP | POWER_ON,
            ..PortState::default()
        };
        self.next = 0;
        self.establish();
    }

    /// The link comes up, and the drive says what it is.
    fn establish(&mut self) {
        self.state.link = LINK_UP;
        self.sign();
    }

    /// Spec: ATA8-ACS, "Signature".
    pub(super) fn sign(&mut self) {
        self.state.signature = match self.drive {
            PortDrive::Disk { .. } => 0x0000_0101,
            PortDrive::Cd(_) => 0xeb14_0101,
        };
        self.state.set_task(status::IDLE, 1);
        self.state.multiple = 0;
        self.state.failed = None;
        self.state.signed = false;
    }

    /// The signature goes where FISes go, once there is such a place.
    pub(super) fn tell_signature(&mut self, memory: &GuestMemory) {
        if self.state.signed || !self.state.receives() {
            return;
        }
        self.state.signed = true;
        let task = self.signature_task();
        fis::post(
            memory,
            &self.state,
            fis::REGISTERS_AT,
            &task.registers(false),
        );
    }

    pub(super) fn signature_task(&self) -> Task {
        let [count, low, middle, high] = self.state.signature.to_le_bytes();
        Task {
            status: self.state.task as u8,
            error: 1,
            lba: u64::from(low) | u64::from(middle) << 8 | u64::from(high) << 16,
            count: count.into(),
            device: 0,
        }
    }

    /// `memory` is where FISes go, if the function may write there.
    pub(super) fn write(&mut self, at: u64, value: u32, memory: Option<&GuestMemory>) {
        let state = &mut self.state;
        let halves = |old: u64, low: Option<u32>, high: Option<u32>| {
            let low = low.map_or(old & 0xffff_ffff, u64::from);
            let high = high.map_or(old >> 32, u64::from);
            high << 32 | low
        };
        match at {
            0x00 => state.list = halves(state.list, Some(value & !0x3ff), None),
            0x04 => state.list = halves(state.list, None, Some(value)),
            0x08 => state.received = halves(state.received, Some(value & !0xff), None),
            0x0c => state.received = halves(state.received, None, Some(value)),
            0x10 => state.pending &= !value,
            0x14 => state.enabled = value,
            0x18 => self.write_command(value),
            0x2c => self.write_control(value),
            0x30 => state.error &= !value,
            0x34 if state.command & START != 0 => state.active |= value,
            0x38 if state.command & START != 0 => state.issued |= value,
            _ => {}
        }
        if let Some(memory) = memory {
            self.tell_signature(memory);
        }
    }

    fn write_command(&mut self, value: u32) {
        let state = &mut self.state;
        state.command = value & COMMAND_WRITABLE;
        if value & START == 0 {
            state.issued = 0;
            state.active = 0;
            state.slot = 0;
            state.stopped = false;
            self.next = 0;
        }
        if value & OVERRIDE != 0 {
            state.task &= !u32::from(status::BUSY | status::DATA_REQUEST);
        }
    }

    fn write_control(&mut self, value: u32) {
        let state = &mut self.state;
        let before = std::mem::replace(&mut state.control, value & 0xfff);
        match (before & DETECTION, value & DETECTION) {
            (_, DETECTION_RESET) => {
                state.link = 0;
                state.task = NO_TASK;
                state.signature = NO_SIGNATURE;
                // Until the link is up there is nothing to tell.
                state.signed = true;
                state.resetting = false;
            }
            (_, DETECTION_OFF) => {
                state.link = LINK_OFF;
                state.task = NO_TASK;
                state.signed = true;
            }
            (DETECTION_RESET | DETECTION_OFF, 0) => self.establish(),
            _ => {}
        }
    }

    /// Is there a command that can be done?
    pub(super) fn has_work(&self) -> bool {
        let state = &self.state;
        state.command & START != 0 && state.issued != 0 && !state.stopped && state.link == LINK_UP
    }
}
