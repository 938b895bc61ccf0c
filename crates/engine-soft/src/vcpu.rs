//! The engine's face: [`SoftEngine`] makes vCPUs that run on the caller's thread.

use std::fs::File;
use std::io;
use std::sync::Arc;

use engine::{
    CodeListener, Engine, EngineError, Entry, Exit, InterruptModel, Kick, MsiMessage, Vcpu,
    VcpuStats, Whereabouts,
};
use memory::{Bell, Gla, Gpa, GuestMemory, news};
use x86::cpuid::CpuidTable;
use x86::{Activity, CpuState};

use crate::cpu::convert::host_tsc;
use crate::cpu::{Cpu, attention};
use crate::interp::run::Interpreter;
use crate::mmu::walk;
use crate::msrs::Msrs;
use crate::translate::Translator;
use crate::tsc::SharedTsc;

/// Runs guests without any help of the hardware: the reference of what x86 does.
#[derive(Debug)]
pub struct SoftEngine {
    memory: GuestMemory,
    /// Code that ran this often is translated; `None` for an interpreter.
    warm: Option<u8>,
    /// What is translated is checked against the interpreter.
    checked: bool,
    /// Samples tell handlers from translated code.
    watched: bool,
    /// How many vCPUs there can be, which share what room for translations there is.
    vcpus: u32,
    tsc: SharedTsc,
}

impl SoftEngine {
    /// Half of the guest's RAM for all vCPUs, but no more than a quarter for one.
    fn room(&self) -> usize {
        let ram: u64 = self.memory.initial_ranges().iter().map(|it| it.len).sum();
        let room = ram / 2 / u64::from(self.vcpus.max(2));
        usize::try_from(room)
            .unwrap_or(MOST_ROOM)
            .clamp(LEAST_ROOM, MOST_ROOM)
    }

    #[must_use]
    pub fn new(memory: GuestMemory) -> SoftEngine {
        SoftEngine::with(memory, None)
    }

    /// One that translates what runs often into host code, and interprets the rest.
    #[must_use]
    pub fn translator(memory: GuestMemory) -> SoftEngine {
        SoftEngine::with(memory, Some(WARM))
    }

    /// Likewise, but translates what is about to run for the `warm`-th time: 1 for all of it.
    #[must_use]
    pub fn translator_after(memory: GuestMemory, warm: u8) -> SoftEngine {
        SoftEngine::with(memory, Some(warm))
    }

    /// One that translates everything and checks each unit, each time it runs, against the interpreter:
    /// a run ends with [`Exit::Failed`] at the first that differs. For one vCPU, and devices that do
    /// not write memory while it runs.
    #[must_use]
    pub fn lockstep(memory: GuestMemory) -> SoftEngine {
        SoftEngine {
            checked: true,
            ..SoftEngine::with(memory, Some(1))
        }
    }

    /// Likewise, but what samples its vCPUs' [`Whereabouts`] also learns of handlers that translated
    /// code calls, which costs each of their calls a nanosecond or two.
    #[must_use]
    pub fn watched(self) -> SoftEngine {
        SoftEngine {
            watched: true,
            ..self
        }
    }

    /// Likewise, for so many vCPUs, which have the less room for translations each.
    #[must_use]
    pub fn shared_by(self, vcpus: u32) -> SoftEngine {
        SoftEngine { vcpus, ..self }
    }

    /// Does this host allow translation: executable memory, and a processor with SSE4.2?
    #[must_use]
    pub fn can_translate() -> bool {
        Translator::new(WARM, false, LEAST_ROOM).is_some()
    }

    fn with(memory: GuestMemory, warm: Option<u8>) -> SoftEngine {
        SoftEngine {
            memory,
            warm,
            checked: false,
            watched: false,
            vcpus: 1,
            tsc: SharedTsc::new(0u64.wrapping_sub(host_tsc())),
        }
    }
}

/// Bytes of room for one vCPU's translations: so many, and with more RAM up to the most. A compiler needs some 80 MiB,
/// and in less it is translated anew all the time. Pages that are never written cost nothing.
const LEAST_ROOM: usize = 48 << 20;
const MOST_ROOM: usize = 160 << 20;

/// A block that runs this often is worth the time it takes to translate it.
const WARM: u8 = 12;

const NO_CODE_MEMORY: EngineError = EngineError::Unsupported {
    what: "translation: the host gives no executable memory, or lacks SSE4.2",
};
const NO_CONTROLLER: EngineError = EngineError::Unsupported {
    what: "an in-kernel interrupt controller",
};

