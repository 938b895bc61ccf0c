//! AH, CH, DH and BH as sources where they cannot be renamed: an instruction that names one cannot name
//! R8 to R15 beside it, which most of what translations are made of lies in. They are moved to AL.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::assembler::Assembler;
use super::emitter::{Emitter, Refused, Way};
use super::registers::{R13, RAX, host_of, is_high_byte, number};
use crate::interp::op::Op;

/// Is it a MOV to memory or a MOVZX from such a register?
pub(super) fn is_plain_move(insn: &Instruction) -> bool {
    let high = insn.op_count() == 2
        && insn.op1_kind() == OpKind::Register
        && is_high_byte(insn.op1_register());
    let to = insn.op0_kind();
    let plain = match insn.mnemonic() {
        Mnemonic::Mov => to == OpKind::Memory,
        Mnemonic::Movzx => to == OpKind::Register && insn.op0_register().size() >= 4,
        _ => false,
    };
    high && plain
}

impl Emitter<'_> {
    /// Translates one that [`is_plain_move`]. Keeps EFLAGS, but for an address check.
    pub(super) fn high_byte(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        let source = insn.op1_register();
        if insn.mnemonic() == Mnemonic::Movzx {
            self.high_byte_in_rax(source)?;
            self.put_guest(insn.op0_register(), RAX);
            return Ok(());
        }
        let mut store = *insn;
        store.set_op1_register(Register::AL);
        let mut slow = Vec::new();
        if let Some(reached) = self.reached {
            if reached.index().is_some_and(|(index, _)| index == RAX) {
                return Err(Refused);
            }
            self.load_reached(reached);
            let (pointer, index) = (reached.pointer(), reached.index());
            Assembler::point_with(&mut store, pointer, index, reached.disp);
        } else {
            self.free_flags();
            self.address(insn)?;
            slow = self.translate(Way::Write, 1, 1);
            self.asm.copy(R13, RAX);
            Assembler::point_at(&mut store, R13, 0);
        }
        self.high_byte_in_rax(source)?;
        self.asm.encode(&store)?;
        self.slow_way(slow, op);
        Ok(())
    }

    /// The byte, zero-extended.
    fn high_byte_in_rax(&mut self, register: Register) -> Result<(), Refused> {
        let host = host_of(number(register)).ok_or(Refused)?;
        self.asm.copy_low(RAX, host);
        // movzx eax, ah
        self.asm.raw(&[0x0f, 0xb6, 0xc4]);
        Ok(())
    }
}
