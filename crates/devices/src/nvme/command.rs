//! Commands and answers as they lie in queues. Spec: NVM Express 1.4, "Submission Queue Entry – Command
//! Format", "Completion Queue Entry", "Status Field Definition".

pub(super) const ENTRY_LEN: usize = 64;

/// What became of a command: its type and code, as the status field has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Success = 0x000,
    InvalidOpcode = 0x001,
    InvalidField = 0x002,
    /// Memory that is none.
    DataTransfer = 0x004,
    InvalidNamespace = 0x00b,
    InvalidPrpOffset = 0x013,
    OutOfRange = 0x080,
    InvalidCompletionQueue = 0x100,
    InvalidQueueId = 0x101,
    InvalidQueueSize = 0x102,
    EventLimit = 0x105,
    InvalidVector = 0x108,
    InvalidLogPage = 0x109,
    InvalidDeletion = 0x10c,
    NotChangeable = 0x10e,
    ReadOnly = 0x182,
    WriteFault = 0x280,
    ReadError = 0x281,
}

/// Asked again it would fail again.
const DO_NOT_RETRY: u16 = 1 << 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) opcode: u8,
    pub(super) id: u16,
    pub(super) namespace: u32,
    pub(super) prp: [u64; 2],
    /// Doublewords 10 to 15.
    pub(super) words: [u32; 6],
}

impl Command {
    pub(super) fn parse(bytes: &[u8; ENTRY_LEN]) -> Command {
        let word = |index: usize| {
            let mut part = [0; 4];
            part.copy_from_slice(&bytes[index * 4..][..4]);
            u32::from_le_bytes(part)
        };
        let long = |index: usize| u64::from(word(index)) | u64::from(word(index + 1)) << 32;
        Command {
            opcode: bytes[0],
            id: u16::from_le_bytes([bytes[2], bytes[3]]),
            namespace: word(1),
            prp: [long(6), long(8)],
            words: std::array::from_fn(|index| word(10 + index)),
        }
    }

    /// The lower half of one of the last words, by its number in the specification.
    pub(super) fn low(&self, word: usize) -> u16 {
        (self.words[word - 10] & 0xffff) as u16
    }

    pub(super) fn high(&self, word: usize) -> u16 {
        (self.words[word - 10] >> 16) as u16
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: u16,
    pub(super) result: u32,
    pub(super) status: Status,
}

impl Answer {
    pub(super) fn encode(&self, head: u16, queue: u16, phase: bool) -> [u8; 16] {
        let again = if self.status == Status::Success {
            0
        } else {
            DO_NOT_RETRY
        };
        let status = (self.status as u16 | again) << 1 | u16::from(phase);
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.result.to_le_bytes());
        bytes[8..10].copy_from_slice(&head.to_le_bytes());
        bytes[10..12].copy_from_slice(&queue.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.id.to_le_bytes());
        bytes[14..].copy_from_slice(&status.to_le_bytes());
        bytes
    }
}
