//! A disk by USB. Spec: Universal Serial Bus Mass Storage Class, "Bulk-Only Transport" 1.0.
//!
//! A command comes in a block, its data follows in the one direction or the other, and an account of it comes last.
//! Data is read when the guest takes it, and written when it gives it.

use std::sync::Arc;

use block::BlockDevice;
use serde::{Deserialize, Serialize};

use super::descriptors::{Description, Speed};
use super::device::{Answer, Common, DeviceSaved, Setup, UsbDevice};
use crate::Pace;
use crate::scsi::{self, DiskSense, Reply, Sense};

const BULK_IN: u8 = 0x81;
const BULK_OUT: u8 = 0x02;
const BULK: u8 = 2;
/// Bytes that go to the disk and come from it at once where packets are small.
const GATHERED: usize = 4096;

/// The largest packet of a bulk endpoint.
fn largest(speed: Speed) -> u16 {
    match speed {
        Speed::Low | Speed::Full => 64,
        Speed::High => 512,
    }
}

const COMMAND_SIGNATURE: u32 = 0x4342_5355;
const STATUS_SIGNATURE: u32 = 0x5342_5355;
const COMMAND_LEN: usize = 31;
const GOOD: u8 = 0;
const FAILED: u8 = 1;
const OUT_OF_STEP: u8 = 2;

/// What comes next.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    #[default]
    Command,
    /// Of an answer that is there.
    Answer {
        rest: Vec<u8>,
    },
    /// From byte `at` of the disk on.
    Read {
        at: u64,
        left: u32,
    },
    Write {
        at: u64,
        left: u32,
    },
    /// The host has so much more to give than the command takes: it is dropped.
    Drop {
        left: u32,
    },
    Status,
    /// As [`Phase::Write`] by small packets, of which so many bytes have not got to byte `at` of the disk yet.
    Gather {
        at: u64,
        left: u32,
        held: Vec<u8>,
    },
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StorageState {
    common: Common,
    phase: Phase,
    sense: DiskSense,
    /// Of the command under way.
    tag: u32,
    /// Bytes that the host expects still to be moved.
    residue: u32,
    status: u8,
}

#[derive(Debug)]
pub(super) struct Storage {
    description: Description,
    disk: Arc<dyn BlockDevice>,
    serial: String,
    pace: Pace,
    state: StorageState,
    /// By small packets, what was read of the disk already, and where that is. Not saved: it is read again.
    ahead: Option<(u64, Vec<u8>)>,
}

impl Storage {
    /// `serial` is what the guest reads, at most 20 bytes of it.
    pub(super) fn new(
        disk: Arc<dyn BlockDevice>,
        serial: &str,
        speed: Speed,
        pace: Pace,
    ) -> Storage {
        let largest = largest(speed);
        let serial: String = serial.chars().take(20).collect();
        Storage {
            description: Description {
                speed,
                product: "Innkeeper USB disk",
                serial: if serial.is_empty() {
                    "1".into()
                } else {
                    serial.clone()
                },
                number: 0x0003,
                // SCSI by bulk endpoints alone.
                class: [8, 6, 0x50],
                class_descriptor: Vec::new(),
                endpoints: vec![(BULK_IN, BULK, largest, 0), (BULK_OUT, BULK, largest, 0)],
                report: None,
            },
            disk,
            serial,
            pace,
            state: StorageState::default(),
            ahead: None,
        }
    }

    /// Are its packets no sectors?
    fn is_slow(&self) -> bool {
        self.description.speed != Speed::High
    }

    /// A command block.
    fn command(&mut self, block: &[u8]) -> Answer {
        self.run(block).unwrap_or_else(|| {
            // Until it is reset.
            self.state.common.halt(BULK_IN);
            self.state.common.halt(BULK_OUT);
            Answer::Stall
        })
    }

