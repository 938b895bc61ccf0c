//! An AHCI controller: disks and CD-ROM drives by SATA, which every system since 2005 knows without drivers of ours.
//!
//! Problem: systems that know neither virtio nor NVMe want more and faster disks than IDE has. Choice: as in the
//! NVMe controller, a command is done in whole on the vCPU that issues it, so between two accesses nothing is under
//! way but commands that wait in their slots: the state is plain values, and what waits is in the guest's memory. How
//! long one access may work is bounded; the rest comes by an alarm, as does what a rate holds back. Native queuing is
//! there for its drivers' sake: commands are done in the order of their slots, round and round, as ports are: one that is
//! never done would stop others for ever. Rejected: a thread a port.
//!
//! Spec: Serial ATA AHCI 1.3.1 Specification, "HBA Memory Registers", "System Memory Structures", "Data Transfer
//! Operation"; Serial ATA Revision 3.0, "Frame Information Structures"; ATA8-ACS, "Command descriptions".

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are parts of wider values"
)]

mod ata;
mod cd;
mod command;
mod fis;
mod identify;
mod port;
mod registers;
mod scatter;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use block::BlockDevice;
use memory::GuestMemory;
use serde::{Deserialize, Serialize};

use crate::pci::{
    BarKind, COMMAND_BUS_MASTER, ConfigSpace, ConfigState, Identity, Msi, PciFunction, Pin,
};
use crate::ports::locked;
use crate::scsi::Tray;
use crate::{DeviceState, Line, MsiSink, Pace, RestoreError, decode_state, encode_state};

use cd::Cd;
pub use cd::SataTray;
use port::{Port, PortState};

const KIND: &str = "ahci";
const VERSION: u16 = 1;
const IDENTITY: Identity = Identity {
    // Of an ICH9.
    vendor: 0x8086,
    device: 0x2922,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    class: 0x01_06_01,
    revision: 2,
};
const BAR: u8 = 5;
const BAR_LEN: u64 = 0x2000;
const PORTS: u64 = 0x100;
const PORT_LEN: u64 = 0x80;
/// Slots for commands of a port.
const SLOTS: u8 = 32;
/// Ports that there can be.
pub const MOST_PORTS: usize = 32;
/// After so long the guest's processor goes on, and the rest is done by the alarm.
const PATIENCE: Duration = Duration::from_millis(20);

/// What hangs on a port.
#[derive(Debug)]
pub enum SataDrive {
    Disk {
        disk: Arc<dyn BlockDevice>,
        /// Its first 20 bytes are what the guest reads.
        serial: String,
    },
    /// A CD-ROM drive, perhaps with a disc.
    Cd(Option<Arc<dyn BlockDevice>>),
}

