//! A command from its slot to its end. Spec: AHCI 1.3.1, "Command List Structure", "Data Transfer Operation", "Error
//! Reporting and Recovery".

use block::BlockDevice;
use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::SLOTS;
use super::ata::{self, ABORTED, Outcome, UNCORRECTABLE, Way};
use super::fis::{self, REQUEST_LEN, Request, Task};
use super::port::{
    BITS_CAME, FailedQueued, HOST_BUS_FAILED, Port, PortDrive, REGISTERS_CAME, SETUP_CAME,
    TASK_FAILED, status,
};
use super::scatter::{Scatter, Stopped};
use crate::ports::locked;
use crate::scsi::{COMMAND_LEN, Sense};

const HEADER_LEN: u64 = 32;
/// In a header: how many regions there are.
const ENTRIES_SHIFT: u32 = 16;
const PACKET_AT: u64 = 0x40;
const REGIONS_AT: u64 = 0x80;
/// In the control register: software reset.
const RESET: u8 = 1 << 2;
/// What is read from a drive or written to it at once. Bytes.
const CHUNK: u64 = 0x1_0000;
/// Why a packet command's answer comes: it is the end, and nothing is moved any more.
const REASON_END: u16 = 3;
/// A range of DATA SET MANAGEMENT.
const RANGE_LEN: usize = 8;

/// A command table, and where its header is.
struct Slot {
    number: u8,
    header: u64,
    table: u64,
    entries: u16,
}

impl Slot {
    fn bit(&self) -> u32 {
        1 << self.number
    }
}

/// Why data was not moved.
enum Failed {
    Medium,
    Stopped(Stopped),
}

impl From<Stopped> for Failed {
    fn from(stopped: Stopped) -> Failed {
        Failed::Stopped(stopped)
    }
}

impl Port {
    /// Does the next command that waits: slots have their turns, since a queue that is kept full would never come to
    /// the last of them. Answers how many bytes of the medium it moved, if it had to do with that.
    pub(super) fn step(&mut self, memory: &GuestMemory) -> Option<u64> {
        let from_next = self.state.issued.rotate_right(self.next.into());
        let number = (from_next.trailing_zeros() as u8 + self.next) % SLOTS;
        self.state.slot = number;
        self.next = (number + 1) % SLOTS;
        let header = self.state.list.wrapping_add(u64::from(number) * HEADER_LEN);
        let words = memory.ram().read_obj::<[u32; 4]>(GuestAddress(header));
        let Ok(words) = words else {
            self.fail_bus();
            return None;
        };
        let [flags, _, low, high] = words.map(u32::from_le);
        let slot = Slot {
            number,
            header,
            table: u64::from(high) << 32 | u64::from(low & !0x7f),
            entries: (flags >> ENTRIES_SHIFT) as u16,
        };
        let frame = memory
            .ram()
            .read_obj::<[u8; REQUEST_LEN]>(GuestAddress(slot.table));
        let request = frame.ok().and_then(|frame| Request::parse(&frame));
        let Some(request) = request else {
            self.fail_bus();
            return None;
        };
        if !request.is_command {
            self.control(&slot, &request, memory);
            return None;
        }
        self.command(&slot, &request, memory)
    }

    /// A write of the control register: both halves of a software reset are such.
    fn control(&mut self, slot: &Slot, request: &Request, memory: &GuestMemory) {
        self.state.issued &= !slot.bit();
        if request.control & RESET != 0 {
            self.state.resetting = true;
        } else if std::mem::take(&mut self.state.resetting) {
            self.sign();
            self.tell_signature(memory);
        }
    }

    fn command(&mut self, slot: &Slot, request: &Request, memory: &GuestMemory) -> Option<u64> {
        let outcome = match &self.drive {
            PortDrive::Disk { disk, serial } => {
                let disk = std::sync::Arc::clone(disk);
                let serial = serial.clone();
                ata::run(request, &*disk, &serial, &mut self.state)
            }
            PortDrive::Cd(cd) => {
                let packet = memory
                    .ram()
                    .read_obj::<[u8; COMMAND_LEN]>(GuestAddress(slot.table + PACKET_AT));
                let Ok(packet) = packet else {
                    self.fail_bus();
                    return None;
                };
                let outcome = locked(cd).run(request, packet);
                match outcome {
                    Ok(outcome) => outcome,
                    Err(sense) => {
                        self.fail_packet(request, sense, memory);
                        return None;
                    }
                }
            }
        };
        self.carry_out(slot, request, outcome, memory)
    }

