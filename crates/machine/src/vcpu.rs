//! One vCPU: its engine half, and the loop that answers its exits.
//!
//! The loop runs on a thread of the vCPU's own from the start of a run, or the end of a pause, to
//! the next request ([`MachineControl`]). Between two runs nobody runs it and the machine may look
//! at its state.
//!
//! With [`InterruptModel::InKernel`] the engine has the local APIC, sleeps in HLT by itself, and
//! does INIT and start-up; then `irqchip` is absent here.

mod clock;
mod exits;
mod hypercall;
mod power;

use std::fs::File;
use std::sync::Arc;

use devices::irqchip::Irqchip;
use engine::{CodeListener, EngineError, Entry, Exit, Place, Vcpu, Whereabouts};
use memory::GuestMemory;
use x86::register::rflags;
use x86::{Activity, CpuState};

use crate::MachineError;
use crate::bus::BusView;
use crate::control::{MachineControl, Outcome};
use crate::msrs::MachineMsrs;
use crate::signal::VcpuSignal;
use crate::stats::{ExitCounts, VcpuReport};
use crate::time::{GuestTsc, MachineClock};

pub(crate) use clock::ClockMsrs;
pub(crate) use clock::MasterClock;

/// Exits that may follow one another before an instruction is complete; no instruction needs more.
const MOST_TO_SETTLE: u32 = 4096;

/// What all vCPUs of a machine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) control: MachineControl,
    pub(crate) memory: GuestMemory,
    pub(crate) clock: Arc<MachineClock>,
    pub(crate) tsc: Arc<GuestTsc>,
    pub(crate) master_clock: MasterClock,
    /// Absent when the engine has the interrupt controllers.
    pub(crate) irqchip: Option<Arc<Irqchip>>,
    /// EAX of CPUID leaf 1, which INIT leaves in EDX.
    pub(crate) signature: u32,
}

/// One vCPU between and during runs.
#[derive(Debug)]
pub(crate) struct VcpuRunner {
    id: u32,
    vcpu: Box<dyn Vcpu>,
    shared: Arc<Shared>,
    signal: Arc<VcpuSignal>,
    ports: BusView,
    mmio: BusView,
    msrs: MachineMsrs,
    clock_msrs: ClockMsrs,
    activity: Activity,
    /// HLT with interrupts off: only NMI and INIT wake it.
    deaf: bool,
    /// What the engine must be told next.
    entry: Entry,
    /// The engine is between two instructions: its state is complete.
    settled: bool,
    exits: ExitCounts,
    whereabouts: Arc<Whereabouts>,
}

/// What [`VcpuRunner::new`] needs besides the shared things.
#[derive(Debug)]
pub(crate) struct VcpuParts {
    pub(crate) id: u32,
    pub(crate) vcpu: Box<dyn Vcpu>,
    pub(crate) signal: Arc<VcpuSignal>,
    pub(crate) ports: BusView,
    pub(crate) mmio: BusView,
    pub(crate) msrs: MachineMsrs,
}

impl VcpuRunner {
    pub(crate) fn new(parts: VcpuParts, shared: Arc<Shared>) -> VcpuRunner {
        parts.signal.connect(parts.vcpu.kick());
        VcpuRunner {
            id: parts.id,
            whereabouts: parts.vcpu.whereabouts(),
            vcpu: parts.vcpu,
            shared,
            signal: parts.signal,
            ports: parts.ports,
            mmio: parts.mmio,
            msrs: parts.msrs,
            clock_msrs: ClockMsrs::default(),
            activity: Activity::Running,
            deaf: false,
            entry: Entry::Resume,
            settled: true,
            exits: ExitCounts::default(),
        }
    }

    /// Runs the guest until somebody requests something of the machine. Ends with the vCPU between
    /// two instructions.
    ///
    /// # Errors
    /// When the host fails.
    pub(crate) fn run(&mut self) -> Result<(), EngineError> {
        self.follow_clock()?;
        while !self.shared.control.attention() {
            if self.signal.is_absent() {
                self.stay_away()?;
                continue;
            }
            self.take_signals()?;
            if self.shared.control.is_held() {
                self.stand_still();
                continue;
            }
            if !self.is_awake() {
                self.sleep();
                continue;
            }
            self.step()?;
        }
        self.settle()
    }

    fn has_interrupt(&self) -> bool {
        let irqchip = self.shared.irqchip.as_ref();
        irqchip.is_some_and(|irqchip| irqchip.has_interrupt(self.id))
    }

    fn is_awake(&mut self) -> bool {
        if self.activity == Activity::Halted && !self.deaf && self.has_interrupt() {
            self.activity = Activity::Running;
        }
        self.activity == Activity::Running
    }

    fn sleep(&self) {
        let wakeable = self.activity == Activity::Halted && !self.deaf;
        self.whereabouts.set(Place::Asleep);
        let ready = || self.shared.control.attention() || (wakeable && self.has_interrupt());
        self.signal.wait_until(ready);
        self.whereabouts.set(Place::Machine);
    }

    /// Until the guest may take processor time again, or somebody wants something of this vCPU.
    fn stand_still(&self) {
        let control = &self.shared.control;
        self.whereabouts.set(Place::Asleep);
        let ready = || control.attention() || !control.is_held();
        self.signal.wait_until(ready);
        self.whereabouts.set(Place::Machine);
    }

