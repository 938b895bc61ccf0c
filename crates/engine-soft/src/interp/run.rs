//! The run loop: blocks, and everything that happens between instructions.
//! Spec: Intel SDM Vol. 3, "Priority Among Simultaneous Exceptions and Interrupts".

use std::fs::File;
use std::io;

use engine::{Entry, Exit, Place};
use memory::news;
use x86::Exception;
use x86::exception::vector;
use x86::register::{cr0, dr6, rflags};

use super::block::{BlockCache, Heat};
use super::fetch::linear_rip;
use super::op::{Op, STACK, Stop};
use super::system::deliver::{self, Source, TripleFault};
use crate::cpu::features::has;
use crate::cpu::{CodeSize, Cpu, RIP_SLOT, attention};
use crate::lockstep::Compared;
use crate::translate::placed_raw::Home;
use crate::translate::{Left, Translator};

/// A guest with so many translated units looks into its tables often.
const MANY_UNITS: u64 = 8192;
/// Vectors below are exceptions.
const FIRST_INTERRUPT: u8 = 32;

/// A vCPU's registers and its decoded blocks.
#[derive(Debug)]
pub(crate) struct Interpreter {
    pub(crate) cpu: Home,
    pub(crate) translator: Option<Translator>,
    pub(crate) cache: BlockCache,
    /// The last exit waits for the machine's answer.
    awaiting: bool,
    /// After HLT: nothing runs before an interrupt or NMI.
    pub(crate) halted: bool,
    pub(crate) compared: Compared,
}

/// How a stretch of instructions ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Go on.
    Next,
    /// Leave with `Cpu::exit`.
    Exit,
}

impl From<TripleFault> for Exit {
    fn from(_: TripleFault) -> Exit {
        Exit::TripleFault
    }
}

impl Interpreter {
    /// Interprets everything, or only what is not worth translating.
    ///
    /// # Errors
    /// As [`Home::new`].
    pub(crate) fn new(cpu: Cpu, translator: Option<Translator>) -> io::Result<Interpreter> {
        Ok(Interpreter {
            cpu: Home::new(cpu)?,
            translator,
            cache: BlockCache::new(),
            awaiting: false,
            halted: false,
            compared: Compared::default(),
        })
    }

    /// Forgets an exit that was not answered: the state has been replaced.
    pub(crate) fn forget_exit(&mut self) {
        self.awaiting = false;
    }

    /// Finishes what `entry` says and runs until something needs the machine.
    pub(crate) fn run(&mut self, entry: Entry) -> Exit {
        self.cpu.native.whereabouts.set(Place::Interpreter);
        let begun = self.finish_delivery().and_then(|()| self.enter(entry));
        match begun.and_then(|()| self.run_blocks()) {
            Ok(exit) => exit,
            Err(TripleFault) => Exit::TripleFault,
        }
    }

    /// Translates all that was decoded and may be wanted again, as far as there is room. Nothing of an interpreter.
    pub(crate) fn complete_code(&mut self) {
        let Some(translator) = &mut self.translator else {
            return;
        };
        for (gpa, mode) in self.cache.translatable() {
            if translator.is_checked() || !translator.prepare(&mut self.cpu, gpa, mode) {
                break;
            }
        }
    }

    /// Writes all translations to `file` from byte `at` on. Answers their length; none of an interpreter.
    ///
    /// # Errors
    /// When the host cannot write it.
    pub(crate) fn write_code(&mut self, file: &File, at: u64) -> io::Result<u64> {
        let Some(translator) = &mut self.translator else {
            return Ok(0);
        };
        translator.link_all();
        translator.write(&self.cpu, file, at)
    }

    /// Begins with what [`Interpreter::write_code`] wrote, of one that was where this one is. Answers how long it
    /// is; `None` where there is nothing.
    pub(crate) fn adopt_code(&mut self, file: &File, at: u64) -> Option<u64> {
        let translator = self.translator.as_mut()?;
        translator.adopt(&mut self.cpu, file, at)
    }

