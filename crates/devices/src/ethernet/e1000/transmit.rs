//! Frames from the guest. Spec: the manual's "Packet Transmission", "Transmit Descriptor Ring Structure".

use memory::GuestMemory;
use netio::MAX_FRAME;
use vm_memory::{Bytes, GuestAddress};

use super::offload;
use super::registers as reg;
use super::state::{Context, Pending, State};
use crate::ethernet::{Sent, pad};

const END: u8 = 1 << 0;
/// A legacy descriptor wants a checksum; an extended one belongs to a frame to cut.
const SUM_OR_SEGMENT: u8 = 1 << 2;
const REPORT: u8 = 1 << 3;
const EXTENDED: u8 = 1 << 5;
const TAG: u8 = 1 << 6;
/// In a context's command.
const TCP: u8 = 1 << 0;
const V4: u8 = 1 << 1;
/// In a data descriptor's options.
const INSERT_IP: u8 = 1 << 0;
const INSERT_TRANSPORT: u8 = 1 << 1;
const DONE: u8 = 1 << 0;
/// The kind of an extended descriptor.
const KIND_SHIFT: u32 = 20;
const CONTEXT: u32 = 0;
const DATA: u32 = 1;

#[derive(Debug, Clone, Copy)]
struct Descriptor {
    address: u64,
    /// Length, kind and command of an extended one.
    word: u32,
    bytes: [u8; 16],
}

impl Descriptor {
    fn command(self) -> u8 {
        self.bytes[11]
    }

    fn has(self, bit: u8) -> bool {
        self.command() & bit != 0
    }

    fn special(self) -> u16 {
        u16::from_le_bytes([self.bytes[14], self.bytes[15]])
    }

    fn context(self) -> Context {
        let half = |at: usize| u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
        Context {
            ip_start: self.bytes[0],
            ip_sum: self.bytes[1],
            ip_end: half(2),
            start: self.bytes[4],
            sum: self.bytes[5],
            end: half(6),
            tcp: self.has(TCP),
            v4: self.has(V4),
            header_len: self.bytes[13],
            segment: self.special(),
        }
    }
}

/// Uses up the next descriptor.
pub(super) fn next(state: &mut State, memory: &GuestMemory, frame: &mut Vec<u8>) -> Sent {
    if state.transmit_control & reg::TCTL_ENABLE == 0 || state.transmit.owned() == 0 {
        return Sent::Nothing;
    }
    let at = GuestAddress(state.transmit.at());
    let mut bytes = [0; 16];
    // Where there is no RAM there are zeros: a descriptor of nothing.
    let _ = memory.ram().read_slice(&mut bytes, at);
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = bytes;
    let descriptor = Descriptor {
        address: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        word: u32::from_le_bytes([i, j, k, l]),
        bytes,
    };
    let sent = execute(state, memory, descriptor, frame);
    if descriptor.has(REPORT) {
        let status = bytes[12] | DONE;
        let _ = memory
            .ram()
            .write_slice(&[status], GuestAddress(at.0.wrapping_add(12)));
        state.causes |= reg::CAUSE_SENT;
    }
    state.transmit.advance();
    if state.transmit.owned() == 0 {
        state.causes |= reg::CAUSE_ALL_SENT;
    }
    sent
}

fn execute(
    state: &mut State,
    memory: &GuestMemory,
    descriptor: Descriptor,
    frame: &mut Vec<u8>,
) -> Sent {
    let extended = descriptor.has(EXTENDED);
    if extended && descriptor.word >> KIND_SHIFT & 0xf == CONTEXT {
        let which = usize::from(descriptor.has(SUM_OR_SEGMENT));
        state.contexts[which] = descriptor.context();
        return Sent::Part;
    }
    if extended && descriptor.word >> KIND_SHIFT & 0xf != DATA {
        return Sent::Part;
    }
    let pending = &mut state.pending;
    if !pending.begun {
        *pending = begin(descriptor, extended);
    }
    let len = if extended {
        descriptor.word & 0xf_ffff
    } else {
        descriptor.word & 0xffff
    };
    append(pending, memory, descriptor.address, len as usize);
    if !descriptor.has(END) {
        return Sent::Part;
    }
    if descriptor.has(TAG) && state.control & reg::CTRL_VLAN != 0 {
        state.pending.tag = Some(descriptor.special());
    }
    finish(state, frame)
}

/// The first descriptor of a frame says what is to be done with it.
fn begin(descriptor: Descriptor, extended: bool) -> Pending {
    let options = descriptor.bytes[13];
    let wants = descriptor.has(SUM_OR_SEGMENT);
    Pending {
        begun: true,
        insert_ip: extended && options & INSERT_IP != 0,
        insert_transport: extended && options & INSERT_TRANSPORT != 0,
        segment: extended && wants,
        legacy_sum: (!extended && wants).then_some((descriptor.bytes[13], descriptor.bytes[10])),
        ..Pending::default()
    }
}

fn append(pending: &mut Pending, memory: &GuestMemory, address: u64, len: usize) {
    let before = pending.bytes.len();
    pending.too_long |= before + len > MAX_FRAME;
    if pending.too_long {
        return;
    }
    pending.bytes.resize(before + len, 0);
    // Where there is no RAM there are zeros.
    let part = &mut pending.bytes[before..];
    let _ = memory.ram().read_slice(part, GuestAddress(address));
}

/// The frame is whole.
fn finish(state: &mut State, frame: &mut Vec<u8>) -> Sent {
    let mut pending = std::mem::take(&mut state.pending);
    if pending.too_long || pending.bytes.len() < 14 {
        return Sent::Part;
    }
    let context = state.contexts[usize::from(pending.segment)];
    let Some(left) = offload::apply(&mut pending, &context) else {
        return Sent::Part;
    };
    let mut left = left;
    if let Some(tag) = pending.tag {
        let [kind_high, kind_low] = (state.plain(reg::VET) as u16).to_be_bytes();
        let [high, low] = tag.to_be_bytes();
        pending
            .bytes
            .splice(12..12, [kind_high, kind_low, high, low]);
        if left.flags != 0 {
            left.csum_start += 4;
            left.hdr_len += 4;
        }
    }
    if state.transmit_control & reg::TCTL_PAD != 0 {
        pad(&mut pending.bytes);
    }
    state.count(reg::GOOD_SENT, 1);
    state.count(reg::TOTAL_SENT, 1);
    state.count(reg::GOOD_BYTES_SENT, pending.bytes.len() as u32);
    *frame = pending.bytes;
    Sent::Frame(left)
}
