//! A UHCI controller, as the PIIX3 has it, with USB 1 devices on its two ports: a tablet and a keyboard, or disks.
//!
//! Problem: systems from before xHCI know USB by this controller, which has no doorbell. Every millisecond it goes
//! through a list of the guest's memory to see whether there is something to do, and a virtual one that did so would cost
//! the host a thousand wakings a second for nothing. Choice: frames are counted by the clock, and gone through when an
//! alarm comes: each millisecond while something moves, and several at once when nothing has moved for a while
//! ([`RESTS`]); or as soon as somebody types, or the driver writes a register. All frames that went by meanwhile are gone
//! through, what they have in common once, so no queue is forgotten, whatever its period; a transfer that comes after a
//! rest waits for so long at most. Nothing is kept from one frame to the next
//! but where requests of a default pipe are, so what a driver unlinks is gone. What one frame may cost has bounds
//! (`schedule.rs`), and so has what a look may take ([`PATIENCE`]). Rejected: frames as the guest's processor asks for
//! them (drivers wait for memory to change, not for registers); data toggles, and bandwidth (nothing is lost on a wire of
//! ours, and nobody minds more packets than a frame of old has room for); the debugger's single steps; hubs.
//!
//! Spec: Intel, Universal Host Controller Interface (UHCI) Design Guide 1.1; Intel 82371SB (PIIX3) datasheet, "USB Host
//! Controller PCI Configuration Registers (Function 2)".

mod pipe;
mod ports;
mod registers;
mod schedule;
mod transactions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use block::BlockDevice;
use memory::GuestMemory;
use serde::{Deserialize, Serialize};

use super::HidHandle;
use super::descriptors::Speed;
use super::device::{DeviceSaved, UsbDevice};
use super::hid::Hid;
use super::storage::Storage;
use crate::pci::{
    BarKind, COMMAND_BUS_MASTER, ConfigSpace, ConfigState, Identity, PciFunction, Pin,
};
use crate::{Clock, DeviceState, Line, Pace, RestoreError, decode_state, encode_state};

use ports::Port;
use registers::Registers;
use schedule::Look;

const KIND: &str = "uhci";
const VERSION: u16 = 1;
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x7020,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    class: 0x0c_03_00,
    revision: 1,
};
const BAR: u8 = 4;
const BAR_LEN: u64 = 32;
/// Release number of the bus, 1.0.
const RELEASE_AT: u8 = 0x60;
/// Traps for programs that know keyboards of old alone. No access is trapped here; that interrupts reach their wire can be
/// switched off.
const LEGACY_AT: u8 = 0xc0;
const LEGACY_INTERRUPTS: u32 = 1 << 13;
/// Ports, which cannot be more: drivers of old look for two.
pub const PORTS: usize = 2;

/// Nanoseconds.
const FRAME: u64 = 1_000_000;
/// After how many frames in which nothing moved how many are gone through at once, the longest first.
const RESTS: [(u32, u64); 3] = [(1000, 32), (32, 8), (0, 1)];
/// Frames that a late alarm makes up for.
const MOST_LATE: u64 = 32;
/// After so long others get at the controller, and the rest is done by the alarm.
const PATIENCE: Duration = Duration::from_millis(2);

/// What a controller is wired to.
#[derive(Debug)]
pub struct UhciParts {
    pub memory: GuestMemory,
    /// Of interrupt pin `pin`: 1 is INTA#.
    pub line: Arc<dyn Line>,
    pub pin: u8,
    pub clock: Arc<dyn Clock>,
    /// [`PciFunction::expire`] is called when its alarm comes, which it has.
    pub pace: Pace,
}

#[derive(Debug, Serialize, Deserialize)]
struct UhciStateV1 {
    config: ConfigState,
    registers: Registers,
    ports: Vec<Port>,
    devices: Vec<DeviceSaved>,
}

