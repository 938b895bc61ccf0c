//! Transfers: from requests in an endpoint's ring to what the device does, and back. Spec: xHCI 1.2, "Transfer Rings",
//! "Transfer TRBs", "Short Transfers".

use std::time::Instant;

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::Xhci;
use super::events::{Code, TRANSFER};
use super::rings::Trb;
use super::slots::EndpointPhase;
use crate::usb::device::{Answer, Setup};

/// Of an endpoint, as its context has it.
const CONTROL: u8 = 4;

const NORMAL: u8 = 1;
const SETUP: u8 = 2;
const DATA: u8 = 3;
const STATUS: u8 = 4;
const EVENT_DATA: u8 = 7;
const NO_OPERATION: u8 = 8;

/// The next one belongs to it; it interrupts when it is done, or when less came than it asks for; its data is in it.
const CHAIN: u32 = 1 << 4;
const INTERRUPTS: u32 = 1 << 5;
const INTERRUPTS_SHORT: u32 = 1 << 2;
const IMMEDIATE: u32 = 1 << 6;
/// In an event: its parameter is what the driver has put there.
const IS_DATA: u32 = 1 << 2;

/// Requests that one transfer has at most, and its bytes.
const MOST_TRBS: usize = 1024;
const MOST_DATA: usize = 1 << 20;
/// Transfers of an endpoint before others get their turn.
const MOST: usize = 256;

impl Trb {
    /// It moves nothing, and no device hears of it.
    fn is_idle(&self) -> bool {
        matches!(self.kind(), EVENT_DATA | NO_OPERATION)
    }

    /// Bytes of its buffer.
    fn len(&self) -> usize {
        match self.kind() {
            NORMAL | DATA => (self.status & 0x1_ffff) as usize,
            _ => 0,
        }
    }
}

/// Whose a transfer is.
#[derive(Debug, Clone, Copy)]
struct Whose {
    slot: u8,
    endpoint: u8,
}

/// What comes after a transfer.
enum Next {
    Another,
    /// The device has nothing to say, or the endpoint has stopped.
    Enough,
}

impl Xhci {
    /// Does what is in an endpoint's ring, as far as the device, the event ring and the time since `began` go along.
    /// Answers whether it has done a transfer.
    pub(super) fn run_transfers(&mut self, slot: u8, endpoint: u8, began: Instant) -> bool {
        let whose = Whose { slot, endpoint };
        let mut done = false;
        for _ in 0..MOST {
            if !self.works() || !self.events.has_room() {
                return done;
            }
            match self.transfer(whose) {
                Some(Next::Another) => done = true,
                Some(Next::Enough) | None => return done,
            }
            if self.is_late(began) {
                return done;
            }
        }
        // A ring without an end, or one with much to do.
        self.pace.yields();
        done
    }

    /// The doorbell of an endpoint, which starts one that was stopped.
    pub(super) fn ring_endpoint(&mut self, slot: u8, endpoint: u8) {
        let whose = Whose { slot, endpoint };
        if let Some(stopped) = self
            .endpoint(whose)
            .filter(|it| it.phase == EndpointPhase::Stopped)
        {
            stopped.phase = EndpointPhase::Running;
            let index = usize::from(slot) - 1;
            self.slots[index].tell_endpoint(&self.memory, endpoint);
        }
        self.run_transfers(slot, endpoint, Instant::now());
    }

    /// One transfer. `None` where there is none.
    fn transfer(&mut self, whose: Whose) -> Option<Next> {
        let index = usize::from(whose.slot).checked_sub(1)?;
        let slot = self.slots.get_mut(index)?;
        let endpoint = slot.endpoint(whose.endpoint)?;
        if endpoint.phase != EndpointPhase::Running {
            return None;
        }
        let kind = endpoint.kind;
        let mut ring = endpoint.ring;
        let mut trbs = vec![ring.next(&self.memory)?];
        let mut len = trbs[0].len();
        while trbs.last()?.has(CHAIN) {
            // The rest is not there yet.
            let trb = ring.next(&self.memory)?;
            len += trb.len();
            if trbs.len() >= MOST_TRBS || len > MOST_DATA {
                self.slots[index].endpoint(whose.endpoint)?.ring = ring;
                self.fail(whose, &trb, Code::Trb, EndpointPhase::Error);
                return Some(Next::Enough);
            }
            trbs.push(trb);
        }
        let next = match parts(&trbs, kind) {
            Err(strange) => Some(self.fail(whose, &strange, Code::Trb, EndpointPhase::Error)),
            Ok(None) => {
                self.account(whose, &trbs, 0);
                Some(Next::Another)
            }
            Ok(Some(first)) if kind == CONTROL => self.control_stage(whose, &first, &trbs, len),
            Ok(Some(_)) => self.move_data(whose, &trbs, len, kind >= 6),
        };
        if next.is_some() {
            self.slots[index].endpoint(whose.endpoint)?.ring = ring;
        }
        // What waits is looked at again in whole.
        Some(next.unwrap_or(Next::Enough))
    }

