//! The disk controller of old: PIIX3's IDE function, with ATA disks and ATAPI CD-ROMs, by programmed I/O and
//! by bus-master DMA.
//!
//! Problem: everything that boots on a PC knows this controller, and nobody wants it to be fast: what is
//! fast are virtio disks. Choice: a command is done in whole, on the vCPU that starts it, when its registers
//! or its DMA engine are written; between two accesses nothing is under way, so the state is plain values,
//! and the only buffer is the block that the guest is taking or giving. Rejected: a thread (requests that
//! are in flight have to be waited for at a save, and order with registers that are polled).
//!
//! Spec: Intel 82371SB (PIIX3) datasheet, "PCI Configuration Registers, Function 1" and "Bus Master IDE";
//! ATA/ATAPI-6, "Command descriptions"; MMC-3; SFF-8020i.

mod bus_master;
mod channel;
mod disk;
mod identify;
mod medium;
mod packet;
mod state;
mod transfer;
mod tray;

use std::sync::{Arc, Mutex};

use block::BlockDevice;
use memory::GuestMemory;
use serde::{Deserialize, Serialize};

use crate::pci::{BarKind, COMMAND_BUS_MASTER, ConfigSpace, ConfigState, Identity, PciFunction};
use crate::ports::{locked, read_bytes, write_bytes};
use crate::{Device, DeviceState, Line, Pace, PortRange, RestoreError, decode_state, encode_state};

use channel::Channel;
pub(crate) use identify::{cd as identify_cd, disk as identify_disk};
use state::ChannelState;
pub use tray::IdeTray;

/// Command and control registers of both channels.
pub const PORTS: [PortRange; 4] = [
    PortRange {
        first: 0x1f0,
        count: 8,
        offset: 0,
    },
    PortRange {
        first: 0x3f6,
        count: 1,
        offset: CONTROL,
    },
    PortRange {
        first: 0x170,
        count: 8,
        offset: SECOND,
    },
    PortRange {
        first: 0x376,
        count: 1,
        offset: SECOND + CONTROL,
    },
];
const CONTROL: u64 = 0x08;
const SECOND: u64 = 0x10;

const KIND: &str = "piix3-ide";
const VERSION: u16 = 1;
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x7010,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    // At the ports of old, with a bus master.
    class: 0x01_01_80,
    revision: 0,
};
const TIMING: u8 = 0x40;
const BUS_MASTER_BAR: u8 = 4;
const BUS_MASTER_LEN: u64 = 16;
/// Registers of each channel among them.
const CHANNEL_LEN: u64 = 8;

/// What hangs on a cable.
#[derive(Debug, Clone)]
pub enum Drive {
    Disk {
        disk: Arc<dyn BlockDevice>,
        /// Its first 20 bytes are what the guest reads.
        serial: String,
    },
    /// A CD-ROM drive, perhaps with a disc.
    Cd(Option<Arc<dyn BlockDevice>>),
}

#[derive(Debug, Serialize, Deserialize)]
struct IdeStateV1 {
    config: ConfigState,
    channels: Vec<ChannelState>,
}

type Channels = Arc<Mutex<[Channel; 2]>>;

/// The function on the PCI bus, which saves the whole controller.
#[derive(Debug)]
pub struct Ide {
    config: ConfigSpace,
    channels: Channels,
    /// Behind the channel that was last at work: what waits goes on there first.
    next: usize,
}

impl Ide {
    /// `drives` are master and slave of the first channel, then of the second. `irqs` are ISA interrupts 14
    /// and 15.
    #[must_use]
    pub fn new(drives: [Option<Drive>; 4], irqs: [Arc<dyn Line>; 2], memory: &GuestMemory) -> Ide {
        let [first, second, third, fourth] = drives;
        let [irq14, irq15] = irqs;
        let config = ConfigSpace::new(&IDENTITY)
            .with_bar(BUS_MASTER_BAR, BarKind::Io, BUS_MASTER_LEN)
            .with_register(TIMING, &[0; 8], &[0xff; 8]);
        let channels = [
            Channel::new([first, second], irq14, memory.clone()),
            Channel::new([third, fourth], irq15, memory.clone()),
        ];
        Ide {
            config,
            channels: Arc::new(Mutex::new(channels)),
            next: 0,
        }
    }

    /// Keeps the drives to a rate. [`PciFunction::expire`] is called when its alarm comes.
    #[must_use]
    pub fn with_pace(self, pace: &Pace) -> Ide {
        for channel in locked(&self.channels).iter_mut() {
            channel.pace = pace.clone();
        }
        self
    }

