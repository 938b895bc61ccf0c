//! What the translator asks of an instruction, answered once.
//!
//! iced-x86 answers each question anew from several tables, and a dozen of them are asked of every
//! instruction that is translated. Nearly all answers depend on the instruction's *form* alone: its
//! `Code`, whether an operand is in memory, and the size of code. So they are found when a form is first
//! met; what depends on registers and immediates is added for each instruction.

use iced_x86::{
    Code, CodeSize, EncodingKind, Instruction, InstructionInfo, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

use super::emitter::Way;
use super::registers::{Number, RCX, number, sized};
use super::simple::{self, writes};
use super::{make, special, x87};
use crate::interp::vector::available::Available;

/// Answers of yes or no.
pub(super) mod is {
    /// It may become itself.
    pub(crate) const SIMPLE: u32 = 1 << 0;
    /// It has a translation of its own, where RAX and R13 are enough.
    pub(crate) const SPECIAL: u32 = 1 << 1;
    /// An x87 or MMX instruction that can be translated.
    pub(crate) const X87: u32 = 1 << 2;
    /// One of those with a translation of its own.
    pub(crate) const OWN_X87: u32 = 1 << 3;
    /// One that handlers of exceptions may ask for.
    pub(crate) const SETS_POINTER: u32 = 1 << 4;
    /// A PUSH, POP or LEAVE as wide as addresses.
    pub(crate) const STACK: u32 = 1 << 5;
    /// A NOP, a hint or a prefetch.
    pub(crate) const NOTHING: u32 = 1 << 6;
    /// It needs SSE or AVX to be allowed.
    pub(crate) const SSE: u32 = 1 << 7;
    pub(crate) const AVX: u32 = 1 << 8;
    /// The vector registers must be loaded for it.
    pub(crate) const VECTOR: u32 = 1 << 9;
    /// It ends blocks, but usually goes on with the next instruction.
    pub(crate) const FALLS_THROUGH: u32 = 1 << 10;
    /// It does not do the same when it runs again from the same state.
    pub(crate) const UNREPEATABLE: u32 = 1 << 11;
    /// The flags of before must be in EFLAGS: it reads them, or some survive it.
    pub(crate) const NEEDS_FLAGS: u32 = 1 << 12;
    pub(crate) const WRITES_FLAGS: u32 = 1 << 13;
    /// It writes all status flags, whatever they were.
    pub(crate) const REPLACES_FLAGS: u32 = 1 << 14;
    /// It must run with the guest's RAX in RAX.
    pub(crate) const THROUGH_RAX: u32 = 1 << 15;
    pub(crate) const HAS_MEMORY: u32 = 1 << 16;
    /// LEA.
    pub(crate) const ADDRESS: u32 = 1 << 17;
    /// Groups of accesses end before it, though it has a translation.
    pub(crate) const ENDS_GROUPS: u32 = 1 << 20;
    /// What it does to flags depends on an immediate.
    pub(super) const SHIFT: u32 = 1 << 18;
    /// Of a register with itself, it does not depend on it.
    pub(super) const CLEARS: u32 = 1 << 19;
}

/// An access to memory that is done in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) way: Way,
    /// In bytes, 1 to 32.
    pub(super) size: u8,
    /// What its address must be a multiple of.
    pub(super) align: u8,
}

/// What is known of one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    answers: u32,
    /// The instruction sets that it needs, of those that a processor may lack.
    pub(super) needs: Available,
    /// The general registers that it writes, one bit each.
    pub(super) writes: u16,
    /// Operands that it reads, and those that it writes, one bit each.
    reads_operand: u8,
    writes_operand: u8,
    /// Its one access to memory, if it has one that can be done in place.
    pub(super) access: Option<Access>,
}

impl Facts {
    /// Is any of these true of it?
    #[inline(always)]
    pub(super) fn any(&self, answers: u32) -> bool {
        self.answers & answers != 0
    }

    pub(super) fn reads_operand(&self, n: u32) -> bool {
        self.reads_operand >> n & 1 != 0
    }

    pub(super) fn writes_operand(&self, n: u32) -> bool {
        self.writes_operand >> n & 1 != 0
    }

    fn set(&mut self, answers: u32, yes: bool) {
        self.answers = self.answers & !answers | if yes { answers } else { 0 };
    }
}

/// The forms that were met.
pub(super) struct Forms {
    infos: InstructionInfoFactory,
    /// Where in `met` a form is.
    places: Box<[u16]>,
    /// `writes` has those registers only that are no operands. The first is nobody's.
    met: Vec<Facts>,
}

/// Operands that may be general registers.
const OPERANDS: u32 = 4;

impl Forms {
    pub(super) fn new() -> Forms {
        let mut forms = Forms {
            infos: InstructionInfoFactory::new(),
            places: vec![0; Code::values().len() * 4].into_boxed_slice(),
            met: Vec::new(),
        };
        let nobody = forms.facts_of_form(&Instruction::default());
        forms.met.push(nobody);
        forms
    }