impl Engine for SoftEngine {
    fn name(&self) -> &'static str {
        if self.checked {
            "lockstep"
        } else if self.warm.is_some() {
            "translator"
        } else {
            "interpreter"
        }
    }

    fn interrupt_model(&self) -> InterruptModel {
        InterruptModel::Machine
    }

    fn create_vcpu(&self, id: u32, cpuid: &CpuidTable) -> Result<Box<dyn Vcpu>, EngineError> {
        let mut translator = match self.warm {
            Some(warm) => {
                let made = Translator::new(warm, self.watched, self.room());
                Some(made.ok_or(NO_CODE_MEMORY)?)
            }
            None => None,
        };
        if self.checked {
            translator = translator.map(Translator::checked);
        }
        // A vCPU is large, and is moved to its place. On a stack that then goes: this one stays.
        let make = || {
            let mut cpu = Cpu::new(id, cpuid.clone(), self.memory.clone());
            cpu.mmu.map(&self.memory);
            cpu.join(&self.tsc);
            Interpreter::new(cpu, translator)
        };
        let made = std::thread::scope(|scope| {
            let maker = std::thread::Builder::new().spawn_scoped(scope, make)?;
            maker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let interpreter = made.map_err(|source| EngineError::Host {
            what: "cannot map memory for a processor's tables",
            source,
        })?;
        Ok(Box::new(SoftVcpu {
            interpreter,
            exits: 0,
        }))
    }

    fn set_gsi(&self, _gsi: u32, _level: bool) -> Result<(), EngineError> {
        Err(NO_CONTROLLER)
    }

    fn send_msi(&self, _message: MsiMessage) -> Result<(), EngineError> {
        Err(NO_CONTROLLER)
    }

    /// Writes are logged by the memory's own tracker.
    fn set_dirty_log(&self, _on: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn sync_dirty_log(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn save_devices(&self) -> Result<Vec<u8>, EngineError> {
        Ok(Vec::new())
    }

    fn restore_devices(&self, state: &[u8]) -> Result<(), EngineError> {
        if state.is_empty() {
            Ok(())
        } else {
            Err(NO_CONTROLLER)
        }
    }
}

/// One vCPU of the interpreter.
#[derive(Debug)]
struct SoftVcpu {
    interpreter: Interpreter,
    exits: u64,
}

/// Sets the flag that the run loop polls between blocks.
#[derive(Debug)]
struct SoftKick {
    bell: Arc<Bell>,
}

impl Kick for SoftKick {
    fn kick(&self) {
        self.bell.ring(news::KICK);
    }
}

impl Vcpu for SoftVcpu {
    fn run(&mut self, entry: Entry) -> Result<Exit, EngineError> {
        self.exits += 1;
        Ok(self.interpreter.run(entry))
    }

    fn state(&mut self) -> Result<CpuState, EngineError> {
        let mut state = self.interpreter.cpu.save();
        if self.interpreter.halted {
            state.activity = Activity::Halted;
        }
        Ok(state)
    }

    fn set_state(&mut self, state: &CpuState) -> Result<(), EngineError> {
        self.interpreter.forget_exit();
        self.interpreter.halted = state.activity == Activity::Halted;
        self.interpreter.cpu.restore(state);
        Ok(())
    }

    fn take_strings(&mut self) {
        self.interpreter.cpu.takes_strings = true;
    }

    fn string(&mut self) -> &mut [u8] {
        &mut self.interpreter.cpu.string
    }

    fn want_interrupt_window(&mut self, wanted: bool) {
        self.interpreter
            .cpu
            .set_attention(attention::WINDOW, wanted);
    }

    fn inject_nmi(&mut self) -> Result<(), EngineError> {
        let cpu = &mut self.interpreter.cpu;
        cpu.second_nmi |= cpu.attention & attention::NMI != 0 && !cpu.events.nmi_masked;
        cpu.set_attention(attention::NMI, true);
        Ok(())
    }

    fn kick(&self) -> Arc<dyn Kick> {
        Arc::new(SoftKick {
            bell: Arc::clone(&self.interpreter.cpu.bell),
        })
    }

    fn translate(&mut self, address: Gla) -> Option<Gpa> {
        walk::peek(&self.interpreter.cpu, address.0).map(Gpa)
    }

    fn keeps_msr(&self, index: u32) -> bool {
        Msrs::KEPT.contains(&index)
    }

    fn stats(&self) -> VcpuStats {
        let (cpu, cache) = (&self.interpreter.cpu, &self.interpreter.cache);
        let mut counters = vec![
            ("blocks decoded", cache.counters.decoded),
            ("instructions decoded", cache.counters.instructions),
            ("page walks", cpu.mmu.walks),
        ];
        if let Some(translator) = &self.interpreter.translator {
            let done = &translator.counters;
            let compared = self.interpreter.compared;
            counters.extend([
                ("units translated", done.units),
                ("instructions translated", done.instructions),
                ("entries into translated code", done.entries),
                ("units compared", compared.units),
                ("instructions compared", compared.instructions),
                ("pages compared", compared.pages),
                ("units equal only with an empty TLB", compared.flushed),
                ("jumps linked", done.links),
                ("code pages that died", done.pages_died),
                ("times all translations were dropped", done.cleared),
                ("bytes of translated code", translator.code_bytes() as u64),
                ("bytes of room for it", translator.code_room() as u64),
                ("first-level TLB misses", cpu.native.first_misses),
                ("second-level TLB misses", cpu.native.second_misses),
            ]);
        }
        let named = counters
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count));
        VcpuStats {
            instructions: cpu.instructions,
            exits: self.exits,
            counters: named.collect(),
            handlers: cpu.native.calls.by_mnemonic(),
        }
    }

    fn tell_code(&mut self, listener: Arc<dyn CodeListener>) -> bool {
        match &mut self.interpreter.translator {
            Some(translator) => {
                translator.tell(listener);
                true
            }
            None => false,
        }
    }

    fn complete_code(&mut self) {
        self.interpreter.complete_code();
    }

    fn write_code(&mut self, file: &File, at: u64) -> io::Result<u64> {
        self.interpreter.write_code(file, at)
    }

    fn adopt_code(&mut self, file: &File, at: u64) -> Option<u64> {
        self.interpreter.adopt_code(file, at)
    }

    fn whereabouts(&self) -> Arc<Whereabouts> {
        Arc::clone(&self.interpreter.cpu.native.whereabouts)
    }
}

#[cfg(test)]
mod tests;