    /// The registers at [`PORTS`].
    #[must_use]
    pub fn ports(&self) -> IdePorts {
        IdePorts {
            channels: Arc::clone(&self.channels),
        }
    }

    /// Puts a disc into the CD-ROM drive on `channel` and `unit`, or takes it out. Nothing where there is
    /// none.
    pub fn change_disc(&self, channel: usize, unit: usize, disc: Option<Arc<dyn BlockDevice>>) {
        if let Some(channel) = locked(&self.channels).get_mut(channel) {
            channel.change_disc(unit, disc);
        }
    }

    /// For whoever changes discs: the CD-ROM drive on `channel` and `unit`. `moved` tells when the guest has moved its
    /// tray.
    #[must_use]
    pub fn tray(&self, channel: usize, unit: usize, moved: Arc<dyn Line>) -> IdeTray {
        if let Some(channel) = locked(&self.channels).get_mut(channel) {
            channel.trays = moved;
        }
        IdeTray::new(Arc::clone(&self.channels), channel, unit)
    }

    /// What waits goes on. Channels have their turns: where a rate lets little pass, one would stop the other for ever.
    fn go_on(&mut self) {
        let mut channels = locked(&self.channels);
        let (count, first) = (channels.len(), self.next);
        for turn in 0..count {
            let index = (first + turn) % count;
            if channels[index].go_on() {
                self.next = index + 1;
            }
        }
    }

    fn tell_mastering(&self) {
        let may = self.config.command() & COMMAND_BUS_MASTER != 0;
        for channel in locked(&self.channels).iter_mut() {
            channel.allow_dma(may);
        }
    }
}

impl PciFunction for Ide {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
        self.tell_mastering();
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if bar != BUS_MASTER_BAR {
            return u64::MAX;
        }
        let channels = locked(&self.channels);
        read_bytes(offset, size, |at| {
            channels[usize::from(at >= CHANNEL_LEN)].master_read(at % CHANNEL_LEN)
        })
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if bar != BUS_MASTER_BAR {
            return;
        }
        let mut channels = locked(&self.channels);
        write_bytes(offset, size, value, |at, byte| {
            channels[usize::from(at >= CHANNEL_LEN)].master_write(at % CHANNEL_LEN, byte);
        });
    }

    fn reset(&mut self) {
        self.config.reset();
        for channel in locked(&self.channels).iter_mut() {
            channel.power_on();
        }
    }

    fn quiesce(&mut self) {
        for channel in locked(&self.channels).iter_mut() {
            channel.quiet = true;
        }
    }

    fn resume(&mut self) {
        for channel in locked(&self.channels).iter_mut() {
            channel.quiet = false;
        }
        self.go_on();
    }

    fn expire(&mut self) {
        self.go_on();
    }

    fn save(&self) -> DeviceState {
        let channels = locked(&self.channels);
        let state = IdeStateV1 {
            config: self.config.save(),
            channels: channels
                .iter()
                .map(|channel| channel.state.clone())
                .collect(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: IdeStateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.into(),
            what,
        };
        let mut channels = locked(&self.channels);
        if state.channels.len() != channels.len() {
            return Err(damaged("another number of channels".into()));
        }
        let fits = channels.iter().zip(&state.channels);
        if !fits.clone().all(|(channel, state)| channel.fits(state)) {
            return Err(damaged("a transfer that no drive here does".into()));
        }
        self.config.restore(&state.config).map_err(damaged)?;
        for (channel, state) in channels.iter_mut().zip(state.channels) {
            channel.restore(state);
        }
        drop(channels);
        self.tell_mastering();
        Ok(())
    }
}

/// The controller's registers at the ports of old. [`Ide`] saves them.
#[derive(Debug)]
pub struct IdePorts {
    channels: Channels,
}

impl Device for IdePorts {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let mut channels = locked(&self.channels);
        let channel = &mut channels[usize::from(offset >= SECOND)];
        match offset % SECOND {
            0 => channel.read_data(size),
            at => read_bytes(at, size, |at| channel.read(at)),
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        let mut channels = locked(&self.channels);
        let channel = &mut channels[usize::from(offset >= SECOND)];
        match offset % SECOND {
            0 => channel.write_data(size, value),
            at => write_bytes(at, size, value, |at, byte| channel.write(at, byte)),
        }
    }

    /// The function does.
    fn reset(&mut self) {}

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        decode_state(KIND, VERSION, state)
    }
}

#[cfg(test)]
mod tests;
