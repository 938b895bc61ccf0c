//! The engine contract over /dev/kvm.
//!
//! Spec: Linux Documentation/virt/kvm/api.rst, "The Definitive KVM (Kernel-based Virtual Machine) API
//! Documentation".
//!
//! Interrupt controllers and the PIT are the kernel's ([`engine::InterruptModel::InKernel`]): a timer
//! interrupt or an IPI then costs no exit to this process. The price is that their state is the
//! kernel's own, carried as bytes by `save_devices`.
//!
//! [`measure`] tells whether KVM is worth having on this host at all; there are hosts where it is
//! not.

mod cpuid;
mod device_slots_raw;
mod devices;
mod exit;
mod kick;
mod kvm_engine;
mod machine_checks_raw;
mod measure;
mod msrs;
mod routing;
mod run_page_raw;
mod signal_raw;
mod slots_raw;
mod state;
mod transfer;
mod translate;
mod vcpu;
mod xsave_raw;

pub use devices::{chips_of, state_of};
pub use kvm_engine::{KvmEngine, RESERVED_BASE, RESERVED_LEN};
pub use measure::{Measurement, WORTH_HAVING, measure};
pub use routing::{EventAddress, MsiRoute};
pub use vcpu::KvmVcpu;
pub use vmm_sys_util::eventfd::EventFd;

/// Puts what we were doing in front of what the kernel said.
fn host<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> engine::EngineError {
    move |source| engine::EngineError::Host {
        what,
        source: source.into(),
    }
}
