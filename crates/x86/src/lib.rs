//! What the x86 manuals define, as values: registers, segments, MSR numbers, exceptions, CPU state.
//!
//! Nothing here executes anything. Spec: Intel SDM Vol. 3 and 4, AMD APM Vol. 2.

pub mod chips;
pub mod cpuid;
pub mod exception;
pub mod msr;
pub mod register;
pub mod segment;
mod state;

pub use exception::Exception;
pub use segment::{DescriptorTable, Segment, SegmentRegister};
pub use state::{Activity, ApicState, CpuState, Events, Fpu, Injected};
