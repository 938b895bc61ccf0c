//! Commands of the driver. Spec: xHCI 1.2, "Command Interface".

use std::time::Instant;

use vm_memory::{Bytes, GuestAddress};

use super::Xhci;
use super::events::{COMMAND_DONE, Code};
use super::rings::{Ring, Trb};
use super::slots::{
    ENDPOINTS, Endpoint, EndpointPhase, Slot, SlotPhase, parse_endpoint, read_context,
    write_context,
};

const ENABLE_SLOT: u8 = 9;
const DISABLE_SLOT: u8 = 10;
const ADDRESS_DEVICE: u8 = 11;
const CONFIGURE_ENDPOINT: u8 = 12;
const EVALUATE_CONTEXT: u8 = 13;
const RESET_ENDPOINT: u8 = 14;
const STOP_ENDPOINT: u8 = 15;
const SET_DEQUEUE: u8 = 16;
const RESET_DEVICE: u8 = 17;
const NO_OPERATION: u8 = 23;

/// In ADDRESS DEVICE: the device keeps its address of nought. In CONFIGURE ENDPOINT: all go.
const BLOCK: u32 = 1 << 9;
const DECONFIGURE: u32 = 1 << 9;
/// Commands that are done before others get their turn.
const MOST: usize = 256;
const DEFAULT_ENDPOINT: u8 = 1;

impl Xhci {
    /// Goes through the command ring, as far as there is room for what it says and time since `began`.
    pub(super) fn run_commands(&mut self, began: Instant) {
        for _ in 0..MOST {
            if self.is_late(began)
                || !self.works()
                || !self.registers.commands_run
                || !self.events.has_room()
            {
                return;
            }
            let Some(trb) = self.registers.commands.next(&self.memory) else {
                return;
            };
            let (code, slot) = self.command(&trb);
            self.command_done(trb.at, code, slot);
        }
        // A ring without an end.
        self.pace.yields();
    }

    fn command_done(&mut self, at: u64, code: Code, slot: u8) {
        self.event(
            COMMAND_DONE,
            at,
            u32::from(code as u8) << 24,
            u32::from(slot) << 24,
        );
    }

    /// Tells that the ring was stopped, and where.
    pub(super) fn commands_stopped(&mut self) {
        let at = self.registers.commands.at;
        self.command_done(at, Code::RingStopped, 0);
    }

    /// How a command ends, and the slot that it was about.
    fn command(&mut self, trb: &Trb) -> (Code, u8) {
        let number = trb.slot();
        match trb.kind() {
            NO_OPERATION => return (Code::Success, 0),
            ENABLE_SLOT => return self.enable_slot(),
            _ => {}
        }
        let index = usize::from(number).wrapping_sub(1);
        let enabled = self
            .slots
            .get(index)
            .is_some_and(|slot| slot.phase != SlotPhase::Disabled);
        if !enabled {
            return (Code::SlotNotEnabled, number);
        }
        let endpoint = (trb.control >> 16 & 0x1f) as u8;
        let done = match trb.kind() {
            DISABLE_SLOT => {
                self.slots[index] = Slot::default();
                Ok(())
            }
            ADDRESS_DEVICE => self.address(number, trb),
            CONFIGURE_ENDPOINT => self.configure(number, trb),
            EVALUATE_CONTEXT => self.evaluate(number, trb),
            RESET_ENDPOINT => self.change_endpoint(number, endpoint, |it| {
                if it.phase != EndpointPhase::Halted {
                    return Err(Code::ContextState);
                }
                it.phase = EndpointPhase::Stopped;
                it.setup = None;
                Ok(())
            }),
            STOP_ENDPOINT => self.change_endpoint(number, endpoint, |it| {
                if it.phase != EndpointPhase::Running {
                    return Err(Code::ContextState);
                }
                it.phase = EndpointPhase::Stopped;
                Ok(())
            }),
            SET_DEQUEUE => self.change_endpoint(number, endpoint, |it| {
                if matches!(it.phase, EndpointPhase::Running | EndpointPhase::Halted) {
                    return Err(Code::ContextState);
                }
                it.phase = EndpointPhase::Stopped;
                it.setup = None;
                it.ring = Ring::from_pointer(trb.parameter & !0xe);
                Ok(())
            }),
            RESET_DEVICE => self.reset_device(number),
            _ => Err(Code::Trb),
        };
        (done.err().unwrap_or(Code::Success), number)
    }

    fn enable_slot(&mut self) -> (Code, u8) {
        let mut all = (1u8..).zip(&mut self.slots);
        match all.find(|(_, slot)| slot.phase == SlotPhase::Disabled) {
            Some((number, slot)) => {
                slot.phase = SlotPhase::Enabled;
                (Code::Success, number)
            }
            None => (Code::NoSlots, 0),
        }
    }

    /// What of an input context is dropped, and what is added.
    fn flags(&self, input: u64) -> Result<(u32, u32), Code> {
        let control = read_context(&self.memory, input, 0).ok_or(Code::Parameter)?;
        Ok((control[0], control[1]))
    }

