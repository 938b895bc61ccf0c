//! An engine whose vCPUs go now and then, and leave their code to others that go on where they were.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{
    Engine, EngineError, Entry, Exit, InterruptModel, Kick, MsiMessage, Vcpu, VcpuStats,
    Whereabouts,
};
use engine_soft::SoftEngine;
use memory::{Gla, Gpa, GuestMemory};
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};
use x86::CpuState;
use x86::cpuid::CpuidTable;

/// Runs in which a vCPU could go, for one that goes.
const RUNS: u32 = 5;

#[derive(Debug)]
pub(crate) struct Heirs {
    memory: GuestMemory,
    engine: Arc<SoftEngine>,
}

impl Heirs {
    pub(crate) fn new(memory: GuestMemory) -> Heirs {
        Heirs {
            engine: Arc::new(SoftEngine::translator_after(memory.clone(), 1)),
            memory,
        }
    }
}

impl Engine for Heirs {
    fn name(&self) -> &'static str {
        "heirs"
    }

    fn interrupt_model(&self) -> InterruptModel {
        self.engine.interrupt_model()
    }

    fn create_vcpu(&self, id: u32, cpuid: &CpuidTable) -> Result<Box<dyn Vcpu>, EngineError> {
        let vcpu = self.engine.create_vcpu(id, cpuid)?;
        Ok(Box::new(Heir {
            memory: self.memory.clone(),
            engine: Arc::clone(&self.engine),
            id,
            cpuid: cpuid.clone(),
            kick: Arc::new(LastKick(Mutex::new(vcpu.kick()))),
            vcpu: Some(vcpu),
            wants_window: false,
            between: true,
            runs: 0,
        }))
    }

    fn set_gsi(&self, gsi: u32, level: bool) -> Result<(), EngineError> {
        self.engine.set_gsi(gsi, level)
    }

    fn send_msi(&self, message: MsiMessage) -> Result<(), EngineError> {
        self.engine.send_msi(message)
    }

    fn set_dirty_log(&self, on: bool) -> Result<(), EngineError> {
        self.engine.set_dirty_log(on)
    }

    fn sync_dirty_log(&self) -> Result<(), EngineError> {
        self.engine.sync_dirty_log()
    }

    fn save_devices(&self) -> Result<Vec<u8>, EngineError> {
        self.engine.save_devices()
    }

    fn restore_devices(&self, state: &[u8]) -> Result<(), EngineError> {
        self.engine.restore_devices(state)
    }
}

/// Kicks the vCPU that runs now.
#[derive(Debug)]
struct LastKick(Mutex<Arc<dyn Kick>>);

impl Kick for LastKick {
    fn kick(&self) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.kick();
    }
}

#[derive(Debug)]
struct Heir {
    memory: GuestMemory,
    engine: Arc<SoftEngine>,
    id: u32,
    cpuid: CpuidTable,
    kick: Arc<LastKick>,
    /// There is always one, but while one goes.
    vcpu: Option<Box<dyn Vcpu>>,
    wants_window: bool,
    /// It is between two instructions.
    between: bool,
    runs: u32,
}

impl Heir {
    /// The memory is as one that another process has just begun with: no page of it is known to hold code.
    fn forget_code(&self) {
        let ram = self.memory.ram();
        let mut page = vec![0; 4096];
        for range in self.memory.ranges() {
            for at in (range.base.0..range.base.0 + range.len).step_by(page.len()) {
                let at = GuestAddress(at);
                let read = ram.read_slice(&mut page, at);
                read.and_then(|()| ram.write_slice(&page, at)).expect("RAM");
            }
        }
    }

    fn vcpu(&mut self) -> &mut dyn Vcpu {
        self.vcpu.as_deref_mut().expect("a vCPU")
    }

    /// The next one is where this one is, or becomes `state`.
    fn hand_over(&mut self, state: Option<&CpuState>) -> Result<(), EngineError> {
        let mut old = self.vcpu.take().expect("a vCPU");
        let state = match state {
            Some(state) => state.clone(),
            None => old.state()?,
        };
        let file = File::from(memfd_create("code", MemfdFlags::CLOEXEC).expect("a file"));
        // As for many forks, or for a snapshot.
        if self.runs / RUNS % 2 == 1 {
            old.complete_code();
        }
        let written = old.write_code(&file, 0).expect("room for code");
        // Its code is to run where it ran.
        drop(old);
        self.forget_code();
        let mut vcpu = self.engine.create_vcpu(self.id, &self.cpuid)?;
        vcpu.set_state(&state)?;
        vcpu.want_interrupt_window(self.wants_window);
        let adopted = vcpu.adopt_code(&file, 0);
        assert_eq!(adopted.unwrap_or(0), written);
        *self.kick.0.lock().unwrap_or_else(PoisonError::into_inner) = vcpu.kick();
        self.vcpu = Some(vcpu);
        Ok(())
    }
}

impl Vcpu for Heir {
    fn run(&mut self, entry: Entry) -> Result<Exit, EngineError> {
        self.runs += u32::from(self.between);
        if self.between && self.runs.is_multiple_of(RUNS) {
            self.hand_over(None)?;
        }
        let exit = self.vcpu().run(entry)?;
        self.between = matches!(exit, Exit::Interrupted | Exit::InterruptWindow);
        Ok(exit)
    }

    fn state(&mut self) -> Result<CpuState, EngineError> {
        self.vcpu().state()
    }

    /// A program begins. Of what ran before, some is still there.
    fn set_state(&mut self, state: &CpuState) -> Result<(), EngineError> {
        self.between = true;
        self.hand_over(Some(state))
    }

    fn want_interrupt_window(&mut self, wanted: bool) {
        self.wants_window = wanted;
        self.vcpu().want_interrupt_window(wanted);
    }

    fn inject_nmi(&mut self) -> Result<(), EngineError> {
        self.vcpu().inject_nmi()
    }

    fn kick(&self) -> Arc<dyn Kick> {
        Arc::<LastKick>::clone(&self.kick)
    }

    fn translate(&mut self, address: Gla) -> Option<Gpa> {
        self.vcpu().translate(address)
    }

    fn keeps_msr(&self, index: u32) -> bool {
        let vcpu = self.vcpu.as_deref();
        vcpu.is_some_and(|vcpu| vcpu.keeps_msr(index))
    }

    fn stats(&self) -> VcpuStats {
        let vcpu = self.vcpu.as_deref();
        vcpu.map(Vcpu::stats).expect("a vCPU")
    }

    fn whereabouts(&self) -> Arc<Whereabouts> {
        let vcpu = self.vcpu.as_deref();
        vcpu.map(Vcpu::whereabouts).expect("a vCPU")
    }
}