    /// A bulk or interrupt transfer. `None` where the device has it wait.
    fn move_data(&mut self, whose: Whose, trbs: &[Trb], len: usize, inward: bool) -> Option<Next> {
        let port = usize::from(self.slots[usize::from(whose.slot) - 1].port);
        let address = whose.endpoint >> 1 | if inward { 0x80 } else { 0 };
        let device = self.devices.get_mut(port)?;
        let answer = if inward {
            device.take(address, len)
        } else {
            match gather(&self.memory, trbs, len) {
                Some(data) => device.give(address, &data),
                None => {
                    return Some(self.fail(
                        whose,
                        trbs.last()?,
                        Code::DataBuffer,
                        EndpointPhase::Error,
                    ));
                }
            }
        };
        match answer {
            Answer::Wait => None,
            Answer::Stall => {
                Some(self.fail(whose, trbs.last()?, Code::Stall, EndpointPhase::Halted))
            }
            Answer::Data(data) => {
                let moved = if inward { data.len() } else { len };
                if inward && scatter(&self.memory, trbs, &data).is_none() {
                    let last = trbs.last()?;
                    return Some(self.fail(whose, last, Code::DataBuffer, EndpointPhase::Error));
                }
                self.account(whose, trbs, moved);
                Some(Next::Another)
            }
        }
    }

    /// One of the stages of a request to the default endpoint, by its first part.
    fn control_stage(
        &mut self,
        whose: Whose,
        first: &Trb,
        trbs: &[Trb],
        len: usize,
    ) -> Option<Next> {
        match first.kind() {
            SETUP => {
                let endpoint = self.endpoint(whose)?;
                endpoint.setup = first.has(IMMEDIATE).then(|| first.parameter.to_le_bytes());
                endpoint.moved = false;
                self.account(whose, trbs, 0);
            }
            DATA => return self.data_stage(whose, first, trbs, len),
            _ => {
                let endpoint = self.endpoint(whose)?;
                let (setup, moved) = (endpoint.setup.take(), endpoint.moved);
                let Some(setup) = setup.map(Setup::parse) else {
                    return Some(self.fail(whose, first, Code::Trb, EndpointPhase::Error));
                };
                if !moved && self.ask(whose, &setup, &[])? == Answer::Stall {
                    return Some(self.fail(whose, first, Code::Stall, EndpointPhase::Halted));
                }
                self.account(whose, trbs, 0);
            }
        }
        Some(Next::Another)
    }

    fn data_stage(&mut self, whose: Whose, first: &Trb, trbs: &[Trb], len: usize) -> Option<Next> {
        let endpoint = self.endpoint(whose)?;
        endpoint.moved = true;
        let Some(setup) = endpoint.setup.map(Setup::parse) else {
            return Some(self.fail(whose, first, Code::Trb, EndpointPhase::Error));
        };
        let data = if setup.is_inward() {
            Some(Vec::new())
        } else {
            gather(&self.memory, trbs, len)
        };
        let Some(data) = data else {
            return Some(self.fail(whose, first, Code::DataBuffer, EndpointPhase::Error));
        };
        let Answer::Data(mut answer) = self.ask(whose, &setup, &data)? else {
            return Some(self.fail(whose, first, Code::Stall, EndpointPhase::Halted));
        };
        let moved = if setup.is_inward() {
            answer.truncate(len.min(setup.length.into()));
            if scatter(&self.memory, trbs, &answer).is_none() {
                return Some(self.fail(whose, first, Code::DataBuffer, EndpointPhase::Error));
            }
            answer.len()
        } else {
            len
        };
        self.account(whose, trbs, moved);
        Some(Next::Another)
    }

    fn ask(&mut self, whose: Whose, setup: &Setup, data: &[u8]) -> Option<Answer> {
        let port = usize::from(self.slots.get(usize::from(whose.slot) - 1)?.port);
        Some(self.devices.get_mut(port)?.control(setup, data))
    }

