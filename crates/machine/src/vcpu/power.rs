//! NMI, INIT and start-up messages, where the machine does them.
//!
//! Spec: Intel SDM Vol. 3, "Multiple-Processor (MP) Initialization" and "Processor State Following
//! INIT".

use engine::{EngineError, Place};
use x86::register::gpr;
use x86::{Activity, CpuState, Segment, SegmentRegister};

use super::VcpuRunner;

impl VcpuRunner {
    /// Takes what other processors and devices sent, besides interrupts.
    pub(super) fn take_signals(&mut self) -> Result<(), EngineError> {
        let pending = self.signal.take();
        if pending.init {
            self.settle()?;
            self.initialise()?;
        }
        if let Some(vector) = pending.startup
            && self.activity == Activity::WaitForSipi
        {
            self.start_up(vector)?;
        }
        if self.activity != Activity::WaitForSipi {
            for _ in 0..pending.nmis {
                self.vcpu.inject_nmi()?;
                self.activity = Activity::Running;
            }
        }
        Ok(())
    }

    /// The processor is not there, until it is plugged in or somebody wants something of the machine.
    /// When it comes again, it waits to be started.
    pub(super) fn stay_away(&mut self) -> Result<(), EngineError> {
        if self.activity != Activity::WaitForSipi && self.shared.irqchip.is_some() {
            self.settle()?;
            self.initialise()?;
        }
        // What others sent it is lost.
        self.signal.take();
        self.whereabouts.set(Place::Asleep);
        let control = &self.shared.control;
        let ready = || control.attention() || !self.signal.is_absent();
        self.signal.wait_until(ready);
        self.whereabouts.set(Place::Machine);
        Ok(())
    }

    fn initialise(&mut self) -> Result<(), EngineError> {
        let before = self.vcpu.state()?;
        let state = after_init(before, self.shared.signature);
        self.vcpu.set_state(&state)?;
        // The bootstrap processor starts at the reset vector at once.
        self.activity = if self.id == 0 {
            Activity::Running
        } else {
            Activity::WaitForSipi
        };
        self.deaf = false;
        Ok(())
    }

    fn start_up(&mut self, vector: u8) -> Result<(), EngineError> {
        let mut state = self.vcpu.state()?;
        let code = &mut state.segments[SegmentRegister::Cs as usize];
        *code = Segment {
            rights: code.rights,
            ..Segment::real(u16::from(vector) << 8)
        };
        state.rip = 0;
        state.activity = Activity::Running;
        self.vcpu.set_state(&state)?;
        self.activity = Activity::Running;
        Ok(())
    }
}

/// INIT keeps the FPU, the TSC, XCR0 and the MSRs; everything else is as after reset.
fn after_init(before: CpuState, signature: u32) -> CpuState {
    let mut state = CpuState {
        tsc: before.tsc,
        fpu: before.fpu,
        xcr0: before.xcr0,
        msrs: before.msrs,
        ..CpuState::at_reset()
    };
    state.gpr[gpr::RDX] = u64::from(signature);
    state
}
