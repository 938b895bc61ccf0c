//! BT, BTS, BTR and BTC of a bit string in memory, whose bit's number is in a register and may be any.
//! Spec: Intel SDM Vol. 2, "BT—Bit Test" and its kin.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::emitter::{Emitter, Refused, Way};
use super::registers::{R12, R13, RAX};
use crate::interp::op::{AddressForm, Op};

pub(super) fn is_bit_string(insn: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(insn.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc)
        && insn.op0_kind() == OpKind::Memory
        && insn.op1_kind() == OpKind::Register
}

impl Emitter<'_> {
    /// The word with the bit is found first; then the host does the same to that word alone. Uses R12.
    pub(super) fn bit_string(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        let size = insn.op1_register().size() as u32;
        // An address of 32 bits begins again at zero, beyond what is added here.
        if self.frame.mode.code32 || size < 4 || op.form != AddressForm::Long64 {
            return Err(Refused);
        }
        let (w, shift) = if size == 8 { (8, 6) } else { (0, 5) };
        self.flags_to_memory();
        self.address(insn)?;
        let host = self.guest_in(insn.op1_register(), R13);
        let high = host >> 3;
        // mov r12, host; and r12d, 31 or 63
        self.asm.copy(R12, host);
        self.asm.raw(&[0x41, 0x83, 0xe4, size as u8 * 8 - 1]);
        if size == 8 {
            self.asm.copy(R13, host);
        } else {
            // movsxd r13, host
            self.asm.raw(&[0x4c | high, 0x63, 0xe8 | host & 7]);
        }
        // sar r13, shift; lea rax, [rax + r13 * size]
        self.asm.raw(&[0x49, 0xc1, 0xfd, shift]);
        let scale = size.trailing_zeros() as u8;
        self.asm.raw(&[0x4a, 0x8d, 0x04, scale << 6 | 5 << 3]);
        let (way, opcode) = match insn.mnemonic() {
            Mnemonic::Bt => (Way::Read, 0xa3),
            Mnemonic::Bts => (Way::Write, 0xab),
            Mnemonic::Btr => (Way::Write, 0xb3),
            _ => (Way::Write, 0xbb),
        };
        let slow = self.translate(way, size, 1);
        self.asm.copy(R13, RAX);
        self.flags_to_host();
        if insn.has_lock_prefix() {
            self.asm.raw(&[0xf0]);
        }
        // bt [r13 + 0], r12
        self.asm.raw(&[0x45 | w, 0x0f, opcode, 0x65, 0]);
        self.flags_written(None);
        self.slow_way(slow, op);
        Ok(())
    }
}
