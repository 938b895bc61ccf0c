//! An xHCI controller with USB 2 devices on its ports: a tablet, a keyboard, disks.
//!
//! Problem: systems that know no virtio find a pointer that is where the hand is, and disks that come on a stick, by
//! USB alone, and every one of them since 2012 has a driver for this controller. Choice: rings are gone through on
//! the vCPU that rings their doorbell, a transfer in whole; where a device has nothing to say yet, or a rate holds it
//! back, the transfer stays in its ring and is looked at again when somebody rings or an alarm comes. So what is under
//! way is in the guest's memory, and the state is plain values. No more is done than the event ring has room for.
//! Rejected: streams, isochronous endpoints and hubs, which no device here has.
//!
//! Spec: eXtensible Host Controller Interface for Universal Serial Bus 1.2, "Register Interface", "Data Structures",
//! "Operational Model".

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are parts of wider values"
)]

mod commands;
mod events;
mod ports;
mod registers;
mod rings;
mod slots;
mod transfers;

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
    BarKind, COMMAND_BUS_MASTER, ConfigSpace, ConfigState, Identity, MSIX_CAPABILITY, Msix,
    MsixState, PciFunction, Pin, msix_capability,
};
use crate::{DeviceState, Line, MsiSink, Pace, RestoreError, decode_state, encode_state};

use events::Events;
use ports::Port;
use registers::Registers;
use slots::{ENDPOINTS, Slot, SlotPhase};

const KIND: &str = "xhci";
const VERSION: u16 = 1;
const IDENTITY: Identity = Identity {
    // Of a virtual machine's controller of nobody's, which drivers know no quirks of.
    vendor: 0x1b36,
    device: 0x000d,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    class: 0x0c_03_30,
    revision: 1,
};
const BAR: u8 = 0;
const BAR_LEN: u64 = 0x4000;
const MSIX_TABLE: u64 = 0x3000;
const MSIX_PENDING: u64 = 0x3800;
/// Release number of the bus, 3.0; the length of a frame as it is.
const RELEASE_AT: u8 = 0x60;
/// Slots for devices.
const SLOTS: usize = 16;
/// Ports of USB 2. There are as many of USB 3, which nothing is on.
const PORTS: usize = 12;
/// After so long the guest's processor goes on, and the rest is done by the alarm.
const PATIENCE: Duration = Duration::from_millis(20);
/// Disks that there is a port for, besides the tablet and the keyboard.
pub const MOST_DISKS: usize = PORTS - 2;

/// What a controller is wired to.
#[derive(Debug)]
pub struct XhciParts {
    pub memory: GuestMemory,
    pub msi: Arc<dyn MsiSink>,
    pub line: Arc<dyn Line>,
    /// [`PciFunction::expire`] is called when its alarm comes, which it has.
    pub pace: Pace,
}

#[derive(Debug, Serialize, Deserialize)]
struct XhciStateV1 {
    config: ConfigState,
    msix: MsixState,
    registers: Registers,
    events: Events,
    ports: Vec<Port>,
    slots: Vec<Slot>,
    devices: Vec<DeviceSaved>,
}

/// The function on the PCI bus.
#[derive(Debug)]
pub struct Xhci {
    config: ConfigSpace,
    msix: Msix,
    msix_control: u16,
    pin: Pin,
    memory: GuestMemory,
    pace: Pace,
    handle: HidHandle,
    registers: Registers,
    events: Events,
    /// Those of USB 2, then those of USB 3.
    ports: Vec<Port>,
    /// The first is slot 1.
    slots: Vec<Slot>,
    /// By their ports.
    devices: Vec<Box<dyn UsbDevice>>,
    /// Behind the endpoint that was last at work, of those of all slots: what waits goes on there first.
    next: usize,
    /// Devices that the guest can ask, as they have been told: a bit for each.
    asked: u32,
    /// Nothing is done before [`PciFunction::resume`].
    quiet: bool,
}

impl Xhci {
    /// With a disk on each of the first ports, and a serial number for each; then a tablet and a keyboard. Disks beyond
    /// [`MOST_DISKS`] are not there.
    #[must_use]
    pub fn new(disks: Vec<(Arc<dyn BlockDevice>, String)>, parts: XhciParts) -> Xhci {
        let mut config = ConfigSpace::new(&IDENTITY)
            .with_bar(BAR, BarKind::Memory64, BAR_LEN)
            .with_interrupt_pin(1);
        let (body, writable) = msix_capability(1, BAR, MSIX_TABLE as u32, MSIX_PENDING as u32);
        // The space has room for many such capabilities.
        let at = config.add_capability(MSIX_CAPABILITY, &body, &writable);
        let config = config.with_register(RELEASE_AT, &[0x30, 0x20], &[0, 0]);
        let mut devices: Vec<Box<dyn UsbDevice>> = Vec::new();
        for (disk, serial) in disks.into_iter().take(MOST_DISKS) {
            devices.push(Box::new(Storage::new(
                disk,
                &serial,
                Speed::High,
                parts.pace.clone(),
            )));
        }
        let (tablet, keyboard) = (Hid::tablet(Speed::High), Hid::keyboard(Speed::High));
        let handle = HidHandle::new(&tablet, &keyboard, parts.pace.clone());
        devices.push(Box::new(tablet));
        devices.push(Box::new(keyboard));
        let mut xhci = Xhci {
            config,
            msix: Msix::new(1, parts.msi),
            msix_control: at.map_or(0, |at| u16::from(at) + 2),
            pin: Pin::new(parts.line),
            memory: parts.memory,
            pace: parts.pace,
            handle,
            registers: Registers::default(),
            events: Events::default(),
            ports: Vec::new(),
            slots: Vec::new(),
            devices,
            next: 0,
            asked: 0,
            quiet: false,
        };
        xhci.reset_controller();
        xhci
    }