    fn endpoint(&mut self, whose: Whose) -> Option<&mut super::slots::Endpoint> {
        let index = usize::from(whose.slot).checked_sub(1)?;
        self.slots.get_mut(index)?.endpoint(whose.endpoint)
    }

    /// Tells how a transfer went of which so many bytes were moved.
    fn account(&mut self, whose: Whose, trbs: &[Trb], moved: usize) {
        let (mut left, mut total, mut told) = (moved, 0, false);
        for trb in trbs {
            if trb.kind() == EVENT_DATA {
                if trb.has(INTERRUPTS) {
                    let asked: usize = trbs.iter().map(Trb::len).sum();
                    let code = if moved < asked {
                        Code::ShortPacket
                    } else {
                        Code::Success
                    };
                    self.tell(whose, trb.parameter, total, code, IS_DATA);
                }
                continue;
            }
            let len = trb.len();
            let here = left.min(len);
            left -= here;
            total += here as u32;
            let short = here < len;
            let wanted = trb.has(INTERRUPTS) || short && trb.has(INTERRUPTS_SHORT);
            if wanted && !told {
                let code = if short {
                    Code::ShortPacket
                } else {
                    Code::Success
                };
                self.tell(whose, trb.at, (len - here) as u32, code, 0);
                // Of a transfer that ended early nothing more is told, but to who asks with data of its own.
                told = short;
            }
        }
    }

    /// The endpoint goes no further.
    fn fail(&mut self, whose: Whose, trb: &Trb, code: Code, phase: EndpointPhase) -> Next {
        let index = usize::from(whose.slot).wrapping_sub(1);
        let len = trb.len() as u32;
        self.tell(whose, trb.at, len, code, 0);
        if let Some(slot) = self.slots.get_mut(index) {
            if let Some(endpoint) = slot.endpoint(whose.endpoint) {
                endpoint.phase = phase;
                endpoint.setup = None;
            }
            slot.tell_endpoint(&self.memory, whose.endpoint);
        }
        Next::Enough
    }

    fn tell(&mut self, whose: Whose, parameter: u64, len: u32, code: Code, flags: u32) {
        let status = u32::from(code as u8) << 24 | len & 0xff_ffff;
        let rest = u32::from(whose.slot) << 24 | u32::from(whose.endpoint) << 16 | flags;
        self.event(TRANSFER, parameter, status, rest);
    }
}

/// The first of a transfer's requests that a device is to hear of, if there is one; or else the one that no endpoint of
/// this kind knows, there.
fn parts(trbs: &[Trb], endpoint: u8) -> Result<Option<Trb>, Trb> {
    let mut parts = trbs.iter().filter(|trb| !trb.is_idle());
    let Some(first) = parts.next() else {
        return Ok(None);
    };
    let begins = match first.kind() {
        SETUP | DATA | STATUS => endpoint == CONTROL,
        kind => kind == NORMAL && endpoint != CONTROL,
    };
    // The other stages of a request have no more than one.
    let goes_on = matches!(first.kind(), NORMAL | DATA);
    let strange = parts.find(|trb| trb.kind() != NORMAL || !goes_on);
    match strange {
        _ if !begins => Err(*first),
        Some(trb) => Err(*trb),
        None => Ok(Some(*first)),
    }
}

/// What a transfer's buffers hold. `None` where one is in no memory.
fn gather(memory: &GuestMemory, trbs: &[Trb], len: usize) -> Option<Vec<u8>> {
    let mut data = vec![0; len];
    let mut done = 0;
    // What has no buffer may have anything in its place.
    for trb in trbs.iter().filter(|trb| trb.len() > 0) {
        let part = data.get_mut(done..done + trb.len())?;
        if trb.has(IMMEDIATE) {
            let bytes = trb.parameter.to_le_bytes();
            let count = part.len().min(bytes.len());
            part[..count].copy_from_slice(&bytes[..count]);
        } else {
            memory
                .ram()
                .read_slice(part, GuestAddress(trb.parameter))
                .ok()?;
        }
        done += trb.len();
    }
    Some(data)
}

/// Lays bytes into a transfer's buffers, as many as there are.
fn scatter(memory: &GuestMemory, trbs: &[Trb], data: &[u8]) -> Option<()> {
    let mut rest = data;
    // What has no buffer may have anything in its place.
    for trb in trbs.iter().filter(|trb| trb.len() > 0) {
        let (here, after) = rest.split_at(trb.len().min(rest.len()));
        memory
            .ram()
            .write_slice(here, GuestAddress(trb.parameter))
            .ok()?;
        rest = after;
    }
    Some(())
}