    /// Enters the guest once and answers the exit.
    fn step(&mut self) -> Result<(), EngineError> {
        let wanted = self.has_interrupt();
        self.vcpu.want_interrupt_window(wanted);
        self.signal.enter();
        let control = &self.shared.control;
        let stops = control.attention() || control.is_held() || self.signal.is_absent();
        let news = stops || self.signal.any() || self.has_interrupt() != wanted;
        if news {
            self.signal.leave();
            return Ok(());
        }
        let exit = self.enter();
        self.signal.leave();
        self.answer(exit?)
    }

    fn enter(&mut self) -> Result<Exit, EngineError> {
        let entry = std::mem::replace(&mut self.entry, Entry::Resume);
        let exit = self.vcpu.run(entry);
        self.whereabouts.set(Place::Machine);
        if let Ok(exit) = &exit {
            self.exits.count(exit);
        }
        exit
    }

    /// What it did so far.
    pub(crate) fn report(&self) -> VcpuReport {
        VcpuReport {
            engine: self.vcpu.stats(),
            exits: self.exits.named(),
            times: Vec::new(),
        }
    }

    /// See [`Vcpu::tell_code`].
    pub(crate) fn tell_code(&mut self, listener: Arc<dyn CodeListener>) -> bool {
        self.vcpu.tell_code(listener)
    }

    pub(crate) fn whereabouts(&self) -> Arc<Whereabouts> {
        Arc::clone(&self.whereabouts)
    }

    /// Brings the engine to the end of an instruction that was waiting for an answer.
    fn settle(&mut self) -> Result<(), EngineError> {
        for _ in 0..MOST_TO_SETTLE {
            if self.settled {
                return Ok(());
            }
            self.vcpu.want_interrupt_window(false);
            self.signal.kick();
            let exit = self.enter()?;
            self.answer(exit)?;
        }
        let what = "one instruction needs thousands of answers".to_owned();
        self.shared.control.end(Outcome::EngineFailed(what));
        Ok(())
    }

    /// The state as every engine understands it, with the machine's part in it.
    pub(crate) fn state(&mut self) -> Result<CpuState, EngineError> {
        let Some(irqchip) = self.shared.irqchip.clone() else {
            let mut state = self.vcpu.state()?;
            let ours = self.msrs.values().iter();
            let ours = ours.filter(|(index, _)| !self.vcpu.keeps_msr(**index));
            state.msrs.extend(ours);
            return Ok(state);
        };
        // What others sent and nobody has taken yet is part of the state.
        self.take_signals()?;
        let mut state = self.vcpu.state()?;
        state.activity = self.activity;
        state.apic = irqchip.apics().state(self.id);
        state.cr8 = u64::from(irqchip.apics().task_priority(self.id));
        state.msrs.extend(self.msrs.values());
        self.clock_msrs.save(&mut state.msrs);
        Ok(state)
    }

    pub(crate) fn complete_code(&mut self) {
        self.vcpu.complete_code();
    }

    pub(crate) fn write_code(&mut self, file: &File, at: u64) -> std::io::Result<u64> {
        self.vcpu.write_code(file, at)
    }

    pub(crate) fn adopt_code(&mut self, file: &File, at: u64) -> Option<u64> {
        self.vcpu.adopt_code(file, at)
    }

    /// Becomes `state`: at power-on, at a reset, and when a guest is restored.
    pub(crate) fn set_state(&mut self, state: &CpuState) -> Result<(), EngineError> {
        let mut state = state.clone();
        if let Some(irqchip) = &self.shared.irqchip {
            state.apic = irqchip.apics().state(self.id);
            self.clock_msrs.take_from(&mut state.msrs);
        }
        let vcpu = &self.vcpu;
        self.msrs
            .take_from(&mut state.msrs, |index| !vcpu.keeps_msr(index));
        self.vcpu.set_state(&state)?;
        // What was under way belonged to the state before.
        self.signal.take();
        // An engine with interrupt controllers lets its vCPUs wait by itself.
        self.activity = match self.shared.irqchip {
            Some(_) => state.activity,
            None => Activity::Running,
        };
        self.deaf = self.activity == Activity::Halted && state.rflags & rflags::IF == 0;
        self.entry = Entry::Resume;
        self.settled = true;
        Ok(())
    }

    /// Becomes a saved state, local APIC included.
    pub(crate) fn restore(&mut self, state: &CpuState) -> Result<(), MachineError> {
        let failed = |source| MachineError::Processor { source };
        if let Some(irqchip) = self.shared.irqchip.clone() {
            irqchip.apics().set_state(self.id, &state.apic)?;
        }
        self.set_state(state).map_err(failed)
    }

    /// Becomes `state` at power-on. The TSC goes on: all vCPUs count from one moment.
    pub(crate) fn power_on(&mut self, state: &mut CpuState) -> Result<(), EngineError> {
        state.tsc = self.vcpu.state()?.tsc;
        self.set_state(state)
    }

    /// Forgets MSRs that the machine keeps, at a reset.
    pub(crate) fn reset_msrs(&mut self, msrs: MachineMsrs) {
        self.msrs = msrs;
        self.clock_msrs = ClockMsrs::default();
    }

    /// One moment of guest TSC and clock.
    fn moment(&mut self) -> Result<crate::time::Reference, EngineError> {
        use devices::Clock;
        let tsc = self.vcpu.state()?.tsc;
        let time = self.shared.clock.now();
        Ok(crate::time::Reference { tsc, time })
    }

    fn inject(&mut self) {
        let irqchip = self.shared.irqchip.as_ref();
        let vector = irqchip.and_then(|irqchip| irqchip.acknowledge(self.id));
        self.entry = vector.map_or(Entry::Resume, Entry::Inject);
        self.settled = vector.is_none();
    }
}

#[cfg(test)]
mod tests;