    /// The host's end of the tablet and the keyboard.
    #[must_use]
    pub fn handle(&self) -> HidHandle {
        self.handle.clone()
    }

    fn may_master(&self) -> bool {
        self.config.command() & COMMAND_BUS_MASTER != 0
    }

    /// Does it run, and may it reach memory?
    fn works(&self) -> bool {
        self.registers.runs() && !self.quiet && self.may_master()
    }

    /// What HCRST does: all is as at power-on, and devices are as they are plugged in.
    fn reset_controller(&mut self) {
        self.registers = Registers::default();
        self.events = Events::default();
        let there = self.devices.len();
        self.ports = (0..2 * PORTS).map(|port| Port::new(port < there)).collect();
        self.slots = vec![Slot::default(); SLOTS];
        for device in &mut self.devices {
            device.reset();
        }
        self.drive();
    }

    /// Goes on with what waits: commands, and transfers that devices, the rate or the time held back. Endpoints have
    /// their turns: one that always had more to do would stop the others for ever.
    fn go_on(&mut self) {
        let began = Instant::now();
        if self.works() {
            self.run_commands(began);
            let (count, first) = (SLOTS * ENDPOINTS, self.next);
            for turn in 0..count {
                let index = (first + turn) % count;
                let (slot, endpoint) = (index / ENDPOINTS, index % ENDPOINTS);
                // Both count from one.
                if self.run_transfers(slot as u8 + 1, endpoint as u8 + 1, began) {
                    self.next = index + 1;
                    if self.is_late(began) {
                        break;
                    }
                }
            }
        }
        self.drive();
    }

    /// Has what began then taken its time, and comes the rest by the alarm?
    fn is_late(&self, began: Instant) -> bool {
        began.elapsed() >= PATIENCE && self.pace.yields()
    }

    /// Tells devices whether the guest can ask them: the controller runs, and their endpoints are set up.
    fn tell_devices(&mut self) {
        let mut asked = 0;
        if self.registers.runs() && self.may_master() {
            for slot in &self.slots {
                if slot.phase == SlotPhase::Configured {
                    asked |= 1 << slot.port;
                }
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
        let wants = self.registers.interrupts_enabled() && self.events.wants_interrupt();
        if self.msix.enabled() {
            if wants {
                // A message says it once.
                self.events.interrupt_sent();
                self.msix.fire(0);
            }
            self.pin.set(false);
        } else {
            self.pin.set(wants);
        }
        self.pin.follow(self.config.command());
    }
}

impl PciFunction for Xhci {
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
        let control = self.config.read(self.msix_control, 2);
        // Two bytes were read.
        self.msix.set_control(control as u16);
        self.drive();
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        match offset {
            _ if bar != BAR => u64::MAX,
            MSIX_TABLE..MSIX_PENDING => self.msix.read_table(offset - MSIX_TABLE, size),
            MSIX_PENDING.. => self.msix.read_pending(offset - MSIX_PENDING, size),
            _ => {
                let low = u64::from(self.read_register(offset & !3));
                let high = u64::from(self.read_register((offset & !3) + 4));
                let mask = u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
                (high << 32 | low) >> (8 * (offset & 3)) & mask
            }
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        match offset {
            _ if bar != BAR => {}
            MSIX_TABLE..MSIX_PENDING => self.msix.write_table(offset - MSIX_TABLE, size, value),
            MSIX_PENDING.. => {}
            _ if size < 4 || !offset.is_multiple_of(4) => {}
            _ => {
                self.write_register(offset, value as u32);
                if size == 8 {
                    self.write_register(offset + 4, (value >> 32) as u32);
                }
                self.drive();
            }
        }
    }

    fn reset(&mut self) {
        self.config.reset();
        self.msix.reset();
        self.reset_controller();
    }

    fn save(&self) -> DeviceState {
        let state = XhciStateV1 {
            config: self.config.save(),
            msix: self.msix.save(),
            registers: self.registers.clone(),
            events: self.events.clone(),
            ports: self.ports.clone(),
            slots: self.slots.clone(),
            devices: self.devices.iter().map(|device| device.save()).collect(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: XhciStateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.into(),
            what,
        };
        let devices = self.devices.iter().zip(&state.devices);
        let same = state.devices.len() == self.devices.len()
            && state.ports.len() == self.ports.len()
            && state.slots.len() == self.slots.len();
        if !same || !devices.clone().all(|(device, saved)| device.fits(saved)) {
            return Err(damaged("other devices, or none that there can be".into()));
        }
        let ports = self.devices.len();
        let sound = state.slots.iter().all(|slot| slot.is_sound(ports))
            && state.events.is_sound()
            && state.registers.is_sound();
        if !sound {
            return Err(damaged("rings that no driver makes".into()));
        }
        let before = self.msix.save();
        self.msix.restore(&state.msix).map_err(damaged)?;
        if let Err(what) = self.config.restore(&state.config) {
            // As they were a moment ago.
            let _ = self.msix.restore(&before);
            return Err(damaged(what));
        }
        self.registers = state.registers;
        self.events = state.events;
        self.ports = state.ports;
        self.slots = state.slots;
        for (device, saved) in self.devices.iter_mut().zip(&state.devices) {
            device.restore(saved);
        }
        self.quiet = true;
        self.drive();
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
