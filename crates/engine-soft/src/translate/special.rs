//! Instructions with a translation of their own: flags on the stack, the interrupt flag, MXCSR.

use iced_x86::{Code, Instruction, Mnemonic};

use super::assembler::condition;
use super::bits::is_bit_string;
use super::cold::Miss;
use super::control::{LOAD, Then};
use super::emitter::{Emitter, Refused, Way};
use super::native::{self, MXCSR_MASKED};
use super::registers::{GUEST_RAX, GUEST_RSP, RAX};
use super::strings::is_string;
use super::system::is_system;
use crate::interp::op::Op;

/// Is there one, where RAX and R13 are enough?
pub(super) fn is_special(insn: &Instruction) -> bool {
    uses_vectors(insn)
        || is_system(insn)
        || is_bit_string(insn)
        || is_string(insn)
        || matches!(insn.mnemonic(), Mnemonic::Cli | Mnemonic::Sti)
        || matches!(insn.code(), Code::Pushfq | Code::Popfq | Code::Push_rm64)
        || matches!(insn.code(), Code::Pushfd | Code::Popfd | Code::Push_rm32)
        || matches!(
            insn.code(),
            Code::Div_rm32 | Code::Div_rm64 | Code::Idiv_rm32 | Code::Idiv_rm64
        )
}

/// Do groups of accesses end before it? It needs what they point with, or changes what may be accessed or
/// where segments are.
pub(super) fn ends_groups(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let changes_access = matches!(insn.mnemonic(), M::Stac | M::Clac);
    let changes_bases = matches!(insn.mnemonic(), M::Swapgs | M::Wrfsbase | M::Wrgsbase);
    changes_access || changes_bases || is_bit_string(insn) || is_string(insn)
}

/// Must the vector registers be loaded for it?
pub(super) fn uses_vectors(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr)
}

const STATUS: u32 = 0x8d5;
const IF: u32 = 0x200;
/// RF and VM read as zero in a pushed image.
const PUSHED: u32 = !0x3_0000;