    fn address(&mut self, number: u8, trb: &Trb) -> Result<(), Code> {
        let (_, added) = self.flags(trb.parameter)?;
        if added & 3 != 3 {
            return Err(Code::Parameter);
        }
        let of_slot = read_context(&self.memory, trb.parameter, 1).ok_or(Code::Parameter)?;
        let of_default = read_context(&self.memory, trb.parameter, 2).ok_or(Code::Parameter)?;
        // No hub is between.
        let port = (of_slot[1] >> 16 & 0xff) as u8;
        let port = port.checked_sub(1).ok_or(Code::Parameter)?;
        let route = of_slot[0] & 0xf_ffff;
        let there =
            usize::from(port) < self.devices.len() && self.ports[usize::from(port)].is_enabled();
        if route != 0 || !there {
            return Err(Code::Transaction);
        }
        let index = usize::from(number) - 1;
        // A device is one slot's: two would answer each other's requests.
        let mut others = self.slots.iter().enumerate().filter(|it| it.0 != index);
        if others.any(|(_, other)| other.has_device() && other.port == port) {
            return Err(Code::Trb);
        }
        let endpoint = parse_endpoint(of_default).filter(|it| it.kind == 4);
        let endpoint = endpoint.ok_or(Code::Parameter)?;
        let entry = self.registers.contexts.wrapping_add(u64::from(number) * 8);
        let context = self.memory.ram().read_obj::<u64>(GuestAddress(entry));
        let context = u64::from_le(context.map_err(|_| Code::Parameter)?) & !0x3f;
        let slot = &mut self.slots[index];
        let keeps = trb.has(BLOCK);
        let fits = match slot.phase {
            SlotPhase::Enabled => true,
            SlotPhase::Default => !keeps,
            _ => false,
        };
        if !fits {
            return Err(Code::ContextState);
        }
        slot.phase = if keeps {
            SlotPhase::Default
        } else {
            SlotPhase::Addressed
        };
        slot.port = port;
        slot.context = context;
        slot.endpoints = vec![None; ENDPOINTS];
        slot.endpoints[0] = Some(endpoint);
        write_context(&self.memory, context, 0, of_slot);
        write_context(&self.memory, context, 1, of_default);
        slot.tell(&self.memory, number);
        slot.tell_endpoint(&self.memory, DEFAULT_ENDPOINT);
        Ok(())
    }

    fn configure(&mut self, number: u8, trb: &Trb) -> Result<(), Code> {
        let index = usize::from(number) - 1;
        if !self.slots[index].is_addressed() {
            return Err(Code::ContextState);
        }
        let (dropped, added) = if trb.has(DECONFIGURE) {
            (0xffff_fffc, 0)
        } else {
            self.flags(trb.parameter)?
        };
        let mut new: Vec<(u8, [u32; 8], Endpoint)> = Vec::new();
        for endpoint in 2..=ENDPOINTS as u8 {
            if added & 1 << endpoint == 0 {
                continue;
            }
            let context = read_context(&self.memory, trb.parameter, u64::from(endpoint) + 1);
            let context = context.ok_or(Code::Parameter)?;
            let parsed = parse_endpoint(context).ok_or(Code::Parameter)?;
            new.push((endpoint, context, parsed));
        }
        let slot = &mut self.slots[index];
        for endpoint in 2..=ENDPOINTS as u8 {
            if dropped & 1 << endpoint != 0 {
                slot.endpoints[usize::from(endpoint) - 1] = None;
                slot.tell_endpoint(&self.memory, endpoint);
            }
        }
        for (endpoint, context, parsed) in new {
            slot.endpoints[usize::from(endpoint) - 1] = Some(parsed);
            write_context(&self.memory, slot.context, endpoint.into(), context);
            slot.tell_endpoint(&self.memory, endpoint);
        }
        let any = slot.endpoints[1..].iter().any(Option::is_some);
        slot.phase = if any {
            SlotPhase::Configured
        } else {
            SlotPhase::Addressed
        };
        if added & 1 != 0
            && let Some(of_slot) = read_context(&self.memory, trb.parameter, 1)
            && let Some(mut now) = read_context(&self.memory, slot.context, 0)
        {
            // How many contexts there are.
            now[0] = now[0] & 0x07ff_ffff | of_slot[0] & 0xf800_0000;
            write_context(&self.memory, slot.context, 0, now);
        }
        slot.tell(&self.memory, number);
        Ok(())
    }

    /// The largest packet of the default endpoint is another one, or latencies are: nothing here goes by them.
    fn evaluate(&mut self, number: u8, trb: &Trb) -> Result<(), Code> {
        const LARGEST: u32 = 0xffff_0000;
        let (_, added) = self.flags(trb.parameter)?;
        let slot = &self.slots[usize::from(number) - 1];
        if matches!(slot.phase, SlotPhase::Enabled) {
            return Err(Code::ContextState);
        }
        if added & 2 != 0 {
            let new = read_context(&self.memory, trb.parameter, 2).ok_or(Code::Parameter)?;
            let now = read_context(&self.memory, slot.context, 1);
            let mut now = now.ok_or(Code::Parameter)?;
            now[1] = now[1] & !LARGEST | new[1] & LARGEST;
            write_context(&self.memory, slot.context, 1, now);
        }
        Ok(())
    }

    fn change_endpoint(
        &mut self,
        number: u8,
        endpoint: u8,
        change: impl FnOnce(&mut Endpoint) -> Result<(), Code>,
    ) -> Result<(), Code> {
        let slot = &mut self.slots[usize::from(number) - 1];
        let found = slot.endpoint(endpoint).ok_or(Code::ContextState)?;
        change(found)?;
        slot.tell_endpoint(&self.memory, endpoint);
        Ok(())
    }

    fn reset_device(&mut self, number: u8) -> Result<(), Code> {
        let slot = &mut self.slots[usize::from(number) - 1];
        if !slot.is_addressed() {
            return Err(Code::ContextState);
        }
        slot.phase = SlotPhase::Default;
        for endpoint in 2..=ENDPOINTS as u8 {
            slot.endpoints[usize::from(endpoint) - 1] = None;
            slot.tell_endpoint(&self.memory, endpoint);
        }
        slot.tell(&self.memory, number);
        Ok(())
    }
}
