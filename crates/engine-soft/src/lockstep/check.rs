//! Running a unit three times: translated with whatever the TLB has, translated again, interpreted.

use engine::Exit;
use x86::Exception;

use super::registers::Registers;
use crate::cpu::{Cpu, RIP_SLOT, attention};
use crate::interp::op::{Op, Stop};
use crate::interp::run::{End, Interpreter};
use crate::interp::system::deliver::TripleFault;
use crate::translate::Left;

/// A unit has fewer instructions; the interpreter repeats those that repeat themselves.
const MOST: u64 = 1 << 16;

/// A handler's way out: why, where the instruction is, and what it left in the vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stopped {
    stop: Stop,
    at: u64,
    fault: Option<Exception>,
    exit: Option<Exit>,
}

impl Stopped {
    fn new(cpu: &Cpu, stop: Stop, start: u64, op: &Op) -> Stopped {
        let has_fault = matches!(stop, Stop::Fault | Stop::Trap);
        Stopped {
            stop,
            at: start.wrapping_add(u64::from(op.start)) & cpu.ip_mask,
            fault: has_fault.then_some(cpu.fault),
            exit: cpu.exit.clone(),
        }
    }
}

/// How a run of the unit ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    registers: Registers,
    stopped: Option<Stopped>,
}

impl Ended {
    fn new(cpu: &Cpu, stopped: Option<Stopped>) -> Ended {
        let mut registers = Registers::of(cpu);
        if stopped.as_ref().is_some_and(|s| s.stop != Stop::Trap) {
            // Not yet what it will be.
            registers.rip = 0;
        }
        Ended { registers, stopped }
    }

    fn differences(&self, other: &Ended) -> Vec<String> {
        let mut found = self.registers.differences(&other.registers);
        if self.stopped != other.stopped {
            found.push(format!(
                "stopped: {:x?} / {:x?}",
                self.stopped, other.stopped
            ));
        }
        found
    }
}

/// What the interpreter came to.
enum Verdict {
    /// The same, and how the run loop goes on.
    Same(Option<(Stop, u64, Op)>),
    /// Translated code, then the interpreter.
    Differs(Vec<String>),
}

impl Interpreter {
    /// Runs the unit at RIP and checks it; interprets what has none.
    #[cold]
    #[inline(never)]
    pub(crate) fn check_one(&mut self) -> Result<End, TripleFault> {
        let Some(translator) = &mut self.translator else {
            return self.execute(u32::MAX);
        };
        let Some(entry) = translator.unit_at(&mut self.cpu) else {
            return self.execute(u32::MAX);
        };
        let before = Registers::of(&self.cpu);
        let mut verdict = self.run_three_times(entry, &before);
        if matches!(verdict, Verdict::Differs(_)) && before.rip == self.cpu.rip {
            // What the TLB learned at the unit's end may not be known at its start.
            self.cpu.mmu.flush_all();
            self.compared.flushed += 1;
            verdict = self.run_three_times(entry, &before);
        }
        self.compared.units += 1;
        match verdict {
            Verdict::Same(None) if self.cpu.rip == before.rip && self.idle(&before) => {
                // Translated code did not want to run.
                self.execute(u32::MAX)
            }
            Verdict::Same(None) => Ok(End::Next),
            Verdict::Same(Some((stop, start, op))) => self.stopped(stop, start, op),
            Verdict::Differs(lines) => {
                let what = self.difference(before.rip, &lines);
                self.cpu.exit = Some(Exit::Failed { what });
                Ok(End::Exit)
            }
        }
    }

    fn idle(&self, before: &Registers) -> bool {
        Registers::of(&self.cpu) == *before
    }

    /// With a difference everything is put back.
    fn run_three_times(&mut self, entry: u64, before: &Registers) -> Verdict {
        self.cpu.mmu.journal().begin();
        let mut translated = self.run_translated(entry);
        if !self.cpu.mmu.journal().was_told() {
            self.roll_back(before);
            translated = self.run_translated(entry);
        }
        self.roll_back(before);
        let verdict = self.interpret(&translated);
        self.compared.pages += self.cpu.mmu.journal().count() as u64;
        if matches!(verdict, Verdict::Differs(_)) {
            self.roll_back(before);
        }
        self.cpu.mmu.end_journal();
        verdict
    }