    /// Delivers what another engine had begun to deliver, when the guest left it. Here, none is left half-way.
    fn finish_delivery(&mut self) -> Result<(), TripleFault> {
        let Some(event) = self.cpu.events.injected.take() else {
            return Ok(());
        };
        match event.vector {
            // The instruction is still to come, and raises it again.
            _ if event.software => Ok(()),
            vector::NMI => self.interrupt(vector::NMI, Source::Nmi),
            FIRST_INTERRUPT.. => self.interrupt(event.vector, Source::External),
            // In real mode they are mixed, and all are delivered alike.
            _ if self.cpu.cr0 & cr0::PE == 0 => self.interrupt(event.vector, Source::External),
            // CR2 is what it was to be already.
            _ => {
                let exception = Exception {
                    vector: event.vector,
                    error_code: event.error_code,
                    address: None,
                };
                deliver::raise(&mut self.cpu, exception)
            }
        }
    }

    fn enter(&mut self, entry: Entry) -> Result<(), TripleFault> {
        let answer = match entry {
            Entry::Resume => 0,
            Entry::CompleteRead(value) => value,
            Entry::Fault(exception) => {
                self.awaiting = false;
                self.cpu.replay.clear();
                return deliver::raise(&mut self.cpu, exception);
            }
            Entry::Inject(vector) => return self.interrupt(vector, Source::External),
        };
        if self.awaiting {
            self.awaiting = false;
            if !self.cpu.replay.push(answer) {
                self.cpu.replay.clear();
                return deliver::raise(&mut self.cpu, Exception::gp(0));
            }
        }
        Ok(())
    }

    fn interrupt(&mut self, vector: u8, source: Source) -> Result<(), TripleFault> {
        self.halted = false;
        match deliver::enter(&mut self.cpu, vector, None, source) {
            Ok(()) => Ok(()),
            Err(_) => {
                let fault = self.cpu.fault;
                deliver::raise(&mut self.cpu, fault)
            }
        }
    }

    fn run_blocks(&mut self) -> Result<Exit, TripleFault> {
        loop {
            if self.halted {
                if let Some(exit) = self.attend()? {
                    return Ok(exit);
                }
                if self.halted {
                    return Ok(Exit::Halted);
                }
            }
            let cpu = &mut self.cpu;
            let end = if cpu.replay.is_active() {
                self.step()?
            } else if cpu.attention != 0 || cpu.bell.rings() {
                match self.attend()? {
                    Some(exit) => return Ok(exit),
                    None if self.cpu.attention & !attention::WINDOW != 0 => self.step()?,
                    None => self.go()?,
                }
            } else {
                self.go()?
            };
            if end == End::Exit
                && let Some(exit) = self.cpu.exit.take()
            {
                return Ok(exit);
            }
        }
    }

    /// Translated code where there is some, one interpreted block where there is none.
    #[inline(always)]
    fn go(&mut self) -> Result<End, TripleFault> {
        let Some(translator) = &mut self.translator else {
            return self.execute(u32::MAX);
        };
        if translator.is_checked() {
            return self.check_one();
        }
        // Cold code is asked about once a run, and the translator not at all.
        let heat = self.cache.heat(&mut self.cpu, translator.warm());
        if heat == Heat::Cold {
            return self.execute(u32::MAX);
        }
        if heat == Heat::Warm && translator.counters.units >= MANY_UNITS {
            self.cpu.use_huge_pages();
        }
        match translator.run(&mut self.cpu, heat == Heat::Warm) {
            Some(Left::Next) => Ok(End::Next),
            Some(Left::Stopped(stop, start, op)) => self.stopped(stop, start, op),
            Some(Left::Interpret) | None => self.execute(u32::MAX),
        }
    }

