//! The event ring and the interrupter. Spec: xHCI 1.2, "Interrupter Register Set", "Event Ring Management".

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::Xhci;
use super::rings::TRB_LEN;

const PENDING: u32 = 1 << 0;
const ENABLED: u32 = 1 << 1;
/// In the dequeue pointer: the guest's handler is at it.
const BUSY: u64 = 1 << 3;
const LEAST: u16 = 16;
const MOST: u16 = 4096;
/// Events that one request has at most.
const ROOM: u16 = 4;

/// Kinds of events.
pub(super) const TRANSFER: u8 = 32;
pub(super) const COMMAND_DONE: u8 = 33;
pub(super) const PORT_CHANGED: u8 = 34;

/// Why something ended so. Spec: "TRB Completion Codes".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Success = 1,
    DataBuffer = 2,
    Transaction = 4,
    Trb = 5,
    Stall = 6,
    NoSlots = 9,
    SlotNotEnabled = 11,
    ShortPacket = 13,
    Parameter = 17,
    ContextState = 19,
    RingStopped = 24,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Events {
    management: u32,
    moderation: u32,
    segments: u32,
    table: u64,
    /// Where the guest is, with [`BUSY`].
    dequeue: u64,
    /// The only segment: where it lies and how many events it holds; nothing before its table was told.
    base: u64,
    size: u16,
    /// The next event's place, and how it looks.
    index: u16,
    cycle: bool,
}

impl Events {
    pub(super) fn is_sound(&self) -> bool {
        (self.size == 0 || (LEAST..=MOST).contains(&self.size))
            && (self.index < self.size || self.size == 0 && self.index == 0)
    }

    pub(super) fn read(&self, at: u64) -> u32 {
        match at {
            0x00 => self.management,
            0x04 => self.moderation,
            0x08 => self.segments,
            0x10 => self.table as u32,
            0x14 => (self.table >> 32) as u32,
            0x18 => self.dequeue as u32,
            0x1c => (self.dequeue >> 32) as u32,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, at: u64, value: u32, memory: &GuestMemory) {
        let low = u64::from(value);
        match at {
            0x00 => {
                let cleared = value & PENDING;
                self.management = self.management & PENDING & !cleared | value & ENABLED;
            }
            0x04 => self.moderation = value,
            0x08 => {
                self.segments = value & 0xffff;
                self.load(memory);
            }
            0x10 => {
                self.table = self.table & !0xffff_ffff | low & !0x3f;
                self.load(memory);
            }
            0x14 => {
                self.table = self.table & 0xffff_ffff | low << 32;
                self.load(memory);
            }
            0x18 => {
                let busy = self.dequeue & BUSY & !(low & BUSY);
                self.dequeue = self.dequeue & !0xffff_ffff | low & !0xf | low & 7 | busy;
                self.look_again();
            }
            0x1c => {
                self.dequeue = self.dequeue & 0xffff_ffff | low << 32;
                self.look_again();
            }
            _ => {}
        }
    }

    /// The table's first entry says where events go.
    fn load(&mut self, memory: &GuestMemory) {
        let entry = memory.ram().read_obj::<[u32; 3]>(GuestAddress(self.table));
        let Ok([low, high, size]) = entry.map(|words| words.map(u32::from_le)) else {
            self.size = 0;
            self.index = 0;
            return;
        };
        self.base = u64::from(high) << 32 | u64::from(low & !0x3f);
        self.size = if self.segments == 0 {
            0
        } else {
            u16::try_from(size & 0xffff)
                .ok()
                .filter(|size| (LEAST..=MOST).contains(size))
                .unwrap_or(0)
        };
        self.index = 0;
        self.cycle = true;
    }

    /// Events that the guest has not taken.
    fn waiting(&self) -> u16 {
        let dequeued = (self.dequeue & !0xf).wrapping_sub(self.base) / TRB_LEN;
        let Some(dequeued) = u16::try_from(dequeued).ok().filter(|at| *at < self.size) else {
            return 0;
        };
        if self.index >= dequeued {
            self.index - dequeued
        } else {
            self.index + self.size - dequeued
        }
    }

    /// The handler has come to an end, or has not seen all.
    fn look_again(&mut self) {
        if self.dequeue & BUSY == 0 && self.size > 0 && self.waiting() > 0 {
            self.management |= PENDING;
            self.dequeue |= BUSY;
        }
    }

    /// Is there room for all that a request may have to say?
    pub(super) fn has_room(&self) -> bool {
        self.size > 0 && self.size - self.waiting() > ROOM
    }

    /// Adds an event. Where there is no room it is lost.
    fn put(&mut self, memory: &GuestMemory, parameter: u64, status: u32, control: u32) {
        if self.size == 0 || self.size - self.waiting() <= 1 {
            return;
        }
        let at = self.base.wrapping_add(u64::from(self.index) * TRB_LEN);
        let words = [parameter as u32, (parameter >> 32) as u32, status].map(u32::to_le);
        // The last word has the cycle, which is what a driver looks at.
        let _ = memory.ram().write_obj(words, GuestAddress(at));
        let control = control & !1 | u32::from(self.cycle);
        let _ = memory
            .ram()
            .write_obj(control.to_le(), GuestAddress(at.wrapping_add(12)));
        self.index += 1;
        if self.index >= self.size {
            self.index = 0;
            self.cycle = !self.cycle;
        }
        if self.dequeue & BUSY == 0 {
            self.dequeue |= BUSY;
            self.management |= PENDING;
        }
    }

    pub(super) fn wants_interrupt(&self) -> bool {
        self.management & (PENDING | ENABLED) == PENDING | ENABLED
    }

    pub(super) fn interrupt_sent(&mut self) {
        self.management &= !PENDING;
    }
}

impl Xhci {
    /// Tells of something: what it is about, how it ended, and whose it is.
    pub(super) fn event(&mut self, kind: u8, parameter: u64, status: u32, rest: u32) {
        let control = u32::from(kind) << 10 | rest;
        self.events.put(&self.memory, parameter, status, control);
        self.registers.event_came();
    }
}