    /// `None` for what is none.
    fn run(&mut self, block: &[u8]) -> Option<Answer> {
        let block: &[u8; COMMAND_LEN] = block.try_into().ok()?;
        let word = |at: usize| {
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let (inward, unit, len) = (block[12] & 0x80 != 0, block[13] & 15, block[14]);
        if word(0) != COMMAND_SIGNATURE || !(1..=16).contains(&len) {
            return None;
        }
        let mut command = [0; 16];
        let given = usize::from(len);
        command[..given].copy_from_slice(&block[15..15 + given]);
        if unit == 0 && scsi::is_flush(&command) {
            if !self.pace.may_pass() {
                return Some(Answer::Wait);
            }
            self.pace.spend(0);
        }
        self.state.tag = word(4);
        self.state.residue = word(8);
        self.state.status = GOOD;
        // The command may write there.
        self.ahead = None;
        let reply = if unit == 0 {
            scsi::run_disk(command, &*self.disk, &self.serial, &mut self.state.sense)
        } else {
            Reply::Fail(Sense::NO_SUCH_UNIT)
        };
        self.state.phase = self.phase(reply, inward);
        Some(Answer::Data(Vec::new()))
    }

    /// What a reply means where the host expects data in that direction.
    fn phase(&mut self, reply: Reply, inward: bool) -> Phase {
        let expected = self.state.residue;
        let nothing = match (expected, inward) {
            (0, _) => Phase::Status,
            (_, true) => Phase::Answer { rest: Vec::new() },
            (left, false) => Phase::Drop { left },
        };
        let left = |len: u64| u32::try_from(len).unwrap_or(u32::MAX).min(expected);
        match reply {
            Reply::Done => nothing,
            Reply::Answer(mut rest) if inward && expected > 0 => {
                rest.truncate(usize::try_from(expected).unwrap_or(usize::MAX));
                Phase::Answer { rest }
            }
            Reply::Read { at, len } if inward && expected > 0 => Phase::Read {
                at,
                left: left(len),
            },
            Reply::Write { at, len } if !inward && expected > 0 && self.is_slow() => {
                Phase::Gather {
                    at,
                    left: left(len),
                    held: Vec::new(),
                }
            }
            Reply::Write { at, len } if !inward && expected > 0 => Phase::Write {
                at,
                left: left(len),
            },
            Reply::Fail(_) => {
                self.state.status = FAILED;
                nothing
            }
            // Host and device do not agree on where data goes.
            Reply::Answer(_) | Reply::Read { .. } | Reply::Write { .. } => {
                self.state.status = OUT_OF_STEP;
                nothing
            }
        }
    }

    /// The next bytes for the guest. `None` where the disk cannot be read.
    fn next_bytes(&mut self, most: usize) -> Option<Vec<u8>> {
        let (from, left) = match &mut self.state.phase {
            Phase::Answer { rest } => return Some(rest.drain(..rest.len().min(most)).collect()),
            Phase::Read { at, left } => (*at, *left),
            _ => return Some(Vec::new()),
        };
        let left = usize::try_from(left).ok()?;
        let count = left.min(most);
        let bytes = if self.is_slow() {
            self.read_ahead(from, left, count)?
        } else {
            self.read(from, count)?
        };
        if let Phase::Read { at, left } = &mut self.state.phase {
            *at += count as u64;
            *left -= u32::try_from(count).ok()?;
        }
        Some(bytes)
    }

    fn read(&self, at: u64, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.disk.read_at(&mut bytes, at).ok()?;
        self.pace.spend(count as u64);
        Some(bytes)
    }

    /// As [`Storage::read`], of `left` bytes that the guest takes one after the other: the disk is asked for many at once.
    fn read_ahead(&mut self, at: u64, left: usize, count: usize) -> Option<Vec<u8>> {
        if let Some((from, bytes)) = &self.ahead
            && let Some(skipped) = at.checked_sub(*from)
            && let Some(rest) = bytes.get(usize::try_from(skipped).ok()?..)
            && let Some(part) = rest.get(..count)
        {
            return Some(part.to_vec());
        }
        let bytes = self.read(at, left.min(GATHERED).max(count))?;
        let part = bytes[..count].to_vec();
        self.ahead = Some((at, bytes));
        Some(part)
    }

    fn status(&mut self) -> Vec<u8> {
        self.state.phase = Phase::Command;
        let words = [STATUS_SIGNATURE, self.state.tag, self.state.residue];
        let mut block: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        block.push(self.state.status);
        block
    }

    fn write(&mut self, data: &[u8]) -> Answer {
        let Phase::Write { at, left } = &mut self.state.phase else {
            return Answer::Stall;
        };
        let count = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let moved = u32::try_from(count).unwrap_or(u32::MAX);
        if self.disk.write_at(&data[..count], *at).is_err() {
            self.state.sense = DiskSense(Sense::WRITE_ERROR);
            self.state.status = FAILED;
            return self.drop_data(data, self.state.residue);
        }
        self.pace.spend(count as u64);
        *at += u64::from(moved);
        *left -= moved;
        let ended = *left == 0;
        self.state.residue -= moved.min(self.state.residue);
        if ended {
            return self.drop_data(&data[count..], self.state.residue);
        }
        Answer::Data(Vec::new())
    }

    /// As [`Storage::write`] of small packets, which go to the disk by and by.
    fn gather(&mut self, data: &[u8]) -> Answer {
        let Phase::Gather { at, left, held } = &mut self.state.phase else {
            return Answer::Stall;
        };
        held.extend(data);
        let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
        if held.len() < wanted.min(GATHERED) {
            return Answer::Data(Vec::new());
        }
        let (at, left, held) = (*at, *left, std::mem::take(held));
        self.state.phase = Phase::Write { at, left };
        let answer = self.write(&held);
        if let Phase::Write { at, left } = self.state.phase {
            let held = Vec::new();
            self.state.phase = Phase::Gather { at, left, held };
        }
        answer
    }

    /// Takes what nobody wants, of `left` bytes that there are of it, which stay in the account.
    fn drop_data(&mut self, data: &[u8], left: u32) -> Answer {
        let dropped = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.state.phase = match left.saturating_sub(dropped) {
            0 => Phase::Status,
            left => Phase::Drop { left },
        };
        Answer::Data(Vec::new())
    }

    fn is_at_the_disk(&self) -> bool {
        matches!(
            self.state.phase,
            Phase::Read { .. } | Phase::Write { .. } | Phase::Gather { .. }
        )
    }
}

impl UsbDevice for Storage {
    fn description(&self) -> &Description {
        &self.description
    }

