//! The traits that engines implement.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::sync::Arc;

use memory::{Gla, Gpa};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use x86::CpuState;
use x86::cpuid::CpuidTable;

use crate::{CodeListener, Entry, Exit, VcpuStats, Whereabouts};

/// A host failure inside an engine. What the guest does wrong is never one of these.
#[derive(Debug, Error)]
pub enum EngineError {
    #[error("{what}")]
    Host {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("the state has {what}, which this engine cannot hold")]
    State { what: String },
    #[error("{what} is not possible with this engine")]
    Unsupported { what: &'static str },
}

/// Stops a running vCPU from another thread: its `run` returns `Exit::Interrupted` soon, and at
/// once if it was not running.
pub trait Kick: Send + Sync + Debug {
    fn kick(&self);
}

/// An MSI as a device writes it. Spec: Intel SDM Vol. 3, "Message Signalled Interrupts".
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsiMessage {
    pub address: u64,
    pub data: u32,
}

/// Who delivers interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptModel {
    /// The machine's own PICs, PIT, I/O APIC and local APICs.
    Machine,
    /// The engine has all of them; the machine only sets lines and sends messages.
    InKernel,
}

/// One guest's way of running instructions.
pub trait Engine: Send + Sync + Debug {
    /// `kvm`, `translator` or `interpreter`.
    fn name(&self) -> &'static str;

    fn interrupt_model(&self) -> InterruptModel;

    /// Makes vCPU `id`, which is also its initial APIC id. Its state is the one after reset.
    ///
    /// # Errors
    /// When the host refuses.
    fn create_vcpu(&self, id: u32, cpuid: &CpuidTable) -> Result<Box<dyn Vcpu>, EngineError>;

    /// With [`InterruptModel::InKernel`]: sets the level of a global system interrupt.
    ///
    /// # Errors
    /// When the engine has no interrupt controller, or the host refuses.
    fn set_gsi(&self, gsi: u32, level: bool) -> Result<(), EngineError>;

    /// With [`InterruptModel::InKernel`]: sends a message-signalled interrupt.
    ///
    /// # Errors
    /// When the engine has no interrupt controller, or the host refuses.
    fn send_msi(&self, message: MsiMessage) -> Result<(), EngineError>;

    /// Pages of the memory became of another [`memory::PageKind`]. Engines that hear of it by the memory's
    /// bells have nothing to do.
    ///
    /// # Errors
    /// When the host refuses.
    fn memory_changed(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// May RAM be written by somebody who tells nobody, as the host's kernel does for a device (vhost)? Not where the
    /// engine knows by heart what lies there.
    fn bears_untold_writes(&self) -> bool {
        false
    }

    /// Starts or stops the dirty log of writes made by guest instructions, where the engine keeps
    /// one of its own (software engines log through the memory's tracker).
    ///
    /// # Errors
    /// When the host refuses.
    fn set_dirty_log(&self, on: bool) -> Result<(), EngineError>;

    /// Moves what the engine's own dirty log holds into the memory's tracker.
    ///
    /// # Errors
    /// When the host refuses.
    fn sync_dirty_log(&self) -> Result<(), EngineError>;

    /// The state of in-kernel devices (empty with [`InterruptModel::Machine`]), versioned.
    ///
    /// # Errors
    /// When the host refuses.
    fn save_devices(&self) -> Result<Vec<u8>, EngineError>;

    /// Restores what [`Engine::save_devices`] answered.
    ///
    /// # Errors
    /// When the bytes are not such a state, or the host refuses.
    fn restore_devices(&self, state: &[u8]) -> Result<(), EngineError>;
}

/// One virtual processor.
pub trait Vcpu: Send + Debug {
    /// Finishes what `entry` says and runs the guest until something needs the machine. A kick never
    /// leaves an instruction half done: it is finished (which may take further exits) before
    /// [`Exit::Interrupted`] is answered, so that the state is then between two instructions.
    ///
    /// # Errors
    /// When the host fails. The guest cannot cause one.
    fn run(&mut self, entry: Entry) -> Result<Exit, EngineError>;

    /// Everything the vCPU is. With [`InterruptModel::Machine`], `apic`, `cr8` and `activity` are the
    /// machine's.
    ///
    /// # Errors
    /// When the host fails.
    fn state(&mut self) -> Result<CpuState, EngineError>;

    /// Becomes `state`.
    ///
    /// # Errors
    /// When the state holds what the engine cannot, or the host fails.
    fn set_state(&mut self, state: &CpuState) -> Result<(), EngineError>;

    /// Exit with [`Exit::InterruptWindow`] as soon as the guest can take an interrupt, or do not.
    fn want_interrupt_window(&mut self, wanted: bool);

    /// Latches an NMI. A second one that comes before the first is delivered, and no NMI handler
    /// running, is latched too; more are not.
    ///
    /// # Errors
    /// When the host fails.
    fn inject_nmi(&mut self) -> Result<(), EngineError>;

    /// The handle that stops this vCPU from elsewhere.
    fn kick(&self) -> Arc<dyn Kick>;

    /// Where the guest's page tables map `address` now, for a supervisor read; sets no A/D bits.
    fn translate(&mut self, address: Gla) -> Option<Gpa>;

    /// Does this vCPU keep that MSR itself, or answer for it? What it does not is the machine's.
    fn keeps_msr(&self, index: u32) -> bool;

    fn stats(&self) -> VcpuStats;

    /// Where this vCPU's thread is inside [`Vcpu::run`]; outside, the caller may say.
    fn whereabouts(&self) -> Arc<Whereabouts>;

    /// From now on a repeated INS or OUTS may be one exit for many elements, where the engine can. An
    /// engine that cannot goes on with one for each.
    fn take_strings(&mut self) {}

    /// All elements of the last exit, where it was one of a string.
    fn string(&mut self) -> &mut [u8] {
        &mut []
    }

    /// Makes code of all that it ran lately, also of what was not worth it for itself: for others, who go on where it is.
    fn complete_code(&mut self) {}

    /// Writes the code that this vCPU has made of the guest's to `file` from byte `at` on, a multiple of 4096. Answers
    /// how many bytes; none, where it makes no code.
    ///
    /// # Errors
    /// When the host cannot write it.
    fn write_code(&mut self, file: &File, at: u64) -> io::Result<u64> {
        let _ = (file, at);
        Ok(0)
    }

    /// Begins with what another vCPU wrote, which was where this one is, with the same memory. Before it first runs.
    /// Code that is of no use here is left out; the rest runs as it is, so the caller vouches for it, and that nobody
    /// writes to the file. Answers how many bytes there were;
    /// `None` where that is no such file, or the vCPU makes no code.
    fn adopt_code(&mut self, file: &File, at: u64) -> Option<u64> {
        let _ = (file, at);
        None
    }

    /// Tells `listener` of the code that this vCPU makes from now on. False when it makes none.
    fn tell_code(&mut self, listener: Arc<dyn CodeListener>) -> bool {
        let _ = listener;
        false
    }
}
