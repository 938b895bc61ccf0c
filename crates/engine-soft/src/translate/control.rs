//! Stack instructions and near branches.

use iced_x86::{Code, FlowControl, Instruction, OpKind};

use super::emitter::{Emitter, Refused, Way};
use super::native;
use super::registers::{GUEST_RBP, GUEST_RSP, R13, RAX, host_of, number, wide};
use crate::interp::op::Op;

/// What an instruction did to the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// Nothing follows.
    Ended,
}

/// `mov [rax], reg`, 64 bits.
fn store_at_rax(number: u8) -> [u8; 3] {
    [0x48 | (number >> 3) << 2, 0x89, (number & 7) << 3]
}

/// `mov reg, [rax]`, 64 bits.
fn load_at_rax(number: u8) -> [u8; 3] {
    [0x48 | (number >> 3) << 2, 0x8b, (number & 7) << 3]
}

impl Emitter<'_> {
    /// PUSH, POP, LEAVE with 64-bit operands.
    pub(super) fn stack(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        match insn.code() {
            Code::Push_r64 => {
                let slow = self.slot_below()?;
                let host = self.guest_in(insn.op0_register(), R13);
                self.asm.raw(&store_at_rax(host));
                self.move_rsp(-8);
                self.slow_way(slow, op);
            }
            Code::Pushq_imm8 | Code::Pushq_imm32 => {
                let value = insn.immediate(0) as u32;
                let slow = self.slot_below()?;
                self.asm.raw(&[0x48, 0xc7, 0x00]);
                self.asm.raw(&value.to_le_bytes());
                self.move_rsp(-8);
                self.slow_way(slow, op);
            }
            Code::Pop_r64 => {
                self.flags_to_memory();
                self.asm.copy(RAX, GUEST_RSP);
                let slow = self.translate(Way::Read, 8, false);
                self.move_rsp(8);
                let guest = number(insn.op0_register());
                let host = host_of(guest).unwrap_or(R13);
                self.asm.raw(&load_at_rax(host));
                if host_of(guest).is_none() {
                    self.asm.store(native::gpr(guest), host);
                }
                self.slow_way(slow, op);
            }
            Code::Leaveq => {
                self.flags_to_memory();
                self.asm.copy(RAX, GUEST_RBP);
                let slow = self.translate(Way::Read, 8, false);
                self.asm.lea(wide(GUEST_RSP), Some(GUEST_RBP), None, 8)?;
                self.asm.raw(&load_at_rax(GUEST_RBP));
                self.slow_way(slow, op);
            }
            _ => return Err(Refused),
        }
        Ok(())
    }

    /// Host address of the eight bytes below the stack pointer into RAX.
    pub(super) fn slot_below(&mut self) -> Result<Vec<super::assembler::Jump>, Refused> {
        self.flags_to_memory();
        self.asm.lea(wide(RAX), Some(GUEST_RSP), None, -8)?;
        Ok(self.translate(Way::Write, 8, false))
    }

    /// A near branch.
    pub(super) fn control(&mut self, insn: &Instruction, op: &Op) -> Result<Then, Refused> {
        let at = op.start + u16::from(op.len);
        let target = insn.near_branch_target() as i64;
        let near = insn.op0_kind() == OpKind::NearBranch64;
        match insn.flow_control() {
            FlowControl::ConditionalBranch if near && insn.is_jcc_short_or_near() => {
                let condition = crate::interp::integer::condition::number(insn).ok_or(Refused)?;
                self.flags_to_host();
                let site = self.site(op, true);
                self.branch(condition, target, at, site);
                Ok(Then::GoOn)
            }
            FlowControl::ConditionalBranch if near => {
                let site = self.site(op, true);
                self.counted(insn, target, at, site)?;
                Ok(Then::GoOn)
            }
            FlowControl::UnconditionalBranch if near => {
                let site = self.site(op, true);
                self.go(target, at, Some(site));
                Ok(Then::Ended)
            }
            FlowControl::IndirectBranch if insn.code() == Code::Jmp_rm64 => {
                self.indirect_target(insn, op)?;
                let site = self.site(op, true);
                self.look_up(Some(site), 0);
                Ok(Then::Ended)
            }
            FlowControl::Call if near => self.call(target, at, op),
            FlowControl::IndirectCall if insn.code() == Code::Call_rm64 => {
                self.call_indirect(insn, at, op)
            }
            FlowControl::Return if matches!(insn.code(), Code::Retnq | Code::Retnq_imm16) => {
                self.ret(insn, op)
            }
            _ => Err(Refused),
        }
    }

    /// JRCXZ, JECXZ and LOOP, which neither read nor write flags.
    fn counted(
        &mut self,
        insn: &Instruction,
        target: i64,
        at: u16,
        site: u64,
    ) -> Result<(), Refused> {
        match insn.code() {
            // jrcxz taken; jmp over
            Code::Jrcxz_rel8_64 => self.asm.raw(&[0xe3, 2, 0xeb, 5]),
            Code::Jecxz_rel8_64 => self.asm.raw(&[0x67, 0xe3, 2, 0xeb, 5]),
            // lea rcx, [rcx - 1]; jrcxz over
            Code::Loop_rel8_64_RCX => self.asm.raw(&[0x48, 0x8d, 0x49, 0xff, 0xe3, 5]),
            _ => return Err(Refused),
        }
        self.taken(target, at, site);
        Ok(())
    }

    /// The target of an indirect branch into RAX.
    fn indirect_target(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        self.flags_to_memory();
        if insn.op0_kind() == OpKind::Register {
            let host = self.guest_in(insn.op0_register(), RAX);
            self.asm.copy(RAX, host);
            return Ok(());
        }
        self.address(insn)?;
        let slow = self.translate(Way::Read, 8, false);
        self.ending_slow_way(slow, op);
        self.asm.raw(&load_at_rax(RAX));
        Ok(())
    }

    /// The slow way of an instruction that ends the unit.
    fn ending_slow_way(&mut self, slow: Vec<super::assembler::Jump>, op: &Op) {
        let site = self.site(op, true);
        self.slow_way_to(slow, site);
    }

    /// Stores the return address at the host address in RAX.
    fn store_return(&mut self, at: u16) {
        self.load_rip(R13, i64::from(self.frame.unit + at));
        self.asm.raw(&store_at_rax(R13));
    }

    fn call(&mut self, target: i64, at: u16, op: &Op) -> Result<Then, Refused> {
        let offset = i64::from(self.frame.unit) + target;
        let slow = self.slot_below()?;
        self.ending_slow_way(slow, op);
        self.store_return(at);
        if (0..0x1000).contains(&offset) {
            self.move_rsp(-8);
            self.go(target, at, None);
        } else {
            self.load_rip(RAX, offset);
            let site = self.site(op, true);
            self.look_up(Some(site), -8);
        }
        Ok(Then::Ended)
    }

    fn call_indirect(&mut self, insn: &Instruction, at: u16, op: &Op) -> Result<Then, Refused> {
        self.indirect_target(insn, op)?;
        self.asm.store(native::TARGET, RAX);
        let slow = self.slot_below()?;
        self.ending_slow_way(slow, op);
        self.store_return(at);
        self.asm.load(RAX, native::TARGET);
        let site = self.site(op, true);
        self.look_up(Some(site), -8);
        Ok(Then::Ended)
    }

    fn ret(&mut self, insn: &Instruction, op: &Op) -> Result<Then, Refused> {
        let released = if insn.op_count() == 1 {
            i64::from(insn.immediate16())
        } else {
            0
        };
        self.flags_to_memory();
        self.asm.copy(RAX, GUEST_RSP);
        let slow = self.translate(Way::Read, 8, false);
        self.ending_slow_way(slow, op);
        self.asm.raw(&load_at_rax(RAX));
        let site = self.site(op, true);
        self.look_up(Some(site), 8 + released);
        Ok(Then::Ended)
    }
}
