//! The contract between the machine and whatever runs guest instructions.
//!
//! An engine reports, the machine answers: [`Exit`] and [`Entry`] are data, and no engine ever
//! touches a device (law 1). One [`Engine`] per guest, one [`Vcpu`] per processor, each vCPU run by
//! one thread at a time. Another thread may only [`Kick`] it.
//!
//! Interrupts of engines without an interrupt controller of their own: the machine calls
//! `want_interrupt_window(true)` while its local APIC has something deliverable; the vCPU exits with
//! [`Exit::InterruptWindow`] as soon as the guest can take an interrupt; the machine acknowledges
//! at the APIC and enters with [`Entry::Inject`].

mod code;
mod exit;
mod stats;
mod vcpu;

pub use code::CodeListener;
pub use exit::{Entry, Exit, FaultAnswer};
pub use stats::{HandlerCalls, Place, VcpuStats, Whereabouts};
pub use vcpu::{Engine, EngineError, InterruptModel, Kick, MsiMessage, Vcpu};