    fn carry_out(
        &mut self,
        slot: &Slot,
        request: &Request,
        outcome: Outcome,
        memory: &GuestMemory,
    ) -> Option<u64> {
        let mut scatter = Scatter::new(memory, slot.table + REGIONS_AT, slot.entries);
        match outcome {
            Outcome::Done(count) => self.succeed(slot, request, Way::Dma, count, memory),
            Outcome::Sign => {
                self.state.issued &= !slot.bit();
                self.sign();
                let task = self.signature_task();
                self.tell_signature(memory);
                self.post_registers(task, memory);
            }
            Outcome::Fail(error) => self.fail(request, error, memory),
            Outcome::FailQueued(tag, error) => self.fail_queued(slot, tag, request, error, memory),
            Outcome::Answer { bytes, way } => {
                let moved = scatter.give(&bytes).map_err(Failed::from);
                // Of an answer the guest may want the beginning.
                let moved = match moved {
                    Err(Failed::Stopped(Stopped::Short)) => Ok(()),
                    other => other,
                };
                self.finish(slot, request, way, moved, scatter.moved, memory);
            }
            Outcome::Read { at, len, way } => {
                let moved = self.read(at, len, &mut scatter);
                self.finish(slot, request, way, moved, scatter.moved, memory);
                return Some(len);
            }
            Outcome::Write {
                at,
                len,
                way,
                lasts,
            } => {
                let moved = self.write_medium(at, len, lasts, &mut scatter);
                self.finish(slot, request, way, moved, scatter.moved, memory);
                return Some(len);
            }
            Outcome::Flush => {
                match self.medium().map(|medium| medium.flush()) {
                    Some(Ok(())) => self.succeed(slot, request, Way::Dma, 0, memory),
                    _ => self.fail(request, ABORTED, memory),
                }
                return Some(0);
            }
            Outcome::Trim { len } => {
                let moved = self.trim(len, &mut scatter);
                self.finish(slot, request, Way::Dma, moved, scatter.moved, memory);
                return Some(0);
            }
        }
        None
    }

    fn medium(&self) -> Option<std::sync::Arc<dyn BlockDevice>> {
        match &self.drive {
            PortDrive::Disk { disk, .. } => Some(std::sync::Arc::clone(disk)),
            PortDrive::Cd(cd) => locked(cd).disc.clone(),
        }
    }

    fn read(&self, at: u64, len: u64, scatter: &mut Scatter<'_>) -> Result<(), Failed> {
        let medium = self.medium().ok_or(Failed::Medium)?;
        let mut buffer = Vec::new();
        for (at, count) in chunks(at, len) {
            buffer.resize(count, 0);
            medium
                .read_at(&mut buffer, at)
                .map_err(|_| Failed::Medium)?;
            match scatter.give(&buffer) {
                // A packet command's regions may hold less than it reads.
                Err(Stopped::Short) if matches!(self.drive, PortDrive::Cd(_)) => return Ok(()),
                other => other?,
            }
        }
        Ok(())
    }

    fn write_medium(
        &self,
        at: u64,
        len: u64,
        lasts: bool,
        scatter: &mut Scatter<'_>,
    ) -> Result<(), Failed> {
        let medium = self.medium().ok_or(Failed::Medium)?;
        let mut buffer = Vec::new();
        for (at, count) in chunks(at, len) {
            buffer.resize(count, 0);
            scatter.take(&mut buffer)?;
            medium.write_at(&buffer, at).map_err(|_| Failed::Medium)?;
        }
        if lasts {
            medium.flush().map_err(|_| Failed::Medium)?;
        }
        Ok(())
    }

    /// Each range is a sector and how many of them; one of none ends nothing.
    fn trim(&self, len: usize, scatter: &mut Scatter<'_>) -> Result<(), Failed> {
        const SECTOR: u64 = 512;
        let medium = self.medium().ok_or(Failed::Medium)?;
        let mut ranges = vec![0; len];
        scatter.take(&mut ranges)?;
        for range in ranges.chunks_exact(RANGE_LEN) {
            let mut bytes = [0; RANGE_LEN];
            bytes.copy_from_slice(range);
            let range = u64::from_le_bytes(bytes);
            let (first, count) = (range & 0xffff_ffff_ffff, range >> 48);
            if count == 0 {
                continue;
            }
            let discarded = medium.discard(first * SECTOR, count * SECTOR);
            discarded.map_err(|_| Failed::Medium)?;
        }
        Ok(())
    }

