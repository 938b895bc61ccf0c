//! A guest on the workbench: an engine, its vCPUs, and a watchdog, driven exit by exit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use engine::{Engine, EngineError, Entry, Exit, InterruptModel, Vcpu};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::CpuState;
use x86::cpuid::{self, CpuidTable, HostCpuid, VcpuParams};

use crate::image::{END_PORT, RAM, TRAP_PORT};
use crate::{Image, Mode};

/// Makes an engine around a guest's memory.
pub type Make<'a> = &'a (dyn Fn(GuestMemory) -> Result<Box<dyn Engine>, EngineError> + Sync);

/// Far more than the longest test needs where ring 0 runs at half a million instructions a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a test did not pass.
#[derive(Debug)]
pub enum Trouble {
    NotApplicable(String),
    GaveUp(String),
    Wrong(String),
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Trouble {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Trouble::GaveUp(format!("{error}{}", source.unwrap_or_default()))
    }
}

/// Wrong, unless both are equal.
pub(crate) fn expect<T: PartialEq + fmt::Debug>(
    what: &str,
    got: T,
    wanted: T,
) -> Result<(), Trouble> {
    if got == wanted {
        return Ok(());
    }
    Err(Trouble::Wrong(format!(
        "{what}: got {got:x?}, wanted {wanted:x?}"
    )))
}

pub(crate) fn wrong<T>(what: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Wrong(what.into()))
}

/// One guest with one or more vCPUs.
#[derive(Debug)]
pub struct Bench {
    pub memory: GuestMemory,
    pub engine: Box<dyn Engine>,
    pub(crate) vcpus: Vec<Seat>,
}

/// A vCPU and what watches it. Can move to a thread of its own.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) vcpu: Box<dyn Vcpu>,
    overdue: Arc<AtomicBool>,
    /// Dropped with the seat, which sends the watchdog home.
    _leash: Sender<()>,
}

impl Seat {
    fn new(vcpu: Box<dyn Vcpu>) -> Seat {
        let overdue = Arc::new(AtomicBool::new(false));
        let (leash, gone) = mpsc::channel::<()>();
        let (flag, kick) = (Arc::clone(&overdue), vcpu.kick());
        thread::spawn(move || {
            if gone.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::SeqCst);
                kick.kick();
            }
        });
        Seat {
            vcpu,
            overdue,
            _leash: leash,
        }
    }

    /// Runs to the next exit.
    pub(crate) fn run(&mut self, entry: Entry) -> Result<Exit, Trouble> {
        let exit = self.vcpu.run(entry)?;
        if self.overdue.load(Ordering::SeqCst) {
            let at = self.vcpu.state().map(|state| state.rip).unwrap_or_default();
            return wrong(format!(
                "still not done after {PATIENCE:?}, at rip {at:#x}, {exit:x?}"
            ));
        }
        match exit {
            Exit::Failed { what } => Err(Trouble::GaveUp(what)),
            exit => Ok(exit),
        }
    }

    /// Runs to the next exit, which must be this.
    pub(crate) fn run_to(&mut self, entry: Entry, wanted: &Exit) -> Result<(), Trouble> {
        let exit = self.run(entry)?;
        if exit == *wanted {
            return Ok(());
        }
        wrong(format!("exit {exit:x?}, wanted {wanted:x?}"))
    }

    /// Runs on to the end of the test.
    pub(crate) fn run_to_end(&mut self, entry: Entry) -> Result<(), Trouble> {
        match self.run(entry)? {
            Exit::PortWrite { port, .. } if port == u16::from(END_PORT) => Ok(()),
            exit => wrong(format!("exit {exit:x?} where the guest should end")),
        }
    }

    /// Runs on to an interrupt stub: the vector.
    pub(crate) fn run_to_trap(&mut self, entry: Entry) -> Result<u8, Trouble> {
        match self.run(entry)? {
            Exit::PortWrite { port, value, .. } if port == u16::from(TRAP_PORT) => {
                Ok(u8::try_from(value).unwrap_or(u8::MAX))
            }
            exit => wrong(format!("exit {exit:x?} where an interrupt should come")),
        }
    }

    pub(crate) fn state(&mut self) -> Result<CpuState, Trouble> {
        Ok(self.vcpu.state()?)
    }
}

/// CPUID of the default model with `count` vCPUs.
pub(crate) fn cpuid_table(id: u32, count: u32) -> CpuidTable {
    let host = HostCpuid::read();
    // Unknown to the engine means: as the host's.
    let tsc_khz = host.tsc_khz().unwrap_or(0);
    cpuid::table(
        &cpuid::models()[0],
        &host,
        &VcpuParams { id, count, tsc_khz },
    )
}

impl Bench {
    /// A guest with `count` vCPUs, all as after reset.
    ///
    /// # Errors
    /// When memory or engine cannot be made.
    pub fn bare(make: Make<'_>, count: u32) -> Result<Bench, Trouble> {
        let memory = GuestMemory::new(&[RamRange {
            base: Gpa(0),
            len: RAM,
        }])
        .map_err(|error| Trouble::GaveUp(error.to_string()))?;
        let engine = make(memory.clone())?;
        let vcpus: Result<Vec<_>, EngineError> = (0..count)
            .map(|id| Ok(Seat::new(engine.create_vcpu(id, &cpuid_table(id, count))?)))
            .collect();
        Ok(Bench {
            memory,
            engine,
            vcpus: vcpus?,
        })
    }

    /// A guest with one vCPU about to run the image.
    ///
    /// # Errors
    /// When memory or engine cannot be made, or the engine refuses the state.
    pub fn new(make: Make<'_>, image: &Image) -> Result<Bench, Trouble> {
        let mut bench = Bench::bare(make, 1)?;
        bench.load(image)?;
        bench.seat().vcpu.set_state(&image.state())?;
        Ok(bench)
    }

    /// As [`Bench::new`], from a mode and what the assembler made.
    pub(crate) fn with(make: Make<'_>, mode: Mode, code: Vec<u8>) -> Result<Bench, Trouble> {
        Bench::new(make, &Image { mode, code })
    }

    pub(crate) fn load(&self, image: &Image) -> Result<(), Trouble> {
        image
            .load(&self.memory)
            .map_err(|error| Trouble::GaveUp(error.to_string()))
    }

    /// The first vCPU.
    pub fn vcpu(&mut self) -> &mut dyn Vcpu {
        self.vcpus[0].vcpu.as_mut()
    }

    pub(crate) fn seat(&mut self) -> &mut Seat {
        &mut self.vcpus[0]
    }

    pub(crate) fn in_kernel(&self) -> bool {
        self.engine.interrupt_model() == InterruptModel::InKernel
    }

    /// A little-endian number of `size` bytes in guest memory.
    pub(crate) fn peek(&self, at: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        // Tests read only where their guest has RAM; elsewhere is 0, and fails the comparison.
        let _ = self
            .memory
            .ram()
            .read_slice(&mut bytes[..size], GuestAddress(at));
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn poke(&self, at: u64, bytes: &[u8]) -> Result<(), Trouble> {
        self.memory
            .ram()
            .write_slice(bytes, GuestAddress(at))
            .map_err(|error| Trouble::GaveUp(error.to_string()))
    }
}