/// The function on the PCI bus.
#[derive(Debug)]
pub struct Uhci {
    config: ConfigSpace,
    pin: Pin,
    memory: GuestMemory,
    clock: Arc<dyn Clock>,
    pace: Pace,
    registers: Registers,
    ports: Vec<Port>,
    /// By their ports.
    devices: Vec<Box<dyn UsbDevice>>,
    /// When the frame begins that [`Registers::frame`] is of, in nanoseconds of the clock.
    due: u64,
    /// Frames since something moved.
    rested: u32,
    /// When it looks again unless somebody rings, in nanoseconds of the clock.
    looks_at: u64,
    /// Devices that the guest can ask, as they have been told: a bit for each.
    asked: u32,
    /// Nothing is done before [`PciFunction::resume`].
    quiet: bool,
    /// What is restored goes on by a clock that is restored later.
    restored: bool,
}

impl Uhci {
    /// With a tablet and a keyboard, whose end at the host is answered.
    #[must_use]
    pub fn with_hands(parts: UhciParts) -> (Uhci, HidHandle) {
        // As keyboards are.
        let (tablet, keyboard) = (Hid::tablet(Speed::Full), Hid::keyboard(Speed::Low));
        let handle = HidHandle::new(&tablet, &keyboard, parts.pace.clone());
        let devices: Vec<Box<dyn UsbDevice>> = vec![Box::new(tablet), Box::new(keyboard)];
        (Uhci::new(devices, parts), handle)
    }

    /// With a disk on each port, and a serial number for each. Disks beyond [`PORTS`] are not there.
    #[must_use]
    pub fn with_disks(disks: Vec<(Arc<dyn BlockDevice>, String)>, parts: UhciParts) -> Uhci {
        let mut devices: Vec<Box<dyn UsbDevice>> = Vec::new();
        for (disk, serial) in disks.into_iter().take(PORTS) {
            let pace = parts.pace.clone();
            devices.push(Box::new(Storage::new(disk, &serial, Speed::Full, pace)));
        }
        Uhci::new(devices, parts)
    }

    fn new(devices: Vec<Box<dyn UsbDevice>>, parts: UhciParts) -> Uhci {
        let config = ConfigSpace::new(&IDENTITY)
            .with_bar(BAR, BarKind::Io, BAR_LEN)
            .with_interrupt_pin(parts.pin)
            .with_register(RELEASE_AT, &[0x10], &[0])
            .with_register(LEGACY_AT, &[0x00, 0x20], &[0xbf, 0x20]);
        let mut uhci = Uhci {
            config,
            pin: Pin::new(parts.line),
            memory: parts.memory,
            clock: parts.clock,
            pace: parts.pace,
            registers: Registers::default(),
            ports: Vec::new(),
            devices,
            due: 0,
            rested: 0,
            looks_at: 0,
            asked: 0,
            quiet: false,
            restored: false,
        };
        uhci.reset_bus();
        uhci
    }

    fn may_master(&self) -> bool {
        self.config.command() & COMMAND_BUS_MASTER != 0
    }

    /// Does it run, and may it reach memory?
    fn works(&self) -> bool {
        self.registers.runs() && !self.quiet && self.may_master()
    }

    /// All is as at power-on, and devices are as they are plugged in.
    fn reset_bus(&mut self) {
        self.registers = Registers::default();
        let speeds = self.devices.iter().map(|it| it.description().speed);
        self.ports = speeds.map(|speed| Port::new(Some(speed))).collect();
        self.ports.resize_with(PORTS, || Port::new(None));
        for device in &mut self.devices {
            device.reset();
        }
        self.drive();
    }

    /// Frames that have begun since [`Registers::frame`]'s did, that one with them.
    fn begun(&self) -> u64 {
        let since = self.clock.now().checked_sub(self.due);
        since.map_or(0, |since| since / FRAME + 1)
    }

    /// The number of the frame that the guest sees.
    fn frame_number(&self) -> u16 {
        // The one that is due next has not begun otherwise.
        match (self.registers.runs(), self.begun()) {
            (true, begun) => self.registers.frame_after(begun.wrapping_sub(1)),
            (false, _) => self.registers.frame_after(0),
        }
    }

    /// The controller begins to run.
    fn begin(&mut self) {
        self.due = self.clock.now();
        self.rested = 0;
        self.pace.yields();
    }