    /// The data has gone its way, or not.
    fn finish(
        &mut self,
        slot: &Slot,
        request: &Request,
        way: Way,
        moved: Result<(), Failed>,
        bytes: u32,
        memory: &GuestMemory,
    ) {
        // The guest sees in the header how much there was.
        let told = memory
            .ram()
            .write_obj(bytes.to_le(), GuestAddress(slot.header + 4));
        match (moved, way) {
            (Err(Failed::Stopped(Stopped::Memory)), _) => self.fail_bus(),
            _ if told.is_err() => self.fail_bus(),
            (Ok(()), _) => self.succeed(slot, request, way, 0, memory),
            (Err(Failed::Medium), Way::Queued(tag)) => {
                self.fail_queued(slot, tag, request, UNCORRECTABLE, memory);
            }
            (Err(Failed::Stopped(Stopped::Short)), Way::Queued(tag)) => {
                self.fail_queued(slot, tag, request, ABORTED, memory);
            }
            (Err(Failed::Medium), _) => self.fail_medium(request, memory),
            (Err(Failed::Stopped(Stopped::Short)), _) => self.fail(request, ABORTED, memory),
        }
    }

    fn task(&self, request: &Request, count: u16) -> Task {
        let packet = matches!(self.drive, PortDrive::Cd(_));
        Task {
            status: self.state.task as u8,
            error: (self.state.task >> 8) as u8,
            lba: request.lba,
            count: if packet { REASON_END } else { count },
            device: request.device,
        }
    }

    fn succeed(
        &mut self,
        slot: &Slot,
        request: &Request,
        way: Way,
        count: u16,
        memory: &GuestMemory,
    ) {
        self.state.set_task(status::IDLE, 0);
        self.state.issued &= !slot.bit();
        let mut task = self.task(request, count);
        match way {
            Way::Queued(tag) => {
                let done = 1 << (tag & 31);
                self.state.active &= !done;
                let frame = fis::device_bits(status::IDLE, 0, done);
                fis::post(memory, &self.state, fis::BITS_AT, &frame);
                self.state.pending |= BITS_CAME;
            }
            Way::Pio => {
                task.status |= status::DATA_REQUEST;
                let frame = task.setup(512, status::IDLE);
                fis::post(memory, &self.state, fis::SETUP_AT, &frame);
                self.state.pending |= SETUP_CAME;
                if matches!(self.drive, PortDrive::Cd(_)) {
                    task.status = status::IDLE;
                    self.post_registers(task, memory);
                }
            }
            Way::Dma => self.post_registers(task, memory),
        }
    }

    fn post_registers(&mut self, task: Task, memory: &GuestMemory) {
        let frame = task.registers(true);
        fis::post(memory, &self.state, fis::REGISTERS_AT, &frame);
        self.state.pending |= REGISTERS_CAME;
    }

    /// The command stays where it is, and no more is done, until the driver stops the port.
    fn fail(&mut self, request: &Request, error: u8, memory: &GuestMemory) {
        self.state.set_task(status::IDLE | status::ERROR, error);
        let task = self.task(request, 0);
        self.post_registers(task, memory);
        self.state.pending |= TASK_FAILED;
        self.state.stopped = true;
    }

    fn fail_medium(&mut self, request: &Request, memory: &GuestMemory) {
        if let PortDrive::Cd(cd) = &self.drive {
            locked(cd).tray.sense = Sense::READ_ERROR;
            return self.fail_packet(request, Sense::READ_ERROR, memory);
        }
        self.fail(request, UNCORRECTABLE, memory);
    }

    /// REQUEST SENSE will say why.
    fn fail_packet(&mut self, request: &Request, sense: Sense, memory: &GuestMemory) {
        let aborted = if sense.key == 5 { ABORTED } else { 0 };
        self.fail(request, sense.key << 4 | aborted, memory);
    }

    fn fail_queued(
        &mut self,
        slot: &Slot,
        tag: u8,
        request: &Request,
        error: u8,
        memory: &GuestMemory,
    ) {
        self.state.issued &= !slot.bit();
        self.state.set_task(status::IDLE | status::ERROR, error);
        let task = self.task(request, 0);
        self.state.failed = Some(FailedQueued { tag, task });
        let frame = fis::device_bits(status::IDLE | status::ERROR, error, 0);
        fis::post(memory, &self.state, fis::BITS_AT, &frame);
        self.state.pending |= BITS_CAME | TASK_FAILED;
        self.state.stopped = true;
    }

    /// What the guest says is none of its memory.
    fn fail_bus(&mut self) {
        self.state.pending |= HOST_BUS_FAILED;
        self.state.stopped = true;
    }
}

/// A range of a medium in pieces: where each begins and how many bytes it has.
fn chunks(at: u64, len: u64) -> impl Iterator<Item = (u64, usize)> {
    let pieces = (0..len).step_by(CHUNK as usize);
    pieces.map(move |done| (at + done, (len - done).min(CHUNK) as usize))
}
