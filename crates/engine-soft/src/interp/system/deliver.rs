//! Delivery of exceptions and interrupts: which event follows which, and what all modes share. The
//! entry itself is in [`real`](super::enter_real), [`gate`](super::enter_gate) and
//! [`long`](super::enter_long). Spec: Intel SDM Vol. 3, "Interrupt and Exception Handling".

use x86::Exception;
use x86::exception::vector;
use x86::register::{dr7, rflags};

use super::{enter_gate, enter_long, enter_real};
use crate::cpu::{Cpu, attention};
use crate::interp::op::Stop;

/// What is being delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A fault, trap or abort raised by an instruction; RIP is what shall be pushed.
    Exception,
    /// INT n, INT3, INTO: gate DPL is checked, RIP is the next instruction.
    Software,
    /// INT1: like software, but no DPL check.
    Privileged,
    External,
    Nmi,
}

/// A triple fault: the machine resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TripleFault;

/// An event on its way to a handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) vector: u8,
    pub(crate) error_code: Option<u32>,
    pub(crate) source: Source,
}

impl Event {
    /// The EXT bit of error codes of faults met during delivery.
    pub(crate) fn ext(&self) -> u16 {
        u16::from(self.source != Source::Software)
    }

    /// The error code that names this event's entry in the IDT.
    pub(crate) fn idt_code(&self) -> u16 {
        u16::from(self.vector) << 3 | 2 | self.ext()
    }

    /// RFLAGS as they are pushed: RF is set for faults, so that an instruction breakpoint on the
    /// instruction does not hit again when it is restarted.
    pub(crate) fn saved_flags(&self, cpu: &Cpu) -> u64 {
        let flags = cpu.read_rflags();
        let fault = !matches!(self.vector, vector::DB | vector::DF | vector::MC);
        if self.source == Source::Exception && fault {
            flags | rflags::RF
        } else {
            flags
        }
    }
}

/// Benign exceptions may follow each other for ever (#AC on the stack of the #AC handler), for which
/// silicon has no end either. After so many the guest is left at its instruction, which raises the
/// first again, and the run loop may look for other work in between.
const MOST_IN_TURN: usize = 8;

/// Delivers `exception` with `cpu.rip` as the saved instruction pointer, going on to a double fault
/// where the rules say so. Spec: Intel SDM Vol. 3, "Interrupt 8: Double Fault Exception".
pub(crate) fn raise(cpu: &mut Cpu, exception: Exception) -> Result<(), TripleFault> {
    // A faulting instruction did not happen, nor did the breakpoints on its data; what the machine
    // answered to it is nobody's.
    cpu.replay.clear();
    cpu.debug_pending = 0;
    cpu.set_attention(attention::DEBUG, false);
    let mut current = exception;
    for _ in 0..MOST_IN_TURN {
        if let Some(address) = current.address {
            cpu.cr2 = address;
        }
        if enter(cpu, current.vector, current.error_code, Source::Exception).is_ok() {
            return Ok(());
        }
        current = after(current, cpu.fault)?;
    }
    Ok(())
}

/// What is delivered when `second` was met while `first` was being delivered.
fn after(first: Exception, second: Exception) -> Result<Exception, TripleFault> {
    let double = match first.vector {
        vector::DF => return Err(TripleFault),
        vector::PF => second.vector == vector::PF || is_contributory(second.vector),
        _ => is_contributory(first.vector) && is_contributory(second.vector),
    };
    Ok(if double {
        Exception::with_code(vector::DF, 0)
    } else {
        second
    })
}

fn is_contributory(vector: u8) -> bool {
    matches!(
        vector,
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP
    )
}

/// Enters the handler of `vector`. An error leaves every register as before, with the fault that
/// stopped delivery in `cpu.fault`.
pub(crate) fn enter(
    cpu: &mut Cpu,
    vector: u8,
    error_code: Option<u32>,
    source: Source,
) -> Result<(), Stop> {
    let event = Event {
        vector,
        error_code,
        source,
    };
    let entered = if !cpu.protected() {
        enter_real::enter(cpu, &event)
    } else if cpu.long_mode() {
        enter_long::enter(cpu, &event)
    } else {
        enter_gate::enter(cpu, &event)
    };
    match entered {
        // A trap is the new task's first event: the switch to it is done.
        Ok(()) | Err(Stop::Trap) => {
            entered_handler(cpu, &event);
            entered
        }
        // Only the tables and the TSS are read without a check of their own.
        Err(Stop::NonCanonical) => cpu.gp(event.ext()),
        Err(stop) => Err(stop),
    }
}

fn entered_handler(cpu: &mut Cpu, event: &Event) {
    cpu.delivered = true;
    cpu.set_attention(attention::SHADOW, false);
    if event.source == Source::Nmi {
        cpu.events.nmi_masked = true;
    }
    if event.vector == vector::DB {
        cpu.dr[5] &= !dr7::GD;
    }
}

/// RFLAGS inside a handler. Interrupt gates also clear IF.
pub(crate) fn clear_flags(cpu: &mut Cpu, interrupt_gate: bool) {
    let mut cleared = rflags::TF | rflags::NT | rflags::RF | rflags::VM;
    if interrupt_gate {
        cleared |= rflags::IF;
    }
    let flags = cpu.read_rflags() & !cleared;
    cpu.write_rflags(flags);
}

#[cfg(test)]
mod tests;