    /// Goes through the frames that have begun.
    fn go_on(&mut self) {
        let (began, mut look) = (Instant::now(), Look::default());
        let late = self.begun().saturating_sub(MOST_LATE);
        if self.works() && late > 0 {
            self.pass(late);
        }
        while self.works() && self.begun() > 0 {
            let moved = self.run_frame(&mut look);
            self.rested = if moved {
                0
            } else {
                self.rested.saturating_add(1)
            };
            self.pass(1);
            if began.elapsed() >= PATIENCE && self.pace.yields() {
                break;
            }
        }
        if self.works() {
            self.rest();
        }
        self.drive();
    }

    /// Has the alarm come when frames are to be gone through again.
    fn rest(&mut self) {
        let rests = RESTS.iter().find(|(after, _)| self.rested >= *after);
        let more = rests.map_or(0, |(_, frames)| frames - 1);
        self.looks_at = self.due.saturating_add(more * FRAME);
        let wait = self.looks_at.saturating_sub(self.clock.now());
        self.pace.come_after(wait.max(1));
    }

    /// So many frames are over.
    fn pass(&mut self, frames: u64) {
        self.registers.pass(frames);
        self.due = self.due.saturating_add(frames * FRAME);
    }

    /// Tells devices whether the guest can ask them: the controller runs, and their ports do.
    fn tell_devices(&mut self) {
        let mut asked = 0;
        if self.registers.runs() && self.may_master() {
            for (index, port) in self.ports.iter().enumerate() {
                asked |= u32::from(port.is_addressed()) << index;
            }
        }
        if asked != self.asked {
            self.asked = asked;
            for (port, device) in self.devices.iter().enumerate() {
                device.is_asked(asked & 1 << port != 0);
            }
        }
    }

    /// Sends what has come to interrupt.
    fn drive(&mut self) {
        self.tell_devices();
        let routed = self.config.read(LEGACY_AT.into(), 2) & LEGACY_INTERRUPTS != 0;
        self.pin.set(routed && self.registers.wants_interrupt());
        self.pin.follow(self.config.command());
    }
}

impl PciFunction for Uhci {
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
        let worked = self.works();
        self.config.write(offset, size, value);
        if self.works() && !worked {
            // They were counted meanwhile.
            let frame = self.frame_number();
            self.registers.stand_at(frame);
            self.begin();
        }
        self.drive();
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if bar != BAR {
            return u64::MAX;
        }
        self.read_registers(offset, size)
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if bar == BAR {
            self.write_registers(offset, size, value);
            if self.works() {
                // Somebody is at work.
                self.rested = 0;
                self.rest();
            }
            self.drive();
        }
    }

    fn reset(&mut self) {
        self.config.reset();
        self.reset_bus();
    }

    fn save(&self) -> DeviceState {
        let mut registers = self.registers.clone();
        registers.stand_at(self.frame_number());
        let state = UhciStateV1 {
            config: self.config.save(),
            registers,
            ports: self.ports.clone(),
            devices: self.devices.iter().map(|device| device.save()).collect(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: UhciStateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.into(),
            what,
        };
        let mut devices = self.devices.iter().zip(&state.devices);
        let same = state.devices.len() == self.devices.len() && state.ports.len() == PORTS;
        if !same || !devices.all(|(device, saved)| device.fits(saved)) {
            return Err(damaged("other devices, or none that there can be".into()));
        }
        let mut ports = self.ports.iter().zip(&state.ports);
        if !state.registers.is_sound() || !ports.all(|(port, saved)| port.fits(saved)) {
            return Err(damaged("registers that no driver makes".into()));
        }
        self.config.restore(&state.config).map_err(damaged)?;
        self.registers = state.registers;
        self.ports = state.ports;
        for (device, saved) in self.devices.iter_mut().zip(&state.devices) {
            device.restore(saved);
        }
        (self.quiet, self.restored) = (true, true);
        self.drive();
        Ok(())
    }

    fn quiesce(&mut self) {
        self.quiet = true;
    }

    fn resume(&mut self) {
        self.quiet = false;
        self.rested = 0;
        if std::mem::take(&mut self.restored) {
            self.due = self.clock.now();
        }
        self.go_on();
    }

    fn expire(&mut self) {
        if self.clock.now() < self.looks_at {
            // Somebody has rung, and is heard in one of the next frames.
            self.rested = 0;
        }
        self.go_on();
    }
}

#[cfg(test)]
mod tests;
