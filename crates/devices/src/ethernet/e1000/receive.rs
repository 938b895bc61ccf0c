//! Frames for the guest. Spec: the manual's "Packet Reception", "Receive Descriptor Format".

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::registers as reg;
use super::state::State;
use crate::ethernet::{Received, SHORTEST};

/// In a descriptor.
const DONE: u8 = 1 << 0;
const LAST: u8 = 1 << 1;
const UNCHECKED: u8 = 1 << 2;
const TAGGED: u8 = 1 << 3;
/// Both sums were looked at, and no error is told of.
const CHECKED: u8 = 1 << 5 | 1 << 6;

/// Of a frame with its check sequence, where long ones are not wanted.
const LONGEST: usize = 1522;
const LONGEST_OF_ALL: usize = 16_384;
const CHECK: usize = 4;

/// Gives the guest a frame if it wants it.
pub(super) fn put(state: &mut State, memory: &GuestMemory, frame: &[u8], valid: bool) -> Received {
    let control = state.receive_control;
    let longest = match control & reg::RCTL_LONG {
        0 => LONGEST,
        _ => LONGEST_OF_ALL,
    };
    let enabled = control & reg::RCTL_ENABLE != 0;
    if !enabled || frame.len() + CHECK > longest || !state.lets_in(frame) {
        return Received::Done;
    }
    let tag = state
        .tag(frame)
        .filter(|_| state.control & reg::CTRL_VLAN != 0);
    let mut bytes = frame.to_vec();
    if tag.is_some() {
        bytes.drain(12..16);
    }
    bytes.resize(bytes.len().max(SHORTEST), 0);
    if control & reg::RCTL_STRIP_CHECK == 0 {
        // Nobody has computed it: there was no wire.
        bytes.extend([0; CHECK]);
    }
    let size = buffer_size(control);
    let needed = u32::try_from(bytes.len().div_ceil(size)).unwrap_or(u32::MAX);
    if needed >= state.receive.count() {
        // It will never fit.
        return Received::Done;
    }
    if state.receive.owned() < needed {
        return Received::NoRoom;
    }
    let sums = if valid && state.plain(reg::RXCSUM) & reg::RXCSUM_TRANSPORT != 0 {
        CHECKED
    } else {
        UNCHECKED
    };
    let mut pieces = bytes.chunks(size).peekable();
    while let Some(piece) = pieces.next() {
        let mut status = DONE | sums;
        if pieces.peek().is_none() {
            status |= LAST;
        }
        if tag.is_some() {
            status |= TAGGED;
        }
        fill(state, memory, piece, status, tag.unwrap_or(0));
    }
    account(state, bytes.len());
    Received::Done
}

fn buffer_size(control: u32) -> usize {
    let size = 2048 >> (control >> reg::RCTL_SIZE_SHIFT & 3);
    match control & reg::RCTL_SIZE_TIMES_16 {
        0 => size,
        _ => size * 16,
    }
}

/// Fills the next descriptor's buffer. Where there is no RAM, nothing hears it.
fn fill(state: &mut State, memory: &GuestMemory, piece: &[u8], status: u8, tag: u16) {
    let (ram, at) = (memory.ram(), state.receive.at());
    if let Ok(address) = ram.read_obj::<u64>(GuestAddress(at)) {
        let _ = ram.write_slice(piece, GuestAddress(u64::from_le(address)));
    }
    let [low, high] = (piece.len() as u16).to_le_bytes();
    let [tag_low, tag_high] = tag.to_le_bytes();
    let end = [low, high, 0, 0, status, 0, tag_low, tag_high];
    let _ = ram.write_slice(&end, GuestAddress(at.wrapping_add(8)));
    state.receive.advance();
}

fn account(state: &mut State, len: usize) {
    state.count(reg::GOOD_RECEIVED, 1);
    state.count(reg::TOTAL_RECEIVED, 1);
    state.count(reg::GOOD_BYTES_RECEIVED, len as u32);
    state.causes |= reg::CAUSE_RECEIVED;
    let few = state.receive.count() >> (1 + (state.receive_control >> reg::RCTL_FEW_SHIFT & 3));
    if state.receive.owned() <= few {
        state.causes |= reg::CAUSE_FEW_BUFFERS;
    }
}
