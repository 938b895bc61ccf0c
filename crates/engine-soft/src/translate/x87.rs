//! x87 and MMX instructions, which become themselves over the host's x87 unit.
//!
//! A unit that has any begins with the guest's state loaded ([`super::x87_state`]), all exceptions
//! masked and none pending; so nothing in it can raise #MF, and only a memory operand can fault. The
//! instructions that load or store whole states stay with their handlers.

use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind, Register};

use super::assembler::condition;
use super::emitter::{Emitter, Refused, Way};
use super::registers::RAX;
use super::x87_state::{self as state, ALL_MASKED};
use crate::interp::op::Op;
use crate::interp::vector::rules;

/// What a unit has done about the x87.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Progress {
    /// Its code runs with the guest's state loaded.
    pub(super) loaded: bool,
    /// The page of the last instruction is noted.
    pub(super) page: bool,
    /// FDP follows every memory operand, not only those of exceptions.
    data_pointer: bool,
}

/// Can this x87 or MMX instruction become itself, or have a translation here?
pub(super) fn is_x87(insn: &Instruction) -> bool {
    insn.encoding() == EncodingKind::Legacy
        && (is_own(insn) || is_plain_control(insn) || sets_pointer(insn) || is_mmx(insn))
}

/// Is it an MMX instruction that works on vector registers too, or rounds as MXCSR says?
pub(super) fn uses_vectors(insn: &Instruction) -> bool {
    let vectors = registers(insn).any(Register::is_xmm) || rules::uses_mxcsr(insn.mnemonic());
    is_mmx(insn) && vectors
}

fn registers(insn: &Instruction) -> impl Iterator<Item = Register> {
    (0..insn.op_count())
        .filter(|&n| insn.op_kind(n) == OpKind::Register)
        .map(|n| insn.op_register(n))
}

/// Those with a translation of their own.
pub(super) fn is_own(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Fldcw | Mnemonic::Wait)
}

/// Control instructions that the host may run as they are.
fn is_plain_control(insn: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(insn.mnemonic(), M::Fnstcw | M::Fnstsw | M::Fnclex)
}

/// Those that handlers of exceptions may ask for.
pub(super) fn sets_pointer(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let control = matches!(
        insn.mnemonic(),
        M::Fninit
            | M::Fneni
            | M::Fndisi
            | M::Fnsetpm
            | M::Fnstenv
            | M::Fldenv
            | M::Fnsave
            | M::Frstor
    );
    rules::is_x87(insn) && !control && !is_own(insn) && !is_plain_control(insn)
}

fn is_mmx(insn: &Instruction) -> bool {
    let known = |r: Register| r.is_mm() || r.is_xmm() || r.is_gpr();
    insn.mnemonic() == Mnemonic::Emms
        || insn.mnemonic() != Mnemonic::Maskmovq
            && registers(insn).any(Register::is_mm)
            && registers(insn).all(known)
}

impl Emitter<'_> {
    /// From here on the host's x87 state is the guest's. At a unit's start only.
    pub(super) fn need_x87(&mut self, data_pointer: bool) {
        self.x87 = Progress {
            loaded: true,
            page: false,
            data_pointer,
        };
        self.asm.test_byte(state::LOADED);
        self.load_when_equal(self.frame.stubs.x87.load);
    }

    /// Translates one that [`is_own`].
    pub(super) fn own_x87(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        match insn.mnemonic() {
            // No exception can be pending.
            Mnemonic::Wait => Ok(()),
            _ => self.fldcw(insn, op),
        }
    }

    /// Only where all exceptions stay masked. The word is copied before it is checked: another vCPU
    /// may change the original.
    fn fldcw(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        self.flags_to_memory();
        self.address(insn)?;
        let mut slow = self.translate(Way::Read, 2, 1);
        // movzx eax, word [rax]; mov gs:[WORD], eax; not eax; test al, ALL_MASKED
        self.asm.raw(&[0x0f, 0xb7, 0x00, 0x65, 0x89, 0x04, 0x25]);
        self.asm.raw(&state::WORD.to_le_bytes());
        self.asm.raw(&[0xf7, 0xd0]);
        self.asm.test_al(ALL_MASKED as u8);
        slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        // fldcw gs:[WORD]
        self.asm.raw(&[0x65, 0xd9, 0x2c, 0x25]);
        self.asm.raw(&state::WORD.to_le_bytes());
        self.slow_way(slow, op);
        Ok(())
    }

    /// What the next instruction, a handler above all, must find of the last-instruction pointers after
    /// one that [`sets_pointer`]. Keeps EFLAGS; uses both scratches.
    pub(super) fn note_x87(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        if !self.x87.page {
            state::note_page(self.asm);
        }
        state::note_offset(self.asm, self.frame.unit + op.start);
        let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
        if memory && self.x87.data_pointer {
            self.offset(insn, super::registers::wide(RAX))?;
            self.asm.store(state::DATA_POINTER, RAX);
        }
        self.x87.page = true;
        Ok(())
    }
}
