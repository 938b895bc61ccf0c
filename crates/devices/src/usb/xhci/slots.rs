//! Devices as their driver has set them up: a slot each, and its endpoints. Spec: xHCI 1.2, "Device Context", "Slot
//! Context", "Endpoint Context", "Input Context".

use memory::GuestMemory;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::rings::Ring;

/// Bytes of a context.
pub(super) const CONTEXT_LEN: u64 = 32;
pub(super) const ENDPOINTS: usize = 31;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SlotPhase {
    #[default]
    Disabled,
    /// It has a number, and no device.
    Enabled,
    Default,
    Addressed,
    Configured,
}

impl SlotPhase {
    /// As a slot context has it.
    fn number(self) -> u32 {
        match self {
            SlotPhase::Disabled | SlotPhase::Enabled => 0,
            SlotPhase::Default => 1,
            SlotPhase::Addressed => 2,
            SlotPhase::Configured => 3,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EndpointPhase {
    Running,
    Halted,
    Stopped,
    Error,
}

impl EndpointPhase {
    fn number(self) -> u32 {
        match self {
            EndpointPhase::Running => 1,
            EndpointPhase::Halted => 2,
            EndpointPhase::Stopped => 3,
            EndpointPhase::Error => 4,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Endpoint {
    pub(super) phase: EndpointPhase,
    /// As its context has it: 2 bulk out, 3 interrupt out, 4 control, 6 bulk in, 7 interrupt in.
    pub(super) kind: u8,
    pub(super) ring: Ring,
    /// Of the default endpoint: a request whose other stages are to come.
    pub(super) setup: Option<[u8; 8]>,
    /// Its data stage is done.
    pub(super) moved: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) phase: SlotPhase,
    /// Of the root hub, the first is 0.
    pub(super) port: u8,
    /// Where the device context is.
    pub(super) context: u64,
    /// By their numbers less one: the first is the default one.
    pub(super) endpoints: Vec<Option<Endpoint>>,
}

impl Slot {
    /// Is it something that a guest can bring about, where there are devices on so many ports?
    pub(super) fn is_sound(&self, ports: usize) -> bool {
        let kinds = [2, 3, 4, 6, 7];
        self.endpoints.len() <= ENDPOINTS
            && self
                .endpoints
                .iter()
                .flatten()
                .all(|it| kinds.contains(&it.kind) && it.ring.is_sound())
            && (!self.has_device() && self.endpoints.is_empty()
                || usize::from(self.port) < ports && self.endpoints.len() == ENDPOINTS)
    }

    pub(super) fn endpoint(&mut self, number: u8) -> Option<&mut Endpoint> {
        let index = usize::from(number).checked_sub(1)?;
        self.endpoints.get_mut(index)?.as_mut()
    }

    /// Is it the slot of the device on its port?
    pub(super) fn has_device(&self) -> bool {
        !matches!(self.phase, SlotPhase::Disabled | SlotPhase::Enabled)
    }

    pub(super) fn is_addressed(&self) -> bool {
        matches!(self.phase, SlotPhase::Addressed | SlotPhase::Configured)
    }

    /// What the driver reads of the slot: its state and the device's address.
    pub(super) fn tell(&self, memory: &GuestMemory, number: u8) {
        let address = if self.is_addressed() {
            u32::from(number)
        } else {
            0
        };
        let word = self.phase.number() << 27 | address;
        let at = GuestAddress(self.context.wrapping_add(12));
        // Where the context is in no memory, nobody reads it.
        let _ = memory.ram().write_obj(word.to_le(), at);
    }

    /// What the driver reads of an endpoint: its state, and where its ring goes on.
    pub(super) fn tell_endpoint(&self, memory: &GuestMemory, number: u8) {
        let index = usize::from(number).wrapping_sub(1);
        let endpoint = self.endpoints.get(index).and_then(Option::as_ref);
        let at = self.context.wrapping_add(u64::from(number) * CONTEXT_LEN);
        let ram = memory.ram();
        let Ok(word) = ram.read_obj::<u32>(GuestAddress(at)) else {
            return;
        };
        let phase = endpoint.map_or(0, |endpoint| endpoint.phase.number());
        let word = u32::from_le(word) & !7 | phase;
        let _ = ram.write_obj(word.to_le(), GuestAddress(at));
        if let Some(endpoint) = endpoint {
            let pointer = endpoint.ring.pointer();
            let _ = ram.write_obj(pointer.to_le(), GuestAddress(at.wrapping_add(8)));
        }
    }
}

/// An endpoint as its context in an input context has it; `None` for one that there is none of.
pub(super) fn parse_endpoint(context: [u32; 8]) -> Option<Endpoint> {
    let kind = (context[1] >> 3 & 7) as u8;
    let pointer = u64::from(context[3]) << 32 | u64::from(context[2]);
    matches!(kind, 2 | 3 | 4 | 6 | 7).then(|| Endpoint {
        phase: EndpointPhase::Running,
        kind,
        ring: Ring::from_pointer(pointer),
        setup: None,
        moved: false,
    })
}

/// The context of this number among those at `base`.
pub(super) fn read_context(memory: &GuestMemory, base: u64, number: u64) -> Option<[u32; 8]> {
    let at = base.wrapping_add(number * CONTEXT_LEN);
    let words = memory.ram().read_obj::<[u32; 8]>(GuestAddress(at)).ok()?;
    Some(words.map(u32::from_le))
}

/// Copies a context that the driver has made to where it reads it.
pub(super) fn write_context(memory: &GuestMemory, base: u64, number: u64, context: [u32; 8]) {
    let at = base.wrapping_add(number * CONTEXT_LEN);
    let words = context.map(u32::to_le);
    // Where the context is in no memory, nobody reads it.
    let _ = memory.ram().write_obj(words, GuestAddress(at));
}