    fn roll_back(&mut self, before: &Registers) {
        self.cpu.mmu.journal().roll_back();
        before.put_back(&mut self.cpu);
    }

    fn run_translated(&mut self, entry: u64) -> Ended {
        let cpu = &mut self.cpu;
        let Some(translator) = &mut self.translator else {
            return Ended::new(cpu, None);
        };
        let count = cpu.instructions;
        let left = translator.run_one(cpu, entry);
        cpu.instructions = count;
        let stopped = match left {
            Left::Next | Left::Interpret => None,
            Left::Stopped(stop, start, op) => Some(Stopped::new(cpu, stop, start, &op)),
        };
        Ended::new(cpu, stopped)
    }

    /// Interprets until everything is as translated code left it, or can become so no more.
    fn interpret(&mut self, wanted: &Ended) -> Verdict {
        let goal = wanted.registers.rip;
        let mut done = 0;
        // What differed where translated code ended: it may come by there more than once.
        let mut nearest = None;
        if wanted.stopped.is_none() && self.cpu.rip == goal && self.is_equal(wanted) {
            return Verdict::Same(None);
        }
        while done < MOST {
            let cpu = &mut self.cpu;
            let start = cpu.rip;
            let Ok(block) = self.cache.at_rip(cpu) else {
                break;
            };
            let ops = block.ops.to_vec();
            let end = start.wrapping_add(u64::from(block.bytes)) & cpu.ip_mask;
            let mut n = 0;
            while n < ops.len() && done < MOST {
                let op = ops[n];
                let cpu = &mut self.cpu;
                cpu.set_attention(attention::SHADOW, false);
                cpu.limit = u32::MAX;
                cpu.gpr[usize::from(RIP_SLOT)] = start;
                cpu.rip = end;
                done += 1;
                let result = (op.run)(cpu, &op);
                if let Err(stop) = result {
                    let stopped = Stopped::new(cpu, stop, start, &op);
                    let here = Ended::new(cpu, Some(stopped));
                    let equal = here == *wanted && self.cpu.mmu.journal().differences(1).is_empty();
                    if equal {
                        self.count(done - 1);
                        return Verdict::Same(Some((stop, start, op)));
                    }
                    if stop == Stop::Repeat {
                        continue;
                    }
                    return nearest.unwrap_or_else(|| self.differs(&here, wanted));
                }
                n += 1;
                if n < ops.len() {
                    cpu.rip = start.wrapping_add(u64::from(ops[n].start));
                }
                if wanted.stopped.is_none() && cpu.rip == goal {
                    let here = Ended::new(cpu, None);
                    if here == *wanted && self.cpu.mmu.journal().differences(1).is_empty() {
                        self.count(done);
                        return Verdict::Same(None);
                    }
                    if nearest.is_none() {
                        nearest = Some(self.differs(&here, wanted));
                    }
                }
                if self.cpu.limit == 0 {
                    break;
                }
            }
            if n == ops.len() && self.cpu.rip != end {
                break;
            }
        }
        let here = Ended::new(&self.cpu, None);
        nearest.unwrap_or_else(|| self.differs(&here, wanted))
    }

    fn count(&mut self, instructions: u64) {
        self.cpu.instructions += instructions;
        self.compared.instructions += instructions;
    }

    fn is_equal(&mut self, wanted: &Ended) -> bool {
        Ended::new(&self.cpu, None) == *wanted && self.cpu.mmu.journal().differences(1).is_empty()
    }

    fn differs(&mut self, here: &Ended, wanted: &Ended) -> Verdict {
        let mut lines = wanted.differences(here);
        for (gpa, then, now) in self.cpu.mmu.journal().differences(16) {
            lines.push(format!("byte at {gpa:#x}: {then:#x} / {now:#x}"));
        }
        Verdict::Differs(lines)
    }
}
