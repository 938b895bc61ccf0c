//! One channel: its registers, and how a command moves its data through them.
#![allow(
    clippy::cast_possible_truncation,
    reason = "a register is a byte of a larger value"
)]

use std::sync::Arc;

use block::BlockDevice;
use memory::GuestMemory;

use super::Drive;
use super::state::{ChannelState, DriveState, Task, error, status};
use super::transfer::{Failed, MOST_MULTIPLE, PACKET_LEN, Transfer, What};
use crate::scsi::Sense;
use crate::{Line, Pace};

/// Registers by which more is done than to remember what is written.
const COMMAND: u64 = 7;
const DEVICE_CONTROL: u64 = 8;
/// In device control: no interrupts; reset; show the previous bytes.
const NO_INTERRUPT: u8 = 1 << 1;
const RESET: u8 = 1 << 2;
const SHOW_PREVIOUS: u8 = 1 << 7;
/// Bits of the device register that read as ones.
const DEVICE_FIXED: u8 = 0xa0;
const DEVICE_SECOND: u8 = 1 << 4;
/// Interrupt reasons of packet commands: a command is awaited; data is for the host.
pub(super) const REASON_COMMAND: u8 = 1 << 0;
pub(super) const REASON_IN: u8 = 1 << 1;
/// In the DMA engine's status: the drive has interrupted.
const MASTER_INTERRUPT: u8 = 1 << 2;

/// A line that nobody looks at.
#[derive(Debug)]
struct Nowhere;

impl Line for Nowhere {
    fn set(&self, _high: bool) {}
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) drives: [Option<Drive>; 2],
    pub(super) memory: GuestMemory,
    pub(super) may_dma: bool,
    pub(super) state: ChannelState,
    irq: Arc<dyn Line>,
    /// High while a tray of its is out: it tells when the guest moves one.
    pub(super) trays: Arc<dyn Line>,
    pub(super) pace: Pace,
    /// The machine saves, restores or is paused: what waits goes on when it does.
    pub(super) quiet: bool,
}

impl Channel {
    pub(super) fn new(
        drives: [Option<Drive>; 2],
        irq: Arc<dyn Line>,
        memory: GuestMemory,
    ) -> Channel {
        let mut channel = Channel {
            drives,
            memory,
            may_dma: false,
            state: ChannelState::default(),
            irq,
            trays: Arc::new(Nowhere),
            pace: Pace::free(),
            quiet: false,
        };
        channel.power_on();
        channel
    }

    pub(super) fn power_on(&mut self) {
        self.state = ChannelState::default();
        self.may_dma = false;
        self.trays.set(false);
        self.reset_drives();
        self.drive_line();
    }

    /// What SRST does: every drive shows its signature.
    fn reset_drives(&mut self) {
        self.state.transfer = None;
        self.state.selected = 0;
        for unit in 0..self.drives.len() {
            self.sign(unit);
        }
    }

    /// Spec: ATA/ATAPI-6, "Signature and persistence".
    pub(super) fn sign(&mut self, unit: usize) {
        let Some(drive) = &self.drives[unit] else {
            return;
        };
        let is_cd = drive.is_cd();
        let state = &mut self.state.drives[unit];
        state.task = Task {
            count: 1,
            address: if is_cd { [1, 0x14, 0xeb] } else { [1, 0, 0] },
            ..Task::default()
        };
        state.error = error::DIAGNOSED;
        state.status = if is_cd {
            0
        } else {
            status::READY | status::SEEK_COMPLETE
        };
    }

    pub(super) fn fits(&self, state: &ChannelState) -> bool {
        let transfer = state.transfer.as_ref();
        let transfers = transfer.is_none_or(|transfer| {
            let drive = self.drives.get(usize::from(transfer.unit));
            drive.is_some_and(|drive| drive.as_ref().is_some_and(|drive| transfer.fits(drive)))
        });
        let multiple = state
            .drives
            .iter()
            .all(|drive| drive.multiple <= MOST_MULTIPLE);
        transfers && multiple && state.selected < 2
    }

    pub(super) fn restore(&mut self, state: ChannelState) {
        self.state = state;
        self.quiet = true;
        self.drive_line();
    }

    pub(super) fn allow_dma(&mut self, may: bool) {
        self.may_dma = may;
        self.run_dma();
    }

    pub(super) fn change_disc(&mut self, unit: usize, disc: Option<Arc<dyn BlockDevice>>) {
        if let Some(Some(Drive::Cd(current))) = self.drives.get_mut(unit) {
            *current = disc;
            self.state.drives[unit].tray.changed = true;
        }
    }

    /// The drive that commands go to, and what it remembers.
    pub(super) fn selected(&mut self) -> Option<(&Drive, &mut DriveState)> {
        let unit = usize::from(self.state.selected);
        let drive = self.drives.get(unit)?.as_ref()?;
        Some((drive, self.state.drives.get_mut(unit)?))
    }