    fn reset(&mut self) {
        self.ahead = None;
        self.state = StorageState::default();
    }

    fn control(&mut self, setup: &Setup, _data: &[u8]) -> Answer {
        if let Some(answer) = self.state.common.standard(setup, &self.description) {
            return answer;
        }
        match (setup.kind, setup.request) {
            // GET MAX LUN
            (0xa1, 0xfe) => Answer::Data(vec![0]),
            // BULK-ONLY MASS STORAGE RESET
            (0x21, 0xff) => {
                self.state.phase = Phase::Command;
                self.state.common.halted = 0;
                Answer::Data(Vec::new())
            }
            _ => Answer::Stall,
        }
    }

    fn take(&mut self, endpoint: u8, most: usize) -> Answer {
        if endpoint != BULK_IN || self.state.common.is_halted(endpoint) {
            return Answer::Stall;
        }
        if self.state.phase == Phase::Status {
            let mut block = self.status();
            block.truncate(most);
            return Answer::Data(block);
        }
        if !matches!(self.state.phase, Phase::Answer { .. } | Phase::Read { .. }) {
            return Answer::Wait;
        }
        if self.is_at_the_disk() && !self.pace.may_pass() {
            return Answer::Wait;
        }
        let Some(bytes) = self.next_bytes(most) else {
            self.state.sense = DiskSense(Sense::READ_ERROR);
            self.state.status = FAILED;
            self.state.phase = Phase::Status;
            // The data ends here.
            return Answer::Data(Vec::new());
        };
        let moved = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.state.residue -= moved.min(self.state.residue);
        if self.state.residue == 0 || bytes.len() < most {
            self.state.phase = Phase::Status;
        }
        Answer::Data(bytes)
    }

    fn give(&mut self, endpoint: u8, data: &[u8]) -> Answer {
        if endpoint != BULK_OUT || self.state.common.is_halted(endpoint) {
            return Answer::Stall;
        }
        match self.state.phase {
            Phase::Command => self.command(data),
            Phase::Write { .. } | Phase::Gather { .. } if !self.pace.may_pass() => Answer::Wait,
            Phase::Write { .. } => self.write(data),
            Phase::Gather { .. } => self.gather(data),
            Phase::Drop { left } => self.drop_data(data, left),
            // A new command before the account of the last: the host has given that up.
            Phase::Status if data.len() == COMMAND_LEN => {
                self.state.phase = Phase::Command;
                self.give(endpoint, data)
            }
            Phase::Answer { .. } | Phase::Read { .. } | Phase::Status => Answer::Stall,
        }
    }

    fn save(&self) -> DeviceSaved {
        DeviceSaved::Storage(self.state.clone())
    }

    fn fits(&self, saved: &DeviceSaved) -> bool {
        let DeviceSaved::Storage(state) = saved else {
            return false;
        };
        let inside = |at: u64, left: u32| {
            at.checked_add(left.into())
                .is_some_and(|end| end <= self.disk.len())
        };
        state.common.configuration <= 1
            && match &state.phase {
                Phase::Answer { rest } => rest.len() <= usize::from(u16::MAX),
                Phase::Read { at, left } | Phase::Write { at, left } => inside(*at, *left),
                Phase::Gather { at, left, held } => {
                    let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
                    inside(*at, *left) && held.len() < wanted.min(GATHERED)
                }
                Phase::Command | Phase::Drop { .. } | Phase::Status => true,
            }
    }

    fn restore(&mut self, saved: &DeviceSaved) {
        if let DeviceSaved::Storage(state) = saved {
            self.ahead = None;
            self.state = state.clone();
        }
    }
}
