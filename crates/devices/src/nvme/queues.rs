//! Rings of commands and of their answers. Spec: NVM Express 1.4, "Submission Queue & Completion Queue
//! Definition", "Completion Queue Entry".

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::command::{Answer, Command, ENTRY_LEN};

/// Entries that a queue may have.
pub(super) const MOST_ENTRIES: u32 = 128;
/// Entries that an admin queue may have, whatever others may.
pub(super) const MOST_ADMIN_ENTRIES: u32 = 4096;
/// Bytes of a page, as the driver and the controller mean it.
pub(super) const PAGE: u64 = 4096;
const ANSWER_LEN: u64 = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubmissionQueue {
    base: u64,
    size: u32,
    head: u16,
    tail: u16,
    pub(super) completes_to: u16,
}

impl SubmissionQueue {
    /// `size` in entries, from 2 to [`MOST_ADMIN_ENTRIES`].
    pub(super) fn new(base: u64, size: u32, completes_to: u16) -> SubmissionQueue {
        SubmissionQueue {
            base,
            size,
            head: 0,
            tail: 0,
            completes_to,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        (2..=MOST_ADMIN_ENTRIES).contains(&self.size)
            && u32::from(self.head) < self.size
            && u32::from(self.tail) < self.size
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    pub(super) fn head(&self) -> u16 {
        self.head
    }

    /// A position outside of the queue is none.
    pub(super) fn set_tail(&mut self, tail: u16) -> bool {
        let fits = u32::from(tail) < self.size;
        if fits {
            self.tail = tail;
        }
        fits
    }

    /// The next command. One that lies outside of memory is all zeros.
    pub(super) fn take(&mut self, memory: &GuestMemory) -> Option<Command> {
        if self.head == self.tail {
            return None;
        }
        let at = self
            .base
            .wrapping_add(u64::from(self.head) * ENTRY_LEN as u64);
        let mut bytes = [0; ENTRY_LEN];
        if memory
            .ram()
            .read_slice(&mut bytes, GuestAddress(at))
            .is_err()
        {
            bytes.fill(0);
        }
        self.head = next(self.head, self.size);
        Some(Command::parse(&bytes))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CompletionQueue {
    base: u64,
    size: u32,
    head: u16,
    tail: u16,
    /// Turns with each round, so that the driver sees which answers are new.
    phase: bool,
    /// Which interrupt tells of answers, if one does.
    pub(super) vector: Option<u16>,
}

impl CompletionQueue {
    /// `size` in entries, from 2 to [`MOST_ADMIN_ENTRIES`].
    pub(super) fn new(base: u64, size: u32, vector: Option<u16>) -> CompletionQueue {
        CompletionQueue {
            base,
            size,
            head: 0,
            tail: 0,
            phase: true,
            vector,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        (2..=MOST_ADMIN_ENTRIES).contains(&self.size)
            && u32::from(self.head) < self.size
            && u32::from(self.tail) < self.size
    }

    pub(super) fn set_head(&mut self, head: u16) -> bool {
        let fits = u32::from(head) < self.size;
        if fits {
            self.head = head;
        }
        fits
    }

    pub(super) fn is_full(&self) -> bool {
        next(self.tail, self.size) == self.head
    }

    pub(super) fn wants_attention(&self) -> bool {
        self.vector.is_some() && self.head != self.tail
    }

    /// Adds an answer, for which there is room. One outside of memory is lost.
    pub(super) fn put(&mut self, memory: &GuestMemory, answer: &Answer, head: u16, queue: u16) {
        let at = self.base.wrapping_add(u64::from(self.tail) * ANSWER_LEN);
        let bytes = answer.encode(head, queue, self.phase);
        // The last word is what the driver looks at.
        let (first, last) = bytes.split_at(12);
        let _ = memory.ram().write_slice(first, GuestAddress(at));
        let _ = memory
            .ram()
            .write_slice(last, GuestAddress(at.wrapping_add(12)));
        self.tail = next(self.tail, self.size);
        self.phase ^= self.tail == 0;
    }
}

fn next(at: u16, size: u32) -> u16 {
    if u32::from(at) + 1 < size { at + 1 } else { 0 }
}