/// What a controller is wired to.
#[derive(Debug)]
pub struct AhciParts {
    pub memory: GuestMemory,
    pub msi: Arc<dyn MsiSink>,
    pub line: Arc<dyn Line>,
    /// [`PciFunction::expire`] is called when its alarm comes.
    pub pace: Pace,
    /// High while a tray is out: it tells when the guest moves one.
    pub trays: Arc<dyn Line>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Global {
    control: u32,
    /// Ports that interrupt.
    interrupts: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct AhciStateV1 {
    config: ConfigState,
    global: Global,
    ports: Vec<PortState>,
    /// Of each port; of one without a CD-ROM drive as at power-on.
    trays: Vec<Tray>,
}

/// The function on the PCI bus.
#[derive(Debug)]
pub struct Ahci {
    config: ConfigSpace,
    msi: Msi,
    pin: Pin,
    memory: GuestMemory,
    pace: Pace,
    global: Global,
    ports: Vec<Port>,
    /// Behind the port that was last at work: it begins there.
    next: usize,
    /// Nothing is done before [`PciFunction::resume`].
    quiet: bool,
}

impl Ahci {
    /// With a port for each of `drives`, at most [`MOST_PORTS`].
    #[must_use]
    pub fn new(drives: Vec<SataDrive>, parts: AhciParts) -> Ahci {
        let mut config = ConfigSpace::new(&IDENTITY)
            .with_bar(BAR, BarKind::Memory32, BAR_LEN)
            .with_interrupt_pin(1);
        let msi = Msi::new(&mut config, parts.msi);
        let drives = drives.into_iter().take(MOST_PORTS);
        let ports = drives.map(|drive| Port::new(drive, &parts.trays));
        Ahci {
            config,
            msi,
            pin: Pin::new(parts.line),
            memory: parts.memory,
            pace: parts.pace,
            global: Global::default(),
            ports: ports.collect(),
            next: 0,
            quiet: false,
        }
    }

    /// For whoever changes discs: the CD-ROM drive on that port, if it is one.
    #[must_use]
    pub fn tray(&self, port: usize) -> Option<SataTray> {
        self.ports.get(port)?.cd().map(SataTray::new)
    }

    fn may_master(&self) -> bool {
        self.config.command() & COMMAND_BUS_MASTER != 0
    }

    /// Does what ports have been given, as far as there is time for it and the rate allows.
    fn work(&mut self) {
        if self.quiet || !self.may_master() {
            return;
        }
        let began = Instant::now();
        let (count, first) = (self.ports.len(), self.next);
        'all: for turn in 0..count {
            let index = (first + turn) % count;
            let port = &mut self.ports[index];
            while port.has_work() {
                if !self.pace.may_pass() || began.elapsed() >= PATIENCE && self.pace.yields() {
                    break 'all;
                }
                self.next = index + 1;
                let moved = port.step(&self.memory);
                if let Some(bytes) = moved {
                    self.pace.spend(bytes);
                }
            }
        }
        self.interrupt();
    }

    /// Tells of what has come to interrupt since.
    fn interrupt(&mut self) {
        let bits = self.ports.iter().enumerate();
        let pending = bits.fold(0, |bits, (index, port)| {
            bits | u32::from(port.state.interrupts()) << index
        });
        let new = pending & !self.global.interrupts;
        self.global.interrupts |= pending;
        if new != 0 && self.global.control & registers::INTERRUPTS != 0 {
            self.msi.fire(&self.config);
        }
        self.drive_line();
    }

    fn drive_line(&self) {
        let wanted = self.global.control & registers::INTERRUPTS != 0
            && self.global.interrupts != 0
            && !self.msi.enabled(&self.config);
        self.pin.set(wanted);
        self.pin.follow(self.config.command());
    }

    /// What GHC.HR does.
    fn reset_ports(&mut self) {
        self.global = Global::default();
        for port in &mut self.ports {
            port.reset();
        }
        self.drive_line();
    }
}

impl PciFunction for Ahci {
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
        self.drive_line();
        self.work();
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if bar != BAR {
            return u64::MAX;
        }
        // Whatever the width, of doublewords.
        let low = u64::from(self.read_register(offset & !3));
        let high = u64::from(self.read_register((offset & !3) + 4));
        (high << 32 | low) >> (8 * (offset & 3)) & (u64::MAX >> (64 - 8 * u32::from(size.min(8))))
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if bar != BAR || size < 4 || !offset.is_multiple_of(4) {
            return;
        }
        self.write_register(offset, value as u32);
        if size == 8 {
            self.write_register(offset + 4, (value >> 32) as u32);
        }
    }

    fn reset(&mut self) {
        self.config.reset();
        self.reset_ports();
        for port in &self.ports {
            port.close_tray();
        }
    }

    fn save(&self) -> DeviceState {
        let trays = self.ports.iter().map(|port| match port.cd() {
            Some(cd) => locked(&cd).tray.clone(),
            None => Tray::default(),
        });
        let state = AhciStateV1 {
            config: self.config.save(),
            global: self.global.clone(),
            ports: self.ports.iter().map(|port| port.state.clone()).collect(),
            trays: trays.collect(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: AhciStateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.into(),
            what,
        };
        if state.ports.len() != self.ports.len() || state.trays.len() != self.ports.len() {
            return Err(damaged("another number of ports".into()));
        }
        if !state.ports.iter().all(PortState::is_sound) {
            return Err(damaged("a port in a state that there is none of".into()));
        }
        self.config.restore(&state.config).map_err(damaged)?;
        self.global = state.global;
        self.quiet = true;
        let states = state.ports.into_iter().zip(state.trays);
        for (port, (state, tray)) in self.ports.iter_mut().zip(states) {
            port.next = (state.slot + 1) % SLOTS;
            port.state = state;
            if let Some(cd) = port.cd() {
                locked(&cd).tray = tray;
            }
        }
        self.drive_line();
        Ok(())
    }

    fn quiesce(&mut self) {
        self.quiet = true;
    }

    fn resume(&mut self) {
        self.quiet = false;
        self.work();
    }

    fn expire(&mut self) {
        self.work();
    }
}

/// A drive that several hold: the port, and whoever changes its discs.
type SharedCd = Arc<Mutex<Cd>>;

#[cfg(test)]
mod tests;