    pub(super) fn read(&mut self, offset: u64) -> u8 {
        let previous = self.state.control & SHOW_PREVIOUS != 0;
        let unit = self.state.selected;
        let Some((_, drive)) = self.selected() else {
            // Nobody drives the cable.
            return 0;
        };
        let task = &drive.task;
        let address = if previous {
            task.previous_address
        } else {
            task.address
        };
        match offset {
            1 => drive.error,
            2 if previous => task.previous_count,
            2 => task.count,
            3..=5 => address[(offset - 3) as usize],
            6 => task.device & !DEVICE_SECOND | DEVICE_FIXED | unit << 4,
            7 => {
                let now = drive.status;
                self.state.interrupt = false;
                self.drive_line();
                now
            }
            8 => drive.status,
            _ => 0xff,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u8) {
        if offset != DEVICE_CONTROL && self.is_deaf(offset, value) {
            return;
        }
        match offset {
            COMMAND => return self.command(value),
            DEVICE_CONTROL => return self.write_control(value),
            6 => self.state.selected = value >> 4 & 1,
            _ => {}
        }
        // Both drives hear it. A write takes the previous bytes from the screen.
        self.state.control &= !SHOW_PREVIOUS;
        for drive in &mut self.state.drives {
            let task = &mut drive.task;
            match offset {
                1 => task.features = value,
                2 => task.previous_count = std::mem::replace(&mut task.count, value),
                3..=5 => {
                    let at = (offset - 3) as usize;
                    task.previous_address[at] = std::mem::replace(&mut task.address[at], value);
                }
                6 => task.device = value,
                _ => {}
            }
        }
    }

    /// Is the drive busy, which then hears of nothing? A CD-ROM drive does of DEVICE RESET.
    fn is_deaf(&mut self, offset: u64, value: u8) -> bool {
        const DEVICE_RESET: u8 = 0x08;
        let Some((drive, state)) = self.selected() else {
            return false;
        };
        let resets = offset == COMMAND && value == DEVICE_RESET && drive.is_cd();
        state.status & status::BUSY != 0 && !resets
    }

    fn write_control(&mut self, value: u8) {
        let before = std::mem::replace(&mut self.state.control, value);
        if before & RESET != 0 && value & RESET == 0 {
            self.reset_drives();
            self.state.interrupt = false;
        }
        self.drive_line();
    }

    fn command(&mut self, command: u8) {
        self.state.interrupt = false;
        self.drive_line();
        let Some((drive, state)) = self.selected() else {
            return;
        };
        let is_cd = drive.is_cd();
        state.error = 0;
        state.status = status::READY | status::SEEK_COMPLETE;
        self.state.transfer = None;
        if is_cd {
            self.cd_command(command);
        } else {
            self.disk_command(command);
        }
    }

    /// The command is done.
    pub(super) fn succeed(&mut self) {
        self.state.transfer = None;
        if let Some((drive, state)) = self.selected() {
            state.status = status::READY | status::SEEK_COMPLETE;
            if drive.is_cd() {
                state.task.count = REASON_COMMAND | REASON_IN;
            }
        }
        self.interrupt();
    }

    /// It cannot be done.
    pub(super) fn fail(&mut self, error: u8) {
        self.state.transfer = None;
        if let Some((_, state)) = self.selected() {
            state.error = error;
            state.status = status::READY | status::SEEK_COMPLETE | status::ERROR;
        }
        self.interrupt();
    }

    /// Begins to move data: at once through the data register, or when the DMA engine is started.
    pub(super) fn begin(&mut self, what: What, dma: bool) {
        self.state.transfer = Some(Transfer::new(self.state.selected, dma, what));
        if dma {
            self.set_status(status::DATA_REQUEST);
            self.run_dma();
        } else {
            self.next_in_time();
        }
    }

    /// As [`Channel::begin`], of an answer that is there.
    pub(super) fn begin_answer(&mut self, bytes: Vec<u8>) {
        let mut transfer = Transfer::new(self.state.selected, false, What::Answer);
        transfer.buffer = bytes;
        self.state.transfer = Some(transfer);
        self.set_status(status::DATA_REQUEST);
        self.interrupt();
    }

    pub(super) fn begin_packet(&mut self) {
        let mut transfer = Transfer::new(self.state.selected, false, What::Packet);
        transfer.buffer = vec![0; PACKET_LEN];
        self.state.transfer = Some(transfer);
        if let Some((_, state)) = self.selected() {
            state.task.count = REASON_COMMAND;
        }
        self.set_status(status::DATA_REQUEST);
    }

    fn set_status(&mut self, more: u8) {
        if let Some((_, state)) = self.selected() {
            state.status = status::READY | status::SEEK_COMPLETE | more;
        }
    }

    /// The next block, or a flush, once it may pass: until then the drive is busy. Answers whether it has passed.
    fn next_in_time(&mut self) -> bool {
        if self.quiet || !self.pace.may_pass() {
            self.set_status(status::BUSY);
            return false;
        }
        let transfer = self.state.transfer.as_ref();
        if transfer.is_some_and(|it| it.what == What::Flush) {
            self.flush();
        } else {
            self.next_block();
        }
        true
    }

    /// What waits goes on, where it may. Answers whether something has.
    pub(super) fn go_on(&mut self) -> bool {
        if self.run_dma() {
            return true;
        }
        let waiting = self.state.transfer.as_ref();
        let waiting = waiting.filter(|it| !it.dma && it.can_wait());
        let unit = waiting.map(|it| usize::from(it.unit & 1));
        unit.is_some_and(|unit| self.state.drives[unit].status & status::BUSY != 0)
            && self.next_in_time()
    }

    fn next_block(&mut self) {
        let Some(mut transfer) = self.state.transfer.take() else {
            return;
        };
        // The first block that a disk is given is not interrupted for.
        let interrupts = !transfer.begin_write();
        let drive = self.drives[usize::from(transfer.unit & 1)].as_ref();
        let made = drive.map_or(Err(Failed), |drive| transfer.next_block(drive));
        let (packet, len) = (transfer.is_packet(), transfer.buffer.len());
        if transfer.is_of_medium() && transfer.is_inward() {
            self.pace.spend(len as u64);
        }
        if made.is_err() {
            return self.medium_failed(packet);
        }
        self.state.transfer = Some(transfer);
        if packet && let Some((_, state)) = self.selected() {
            state.task.count = REASON_IN;
            state.task.address[1..].copy_from_slice(&(len as u16).to_le_bytes());
        }
        self.set_status(status::DATA_REQUEST);
        if interrupts {
            self.interrupt();
        }
    }

    pub(super) fn medium_failed(&mut self, packet: bool) {
        if packet {
            self.fail_packet(Sense::READ_ERROR);
        } else {
            self.fail(error::UNCORRECTABLE);
        }
    }

    pub(super) fn read_data(&mut self, size: u8) -> u64 {
        let Some(transfer) = self.register_transfer(true) else {
            return 0;
        };
        let at = transfer.position as usize;
        let end = (at + usize::from(size.min(8))).min(transfer.buffer.len());
        let mut bytes = [0; 8];
        bytes[..end - at].copy_from_slice(&transfer.buffer[at..end]);
        transfer.position = end as u32;
        if end == transfer.buffer.len() {
            self.block_taken();
        }
        u64::from_le_bytes(bytes)
    }

    pub(super) fn write_data(&mut self, size: u8, value: u64) {
        let Some(transfer) = self.register_transfer(false) else {
            return;
        };
        let at = transfer.position as usize;
        let end = (at + usize::from(size.min(8))).min(transfer.buffer.len());
        transfer.buffer[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        transfer.position = end as u32;
        if end == transfer.buffer.len() {
            self.block_given();
        }
    }

    /// What moves through the data register now, in that direction.
    fn register_transfer(&mut self, inward: bool) -> Option<&mut Transfer> {
        let unit = self.state.selected;
        let transfer = self.state.transfer.as_mut();
        transfer.filter(|it| {
            !it.dma && it.unit == unit && it.is_inward() == inward && !it.buffer.is_empty()
        })
    }

    fn block_taken(&mut self) {
        let (left, packet) = match &self.state.transfer {
            Some(transfer) => (transfer.left(), transfer.is_packet()),
            None => return,
        };
        if left > 0 {
            self.next_in_time();
        } else if packet {
            self.succeed();
        } else {
            // The last block was interrupted for already.
            self.state.transfer = None;
            self.set_status(0);
        }
    }

    fn block_given(&mut self) {
        let Some(mut transfer) = self.state.transfer.take() else {
            return;
        };
        if transfer.what == What::Packet {
            return self.packet(&transfer.buffer);
        }
        let bytes = std::mem::take(&mut transfer.buffer);
        transfer.position = 0;
        let drive = self.drives[usize::from(transfer.unit & 1)].as_ref();
        let written = drive.map_or(Err(Failed), |drive| transfer.give(drive, &bytes));
        self.pace.spend(bytes.len() as u64);
        if written.is_err() {
            return self.medium_failed(false);
        }
        if transfer.left() == 0 {
            return self.succeed();
        }
        self.state.transfer = Some(transfer);
        self.next_in_time();
    }

    pub(super) fn interrupt(&mut self) {
        self.state.interrupt = true;
        self.state.master.status |= MASTER_INTERRUPT;
        self.drive_line();
    }

    fn drive_line(&self) {
        let high = self.state.interrupt && self.state.control & NO_INTERRUPT == 0;
        self.irq.set(high);
    }
}
