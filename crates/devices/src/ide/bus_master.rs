//! The DMA engine of a channel. Spec: Intel 82371SB (PIIX3) datasheet, "Bus Master IDE I/O Registers" and
//! "Physical Region Descriptor".

use vm_memory::{Bytes, GuestAddress};

use super::channel::Channel;
use super::medium::SECTOR;
use super::transfer::{Failed, Transfer};

const START: u8 = 1 << 0;
/// The engine writes to memory.
const TO_MEMORY: u8 = 1 << 3;
const ACTIVE: u8 = 1 << 0;
const ERROR: u8 = 1 << 1;
const INTERRUPT: u8 = 1 << 2;
/// Bits by which drivers tell each other which drives do DMA.
const CAPABLE: u8 = 0b0110_0000;

/// Descriptors that one table may have: it lies within 64 KiB.
const MOST_DESCRIPTORS: u32 = 8192;
const LAST: u32 = 1 << 31;
/// What is read from a drive or written to it at once. Bytes, whole sectors and frames.
const CHUNK: usize = 0x1_0000;

impl Channel {
    pub(super) fn master_read(&self, offset: u64) -> u8 {
        let master = &self.state.master;
        match offset {
            0 => master.command,
            2 => master.status,
            4..=7 => master.table.to_le_bytes()[(offset & 3) as usize],
            _ => 0xff,
        }
    }

    pub(super) fn master_write(&mut self, offset: u64, value: u8) {
        let master = &mut self.state.master;
        match offset {
            0 => {
                let started = value & START != 0 && master.command & START == 0;
                master.command = value & (START | TO_MEMORY);
                if started {
                    master.status |= ACTIVE;
                } else if value & START == 0 {
                    master.status &= !ACTIVE;
                }
                // Also where the direction is another one now: what can be done does not wait.
                self.run_dma();
            }
            2 => {
                let cleared = value & (ERROR | INTERRUPT);
                master.status = master.status & !cleared & !CAPABLE | value & CAPABLE;
            }
            4..=7 => {
                let mut bytes = master.table.to_le_bytes();
                bytes[(offset & 3) as usize] = value;
                master.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
    }

    /// Does the command's transfer, if there is one and the engine runs. Answers whether it has.
    pub(super) fn run_dma(&mut self) -> bool {
        let master = &self.state.master;
        let runs = self.may_dma && !self.quiet && master.status & ACTIVE != 0;
        let to_memory = master.command & TO_MEMORY != 0;
        let pace = &self.pace;
        let Some(mut transfer) = self.state.transfer.take_if(|transfer| {
            runs && transfer.dma
                && transfer.is_inward() == to_memory
                && (!transfer.is_of_medium() || pace.may_pass())
        }) else {
            return false;
        };
        let packet = transfer.is_packet();
        if transfer.is_of_medium() {
            self.pace.spend(transfer.left());
        }
        match self.move_all(&mut transfer) {
            Ok(end) => {
                if end {
                    self.state.master.status &= !ACTIVE;
                }
                self.succeed();
            }
            Err(Stopped::Medium) => {
                self.state.master.status &= !ACTIVE;
                self.medium_failed(packet);
            }
            Err(Stopped::Memory) => {
                // The drive waits for the rest, and the driver for an interrupt, in vain.
                self.state.master.status &= !ACTIVE;
                self.state.master.status |= ERROR;
                self.state.transfer = Some(transfer);
            }
        }
        true
    }

    /// Moves everything between drive and regions. Answers whether the table ended with it.
    fn move_all(&mut self, transfer: &mut Transfer) -> Result<bool, Stopped> {
        let unit = usize::from(transfer.unit & 1);
        let drive = self.drives.get(unit).and_then(Option::as_ref);
        let drive = drive.ok_or(Stopped::Medium)?;
        let mut regions = Regions::new(self.state.master.table);
        let ram = self.memory.ram();
        let mut buffer = Vec::new();
        while transfer.left() > 0 {
            let left = usize::try_from(transfer.left()).unwrap_or(CHUNK);
            buffer.resize(left.min(CHUNK), 0);
            if transfer.is_inward() {
                transfer.take(drive, &mut buffer)?;
                regions.each(&self.memory, buffer.len(), |at, range| {
                    ram.write_slice(&buffer[range], at).is_ok()
                })?;
            } else {
                let mut filled = std::mem::take(&mut buffer);
                let len = filled.len();
                regions.each(&self.memory, len, |at, range| {
                    ram.read_slice(&mut filled[range], at).is_ok()
                })?;
                debug_assert_eq!(len as u64 % SECTOR, 0);
                transfer.give(drive, &filled)?;
                buffer = filled;
            }
        }
        Ok(regions.ended())
    }
}

/// Why not everything was moved.
enum Stopped {
    Medium,
    /// No more regions, or none of RAM.
    Memory,
}

impl From<Failed> for Stopped {
    fn from(_: Failed) -> Stopped {
        Stopped::Medium
    }
}

/// The table of physical regions, as far as it has been used up.
struct Regions {
    next: u64,
    count: u32,
    at: u64,
    left: usize,
    last: bool,
}

impl Regions {
    fn new(table: u32) -> Regions {
        Regions {
            next: table.into(),
            count: 0,
            at: 0,
            left: 0,
            last: false,
        }
    }

    fn ended(&self) -> bool {
        self.last && self.left == 0
    }

    /// Calls `with` for each piece of memory that the next `len` bytes lie in.
    fn each(
        &mut self,
        memory: &memory::GuestMemory,
        len: usize,
        mut with: impl FnMut(GuestAddress, std::ops::Range<usize>) -> bool,
    ) -> Result<(), Stopped> {
        let mut done = 0;
        while done < len {
            if self.left == 0 {
                self.load(memory)?;
            }
            let count = self.left.min(len - done);
            if !with(GuestAddress(self.at), done..done + count) {
                return Err(Stopped::Memory);
            }
            done += count;
            self.at += count as u64;
            self.left -= count;
        }
        Ok(())
    }

    fn load(&mut self, memory: &memory::GuestMemory) -> Result<(), Stopped> {
        if self.last || self.count == MOST_DESCRIPTORS {
            return Err(Stopped::Memory);
        }
        let entry = memory.ram().read_obj::<[u32; 2]>(GuestAddress(self.next));
        let [base, size] = entry.map_err(|_| Stopped::Memory)?.map(u32::from_le);
        self.next += 8;
        self.count += 1;
        self.at = u64::from(base & !1);
        // Regions are even, and one of zero bytes has 64 KiB.
        self.left = match size & 0xfffe {
            0 => 0x1_0000,
            size => size as usize,
        };
        self.last = size & LAST != 0;
        Ok(())
    }
}
