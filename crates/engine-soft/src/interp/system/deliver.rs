//! Delivery of exceptions and interrupts. Spec: Intel SDM Vol. 3, "Interrupt and Exception Handling".

use x86::Exception;

use crate::cpu::Cpu;
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

/// Delivers `exception` with `cpu.rip` as the saved instruction pointer, going on to a double fault
/// where the rules say so.
pub(crate) fn raise(cpu: &mut Cpu, exception: Exception) -> Result<(), TripleFault> {
    let _ = (cpu, exception);
    Err(TripleFault)
}

/// Enters the handler of `vector`. An error leaves every register as before, with the fault that
/// stopped delivery in `cpu.fault`.
pub(crate) fn enter(
    cpu: &mut Cpu,
    vector: u8,
    error_code: Option<u32>,
    source: Source,
) -> Result<(), Stop> {
    let _ = (cpu, vector, error_code, source);
    Err(Stop::Fault)
}