    pub(super) fn facts(&mut self, insn: &Instruction) -> Facts {
        let mut facts = self.of_form(insn);
        let same = facts.any(is::CLEARS)
            && insn.op0_kind() == OpKind::Register
            && insn.op1_kind() == OpKind::Register
            && insn.op0_register() == insn.op1_register();
        if same {
            facts.reads_operand = 0;
        }
        for n in 0..insn.op_count().min(OPERANDS) {
            if insn.op_kind(n) != OpKind::Register {
                continue;
            }
            let register = insn.op_register(n);
            if !register.is_gpr() {
                continue;
            }
            if facts.writes_operand(n) {
                facts.writes |= 1 << number(register);
            }
            if register == Register::AH {
                facts.answers |= is::THROUGH_RAX;
            }
        }
        if facts.any(is::SHIFT) {
            facts.set_flags(insn);
        }
        if insn.has_rep_prefix() || insn.has_repne_prefix() {
            facts.writes |= 1 << RCX;
        }
        facts
    }

    fn of_form(&mut self, insn: &Instruction) -> Facts {
        let narrow = insn.code_size() != CodeSize::Code64;
        let index = insn.code() as usize * 4
            + usize::from(simple::has_memory(insn)) * 2
            + usize::from(narrow);
        if let Some(place @ 1..) = self.places.get(index)
            && let Some(facts) = self.met.get(usize::from(*place))
        {
            return *facts;
        }
        let facts = self.facts_of_form(insn);
        if let Some(place) = self.places.get_mut(index) {
            *place = self.met.len() as u16;
            self.met.push(facts);
        }
        facts
    }

    /// `insn` is one of the form.
    fn facts_of_form(&mut self, insn: &Instruction) -> Facts {
        let insn = &placeholders(insn, 1);
        let alone = self.infos.info(&placeholders(insn, 0)).op_access(0);
        let info = self.infos.info(insn);
        let mut facts = Facts {
            answers: 0,
            needs: Available::known(insn.cpuid_features()),
            writes: 0,
            reads_operand: 0,
            writes_operand: 0,
            access: access(insn, info),
        };
        for n in 0..insn.op_count().min(OPERANDS) {
            let access = info.op_access(n);
            facts.reads_operand |= u8::from(access != OpAccess::Write) << n;
            facts.writes_operand |= u8::from(writes(access)) << n;
        }
        for used in info.used_registers() {
            let register = used.register();
            if writes(used.access()) && register.is_gpr() && !is_placeholder(register) {
                facts.writes |= 1 << number(register);
            }
        }
        let vector = simple::is_vector(insn) || special::uses_vectors(insn);
        let vex = insn.encoding() == EncodingKind::VEX;
        for (answer, yes) in [
            (is::SIMPLE, simple::is_simple(insn)),
            (is::SPECIAL, special::is_special(insn)),
            (is::ENDS_GROUPS, special::ends_groups(insn)),
            (is::X87, x87::is_x87(insn)),
            (is::OWN_X87, x87::is_own(insn)),
            (is::SETS_POINTER, x87::sets_pointer(insn)),
            (is::STACK, make::is_stack(insn)),
            (is::NOTHING, make::is_nothing(insn)),
            (is::SSE, vector && !vex),
            (is::AVX, vector && vex),
            (is::VECTOR, vector || x87::uses_vectors(insn)),
            (is::FALLS_THROUGH, make::falls_through(insn)),
            (is::UNREPEATABLE, !make::is_repeatable(insn)),
            (is::THROUGH_RAX, simple::uses_rax(insn)),
            (is::HAS_MEMORY, simple::has_memory(insn)),
            (is::ADDRESS, insn.mnemonic() == Mnemonic::Lea),
            (is::SHIFT, simple::shifts(insn)),
            (is::CLEARS, info.op_access(0) != alone),
        ] {
            facts.set(answer, yes);
        }
        facts.set_flags(insn);
        facts
    }
}

impl Facts {
    fn set_flags(&mut self, insn: &Instruction) {
        self.set(is::NEEDS_FLAGS, simple::needs_flags(insn));
        self.set(is::WRITES_FLAGS, simple::writes_flags(insn));
        self.set(is::REPLACES_FLAGS, simple::replaces_flags(insn));
    }
}

/// Registers that no instruction uses but as its operands: R12 to R15.
const PLACEHOLDER: Number = 12;

/// The instruction with other general registers as its operands, each `step` from the one before.
fn placeholders(insn: &Instruction, step: Number) -> Instruction {
    let mut other = *insn;
    for n in 0..insn.op_count().min(OPERANDS) {
        if insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_gpr() {
            let size = insn.op_register(n).size();
            other.set_op_register(n, sized(PLACEHOLDER + n as Number * step, size));
        }
    }
    other
}

fn is_placeholder(register: Register) -> bool {
    number(register) >= PLACEHOLDER
}

fn access(insn: &Instruction, info: &InstructionInfo) -> Option<Access> {
    let [used] = info.used_memory() else {
        return None;
    };
    let size = insn.memory_size().size() as u32;
    let in_place = simple::has_memory(insn) && (1..=32).contains(&size);
    in_place.then(|| Access {
        way: if writes(used.access()) {
            Way::Write
        } else {
            Way::Read
        },
        size: size as u8,
        align: simple::alignment(insn, size) as u8,
    })
}

#[cfg(test)]
mod tests;