    /// Looks after whatever asked for attention between two instructions.
    fn attend(&mut self) -> Result<Option<Exit>, TripleFault> {
        let cpu = &mut self.cpu;
        let heard = cpu.bell.answer();
        if heard & news::MAP != 0 {
            cpu.mmu.flush_all();
        }
        if heard & news::UNPLAIN != 0 {
            let unplain = cpu.bell.take_unplain();
            cpu.mmu.give_up_writes(&unplain);
        }
        if heard & news::MOVED != 0 {
            let memory = cpu.memory.clone();
            cpu.mmu.remap(&memory);
        }
        if heard & news::DEAD_CODE != 0 {
            let dead = cpu.bell.take_dead();
            if let Some(translator) = &mut self.translator {
                translator.bury(cpu, &dead);
            }
        }
        if heard & news::KICK != 0 {
            return Ok(Some(Exit::Interrupted));
        }
        if cpu.attention & attention::DEBUG != 0 {
            self.debug_traps(false)?;
        }
        let cpu = &mut self.cpu;
        let shadow = cpu.attention & attention::SHADOW != 0;
        if cpu.attention & attention::NMI != 0 && !cpu.events.nmi_masked && !shadow {
            let second = std::mem::take(&mut cpu.second_nmi);
            cpu.set_attention(attention::NMI, second);
            cpu.events.nmi_masked = true;
            self.interrupt(vector::NMI, Source::Nmi)?;
            return Ok(None);
        }
        if cpu.attention & attention::WINDOW != 0 && cpu.rflags & rflags::IF != 0 && !shadow {
            return Ok(Some(Exit::InterruptWindow));
        }
        Ok(None)
    }

    /// One instruction, with everything that only matters to some: trap flag, breakpoints, shadow.
    fn step(&mut self) -> Result<End, TripleFault> {
        let cpu = &mut self.cpu;
        let single_step = cpu.attention & attention::TRAP != 0;
        let shadow = cpu.attention & attention::SHADOW != 0;
        cpu.set_attention(attention::SHADOW, false);
        // After a load of SS, instruction breakpoints are held off by Intel's processors alone.
        let held_off = shadow && !(cpu.shadow_by_ss && cpu.features.has(has::AMD));
        if cpu.attention & attention::BREAKPOINT != 0 && !held_off {
            let hit = instruction_breakpoints(cpu);
            if hit != 0 && cpu.rflags & rflags::RF == 0 {
                cpu.dr[4] = cpu.dr[4] & !0xf | hit;
                deliver::raise(cpu, Exception::plain(vector::DB))?;
                return Ok(End::Next);
            }
        }
        let (before, started_at) = (cpu.instructions, cpu.rip);
        let had_rf = cpu.rflags & rflags::RF;
        let end = self.execute(1)?;
        let cpu = &mut self.cpu;
        let stepped = cpu.instructions != before || cpu.rip != started_at;
        if self.awaiting {
            // Not complete: shadow and trap still belong to it.
            cpu.set_attention(attention::SHADOW, shadow);
            return Ok(end);
        }
        if stepped && had_rf != 0 && !cpu.delivered {
            cpu.rflags &= !rflags::RF;
        }
        self.debug_traps(single_step && !self.cpu.delivered)?;
        if self.halted && self.cpu.delivered {
            // A trap after HLT: its handler runs.
            self.halted = false;
            self.cpu.exit = None;
            return Ok(End::Next);
        }
        Ok(end)
    }

    fn debug_traps(&mut self, single_step: bool) -> Result<(), TripleFault> {
        let cpu = &mut self.cpu;
        let held_off = cpu.attention & attention::SHADOW != 0 && cpu.shadow_by_ss;
        let mut bits = cpu.debug_pending;
        if single_step {
            bits |= dr6::BS;
        }
        if bits == 0 || held_off {
            return Ok(());
        }
        cpu.debug_pending = 0;
        cpu.set_attention(attention::DEBUG, false);
        cpu.dr[4] = cpu.dr[4] & !0xf | bits;
        deliver::raise(cpu, Exception::plain(vector::DB))
    }

