//! REP MOVS and REP STOS where all elements lie in one page that may be accessed as it is: most are a
//! few words long, and a handler would cost more than they do. Spec: Intel SDM Vol. 2, "MOVS", "STOS"
//! and "REP".

use iced_x86::{Code, Instruction, OpKind, Register};
use x86::register::rflags;

use super::assembler::condition;
use super::cold::Miss;
use super::emitter::{Emitter, Refused, Way};
use super::native;
use super::registers::{GUEST_RAX, Number, R12, RAX, RCX};
use crate::interp::op::Op;

const RSI: Number = 6;
const RDI: Number = 7;

/// Bytes of an element of a MOVS or STOS, and whether it is a MOVS.
fn element(code: Code) -> Option<(u8, bool)> {
    Some(match code {
        Code::Movsb_m8_m8 => (1, true),
        Code::Movsd_m32_m32 => (4, true),
        Code::Movsq_m64_m64 => (8, true),
        Code::Stosb_m8_AL => (1, false),
        Code::Stosd_m32_EAX => (4, false),
        Code::Stosq_m64_RAX => (8, false),
        _ => return None,
    })
}

/// Is it one whose repetition may have a translation?
pub(super) fn is_string(insn: &Instruction) -> bool {
    element(insn.code()).is_some()
}

/// Is it repeated, its addresses 64 bits wide, and its source not through FS or GS?
fn is_plain(insn: &Instruction) -> bool {
    let repeats = insn.has_rep_prefix() || insn.has_repne_prefix();
    let near = !matches!(insn.segment_prefix(), Register::FS | Register::GS);
    repeats && near && insn.op0_kind() == OpKind::MemoryESRDI
}

impl Emitter<'_> {
    /// Uses R12.
    pub(super) fn string(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        let (size, moves) = element(insn.code())
            .filter(|_| is_plain(insn))
            .ok_or(Refused)?;
        self.flags_to_memory();
        self.asm.test_word(native::RFLAGS, rflags::DF as u32);
        let mut slow: Vec<Miss> = vec![self.asm.jump_if(condition::NOT_EQUAL).into()];
        // cmp rcx, the elements of a page; then nothing that follows is too large
        self.asm.raw(&[0x48, 0x81, 0xf9]);
        self.asm.raw(&(0x1000 / u32::from(size)).to_le_bytes());
        slow.push(self.asm.jump_if(condition::ABOVE).into());
        // test ecx, ecx
        self.asm.raw(&[0x85, 0xc9]);
        let nothing = self.asm.jump_if(condition::EQUAL);
        if moves {
            slow.push(self.range(Way::Read, RSI, size));
            self.asm.copy(R12, RAX);
        }
        slow.push(self.range(Way::Write, RDI, size));
        if moves {
            self.copy_range(size, &mut slow);
        } else {
            self.fill_range(size);
        }
        self.asm.land(nothing);
        self.slow_way(slow, op);
        Ok(())
    }

    /// Host address of RCX elements at a pointer into RAX, their bytes into R13; the jump is taken where there is none.
    fn range(&mut self, way: Way, pointer: Number, size: u8) -> Miss {
        self.bytes(size);
        self.asm.copy(RAX, pointer);
        let stub = self.frame.stubs.range(way, self.frame.mode.set());
        self.asm.call(stub);
        self.asm.jump_if(condition::EQUAL).into()
    }

    /// Bytes of RCX elements into R13.
    fn bytes(&mut self, size: u8) {
        // lea r13, [rcx * size]
        let scale = size.trailing_zeros() as u8;
        self.asm
            .raw(&[0x4c, 0x8d, 0x2c, scale << 6 | RCX << 3 | 5, 0, 0, 0, 0]);
    }

    /// REP STOS or REP MOVS of the host.
    fn repeat(&mut self, size: u8, opcode: u8) {
        match size {
            1 => self.asm.raw(&[0xf3, opcode]),
            4 => self.asm.raw(&[0xf3, opcode + 1]),
            _ => self.asm.raw(&[0xf3, 0x48, opcode + 1]),
        }
    }

    fn fill_range(&mut self, size: u8) {
        // mov r12, rdi; sub r12, rax: from the host's address to the guest's
        self.asm.copy(R12, RDI);
        self.asm.raw(&[0x49, 0x29, 0xc4]);
        self.asm.copy(RDI, RAX);
        self.asm.copy(RAX, GUEST_RAX);
        self.repeat(size, 0xaa);
        // add rdi, r12
        self.asm.raw(&[0x4c, 0x01, 0xe7]);
    }

    /// From R12 to RAX. Where they overlap such that elements are read after they were written, the
    /// handler knows better how.
    fn copy_range(&mut self, size: u8, slow: &mut Vec<Miss>) {
        // sub rax, r12; cmp rax, r13; lea rax, [rax + r12]
        self.asm.raw(&[0x4c, 0x29, 0xe0, 0x4c, 0x39, 0xe8]);
        self.asm.raw(&[0x4a, 0x8d, 0x04, 0x20]);
        slow.push(self.asm.jump_if(condition::BELOW).into());
        // push rsi; push rdi
        self.asm.raw(&[0x56, 0x57]);
        self.asm.copy(RSI, R12);
        self.asm.copy(RDI, RAX);
        self.repeat(size, 0xa4);
        // pop rdi; pop rsi; add rdi, r13; add rsi, r13
        self.asm
            .raw(&[0x5f, 0x5e, 0x4c, 0x01, 0xef, 0x4c, 0x01, 0xee]);
    }
}