impl Emitter<'_> {
    pub(super) fn special(&mut self, insn: &Instruction, op: &Op) -> Result<Then, Refused> {
        if is_system(insn) {
            return self.system(insn, op);
        }
        match insn.mnemonic() {
            _ if is_bit_string(insn) => self.bit_string(insn, op),
            _ if is_string(insn) => self.string(insn, op),
            Mnemonic::Pushfq | Mnemonic::Pushfd => self.pushf(op),
            Mnemonic::Popfq | Mnemonic::Popfd => self.popf(op),
            Mnemonic::Cli | Mnemonic::Sti if !self.frame.mode.is_supervisor() => Err(Refused),
            Mnemonic::Cli => self.cli(),
            Mnemonic::Sti => self.sti(op),
            Mnemonic::Push => self.push_memory(insn, op),
            Mnemonic::Div | Mnemonic::Idiv => self.divide(insn, op),
            _ => self.ldmxcsr(insn, op),
        }?;
        Ok(Then::GoOn)
    }

    fn pushf(&mut self, op: &Op) -> Result<(), Refused> {
        let slow = self.slot_below()?;
        // movzx r13d, byte gs:[status + 1]; and r13d, 0d5h; or r13, gs:[rflags]; and r13d, PUSHED
        self.asm.raw(&[0x65, 0x44, 0x0f, 0xb6, 0x2c, 0x25]);
        self.asm.raw(&(native::STATUS + 1).to_le_bytes());
        self.asm.mask_r13(0xd5);
        self.asm.raw(&[0x65, 0x4c, 0x0b, 0x2c, 0x25]);
        self.asm.raw(&native::RFLAGS.to_le_bytes());
        self.asm.mask_r13(PUSHED);
        // mov [rax], r13; movzx r13d, byte gs:[status]; shl r13d, 11; or [rax], r13
        let word = self.frame.mode.word();
        let rex = self.rex_r13();
        self.asm.raw(&[rex, 0x89, 0x28]);
        self.asm.raw(&[0x65, 0x44, 0x0f, 0xb6, 0x2c, 0x25]);
        self.asm.raw(&native::STATUS.to_le_bytes());
        self.asm.raw(&[0x41, 0xc1, 0xe5, 11, rex, 0x09, 0x28]);
        self.move_rsp(-i64::from(word));
        self.slow_way(slow, op);
        Ok(())
    }

    /// Only where nothing but status flags changes.
    fn popf(&mut self, op: &Op) -> Result<(), Refused> {
        self.flags_to_memory();
        self.forget_recipe();
        let word = self.frame.mode.word();
        self.near(GUEST_RSP, 0)?;
        let mut slow = self.translate(Way::Read, word, 1);
        // mov eax, [rax]; mov r13d, eax; xor r13d, gs:[rflags]; test r13d, !STATUS
        self.asm.raw(&[0x8b, 0x00, 0x41, 0x89, 0xc5]);
        self.asm.raw(&[0x65, 0x44, 0x33, 0x2c, 0x25]);
        self.asm.raw(&native::RFLAGS.to_le_bytes());
        self.asm.raw(&[0x41, 0xf7, 0xc5]);
        self.asm.raw(&(!STATUS).to_le_bytes());
        slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        // mov r13d, eax; shr r13d, 11; and r13d, 1; shl eax, 8; and eax, 0d500h; or eax, r13d
        self.asm.raw(&[0x41, 0x89, 0xc5, 0x41, 0xc1, 0xed, 11]);
        self.asm.mask_r13(1);
        self.asm.raw(&[0xc1, 0xe0, 8, 0x25, 0x00, 0xd5, 0, 0]);
        self.asm.raw(&[0x44, 0x09, 0xe8]);
        // or eax, 200h (the bit that LAHF always sets); mov gs:[status], ax
        self.asm.raw(&[0x0d, 0x00, 0x02, 0, 0]);
        self.asm.raw(&[0x65, 0x66, 0x89, 0x04, 0x25]);
        self.asm.raw(&native::STATUS.to_le_bytes());
        self.move_rsp(word.into());
        self.slow_way(slow, op);
        Ok(())
    }

    /// REX prefix of an instruction over R13, as wide as a word of the stack, and a pointer in RAX.
    fn rex_r13(&self) -> u8 {
        if self.frame.mode.code32 { 0x44 } else { 0x4c }
    }

    fn cli(&mut self) -> Result<(), Refused> {
        self.flags_to_memory();
        // and dword gs:[rflags], !IF
        self.asm.raw(&[0x65, 0x81, 0x24, 0x25]);
        self.asm.raw(&native::RFLAGS.to_le_bytes());
        self.asm.raw(&(!IF).to_le_bytes());
        Ok(())
    }

    /// Where nobody waits for interrupts to be allowed, only the flag changes; the next instruction
    /// follows before anyone looks again.
    fn sti(&mut self, op: &Op) -> Result<(), Refused> {
        self.flags_to_memory();
        // cmp dword gs:[attention], 0
        self.asm.raw(&[0x65, 0x83, 0x3c, 0x25]);
        self.asm.raw(&native::ATTENTION.to_le_bytes());
        self.asm.raw(&[0]);
        let slow = self.asm.jump_if(condition::NOT_EQUAL);
        // or dword gs:[rflags], IF
        self.asm.raw(&[0x65, 0x81, 0x0c, 0x25]);
        self.asm.raw(&native::RFLAGS.to_le_bytes());
        self.asm.raw(&IF.to_le_bytes());
        self.slow_way(vec![slow.into()], op);
        Ok(())
    }

    /// Only where the quotient is sure to fit: for signed division, where the high half is nothing but
    /// the low half's sign, as CDQ and CQO leave it. The rest, #DE included, is the handler's.
    fn divide(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        let wide = insn.code() == Code::Div_rm64 || insn.code() == Code::Idiv_rm64;
        let mut slow = self.divisor(insn, wide)?;
        // REX.W where the operands are 64 bits wide.
        let w = u8::from(wide) << 3;
        if insn.mnemonic() == Mnemonic::Div {
            // cmp rdx, r13
            self.asm.raw(&[0x44 | w, 0x39, 0xea]);
            slow.push(self.asm.jump_if(condition::NOT_BELOW).into());
        } else {
            // lea rax, [r13 + 1]; cmp rax, 1: neither zero nor minus one
            self.asm
                .raw(&[0x41 | w, 0x8d, 0x45, 1, 0x40 | w, 0x83, 0xf8, 1]);
            slow.push(self.asm.jump_if(condition::NOT_ABOVE).into());
            // mov rax, r15; sar rax, 31 or 63; cmp rax, rdx
            let sign = if wide { 63 } else { 31 };
            self.asm
                .raw(&[0x44 | w, 0x89, 0xf8, 0x40 | w, 0xc1, 0xf8, sign]);
            self.asm.raw(&[0x40 | w, 0x39, 0xd0]);
            slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        }
        self.flags_to_host();
        self.asm.copy(RAX, GUEST_RAX);
        let divide = if insn.mnemonic() == Mnemonic::Div {
            0xf5
        } else {
            0xfd
        };
        self.asm.raw(&[0x41 | w, 0xf7, divide]);
        self.asm.copy(GUEST_RAX, RAX);
        self.flags_written(None);
        self.slow_way(slow, op);
        Ok(())
    }

    /// The divisor into R13.
    fn divisor(&mut self, insn: &Instruction, wide: bool) -> Result<Vec<Miss>, Refused> {
        let w = u8::from(wide) << 3;
        self.flags_to_memory();
        if insn.op0_kind() == iced_x86::OpKind::Register {
            let host = self.guest_in(insn.op0_register(), RAX);
            // mov r13, host
            let rex = 0x41 | w | (host >> 3) << 2;
            self.asm.raw(&[rex, 0x89, 0xc5 | (host & 7) << 3]);
            return Ok(Vec::new());
        }
        self.address(insn)?;
        let slow = self.translate(Way::Read, if wide { 8 } else { 4 }, 1);
        // mov r13, [rax]
        self.asm.raw(&[0x44 | w, 0x8b, 0x28]);
        Ok(slow)
    }

    fn push_memory(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        if insn.op0_kind() != iced_x86::OpKind::Memory {
            return Err(Refused);
        }
        self.flags_to_memory();
        let word = self.frame.mode.word();
        self.address(insn)?;
        let mut slow = self.translate(Way::Read, word, 1);
        self.asm.move_at(LOAD, word, RAX, (RAX, 0));
        self.asm.store(native::TARGET, RAX);
        slow.extend(self.slot_below()?);
        self.asm.load(super::registers::R13, native::TARGET);
        let rex = self.rex_r13();
        self.asm.raw(&[rex, 0x89, 0x28]);
        self.move_rsp(-i64::from(word));
        self.slow_way(slow, op);
        Ok(())
    }

    /// Only where all exceptions stay masked. The value is copied before it is checked: another
    /// vCPU may change the original.
    fn ldmxcsr(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        self.flags_to_memory();
        self.address(insn)?;
        let mut slow = self.translate(Way::Read, 4, 1);
        // mov eax, [rax]; test eax, 0ffff0000h
        self.asm.raw(&[0x8b, 0x00, 0xa9, 0x00, 0x00, 0xff, 0xff]);
        slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        // mov r13d, eax; and r13d, MXCSR_MASKED; cmp r13d, MXCSR_MASKED
        self.asm.raw(&[0x41, 0x89, 0xc5]);
        self.asm.mask_r13(MXCSR_MASKED);
        self.asm.raw(&[0x41, 0x81, 0xfd]);
        self.asm.raw(&MXCSR_MASKED.to_le_bytes());
        slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        // mov gs:[MXCSR], eax; ldmxcsr gs:[MXCSR]
        self.asm.raw(&[0x65, 0x89, 0x04, 0x25]);
        self.asm.raw(&native::MXCSR.to_le_bytes());
        self.asm.raw(&[0x65, 0x0f, 0xae, 0x14, 0x25]);
        self.asm.raw(&native::MXCSR.to_le_bytes());
        self.forget_recipe();
        self.slow_way(slow, op);
        Ok(())
    }
}