    /// Runs at most `most` instructions of the block at RIP.
    #[inline(always)]
    pub(crate) fn execute(&mut self, most: u32) -> Result<End, TripleFault> {
        let cpu = &mut self.cpu;
        cpu.delivered = false;
        let start = cpu.rip;
        let block = match self.cache.at_rip(cpu) {
            Ok(block) => block,
            Err(_) => {
                let fault = cpu.fault;
                deliver::raise(cpu, fault)?;
                return Ok(End::Next);
            }
        };
        let ops = &block.ops;
        cpu.limit = (ops.len() as u32).min(most);
        if cpu.code_size != CodeSize::Bits64 {
            let allowed = ops_inside_limit(cpu, ops, start);
            if allowed == 0 {
                deliver::raise(cpu, Exception::gp(0))?;
                return Ok(End::Next);
            }
            cpu.limit = cpu.limit.min(allowed);
        }
        cpu.gpr[usize::from(RIP_SLOT)] = start;
        cpu.rip = start.wrapping_add(u64::from(block.bytes)) & cpu.ip_mask;
        let mut done = 0;
        while done < cpu.limit as usize {
            let op = &ops[done];
            if cpu.replay.is_active() {
                cpu.replay.rewind();
            }
            if let Err(stop) = (op.run)(cpu, op) {
                cpu.instructions += done as u64;
                let op = *op;
                return self.stopped(stop, start, op);
            }
            done += 1;
        }
        cpu.instructions += done as u64;
        if done < ops.len() {
            cpu.rip = start.wrapping_add(u64::from(ops[done].start)) & cpu.ip_mask;
        }
        if cpu.replay.is_active() {
            cpu.replay.clear();
        }
        Ok(End::Next)
    }

    /// The instruction `op` of the block at `start` did not simply finish.
    #[cold]
    pub(crate) fn stopped(&mut self, stop: Stop, start: u64, op: Op) -> Result<End, TripleFault> {
        let cpu = &mut self.cpu;
        let at = start.wrapping_add(u64::from(op.start)) & cpu.ip_mask;
        let after = at.wrapping_add(u64::from(op.len)) & cpu.ip_mask;
        match stop {
            Stop::Fault => {
                cpu.rip = at;
                cpu.replay.clear();
                let fault = cpu.fault;
                deliver::raise(cpu, fault)?;
                Ok(End::Next)
            }
            Stop::NonCanonical => {
                cpu.rip = at;
                cpu.replay.clear();
                let vector = if op.flags & STACK != 0 {
                    vector::SS
                } else {
                    vector::GP
                };
                deliver::raise(cpu, Exception::with_code(vector, 0))?;
                Ok(End::Next)
            }
            Stop::Exit => {
                cpu.rip = at;
                self.awaiting = true;
                Ok(End::Exit)
            }
            Stop::Repeat => {
                cpu.rip = at;
                cpu.replay.clear();
                Ok(End::Next)
            }
            Stop::Leave => {
                self.halted = true;
                cpu.rip = after;
                cpu.instructions += 1;
                cpu.replay.clear();
                Ok(End::Exit)
            }
            Stop::Trap => {
                // RIP is right already: after a task switch it is the new task's.
                cpu.instructions += 1;
                cpu.replay.clear();
                let fault = cpu.fault;
                deliver::raise(cpu, fault)?;
                Ok(End::Next)
            }
        }
    }
}

/// Bits of DR6 for the instruction breakpoints that match RIP.
fn instruction_breakpoints(cpu: &Cpu) -> u64 {
    let gla = linear_rip(cpu);
    let matches = |n: usize| {
        let enabled = cpu.dr[5] >> (2 * n) & 3 != 0;
        let on_execution = cpu.dr[5] >> (16 + 4 * n) & 3 == 0;
        enabled && on_execution && cpu.dr[n] == gla
    };
    (0..4)
        .filter(|&n| matches(n))
        .fold(0, |bits, n| bits | 1 << n)
}

/// How many of the block's instructions lie inside the limit of CS.
#[inline]
fn ops_inside_limit(cpu: &Cpu, ops: &[Op], start: u64) -> u32 {
    let limit = u64::from(cpu.segments[1].limit);
    // A restored RIP may be anything; beyond every limit it stays.
    let end = |op: &Op| start.saturating_add(u64::from(op.start) + u64::from(op.len) - 1);
    match ops.last() {
        Some(last) if end(last) <= limit => ops.len() as u32,
        _ => ops.iter().take_while(|op| end(op) <= limit).count() as u32,
    }
}
