//! What people may want to know of a vCPU: counters, and what its thread is doing. Never for decisions.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuStats {
    /// Guest instructions completed, where the engine counts them.
    pub instructions: u64,
    pub exits: u64,
    /// Further counters by name, e.g. blocks decoded.
    pub counters: Vec<(String, u64)>,
    /// Of translated code, the most called first.
    pub handlers: Vec<HandlerCalls>,
}

/// How often translated code called the handler of an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerCalls {
    pub mnemonic: String,
    /// Of forms that have no translation.
    pub untranslated: u64,
    /// Of those that have one, which could not do it this time: a TLB miss, a device, a fault.
    pub stood_in: u64,
}

/// What the thread of a vCPU is doing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// Answering an exit: devices, interrupt controllers.
    #[default]
    Machine,
    /// The guest has halted this processor.
    Asleep,
    /// Guest code on the processor itself: translated, or by hardware virtualization.
    Guest,
    Interpreter,
    /// The handler of one instruction, called from translated code.
    Handler,
    Translating,
}

impl Place {
    pub const ALL: [Place; 6] = [
        Place::Machine,
        Place::Asleep,
        Place::Guest,
        Place::Interpreter,
        Place::Handler,
        Place::Translating,
    ];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Place::Machine => "machine",
            Place::Asleep => "asleep",
            Place::Guest => "guest",
            Place::Interpreter => "interpreter",
            Place::Handler => "handlers",
            Place::Translating => "translating",
        }
    }
}

/// Where a vCPU's thread is, written by it and read by whoever samples it.
#[derive(Debug, Default)]
pub struct Whereabouts(AtomicU8);

impl Whereabouts {
    #[inline]
    pub fn set(&self, place: Place) {
        // Samples need no order.
        self.0.store(place as u8, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> Place {
        let index = usize::from(self.0.load(Ordering::Relaxed));
        Place::ALL.get(index).copied().unwrap_or_default()
    }
}
