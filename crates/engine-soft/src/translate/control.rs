//! Stack instructions and near branches.

use iced_x86::{Code, FlowControl, Instruction, MemoryOperand, OpKind};

use super::assembler::Assembler;
use super::cold::Miss;
use super::emitter::{Emitter, Refused, Way};
use super::flags::Flags;
use super::native;
use super::reached::{Address, Place};
use super::registers::{GUEST_RBP, GUEST_RSP, Number, R12, R13, RAX, host_of, number, wide};
use crate::interp::op::Op;

/// What an instruction did to the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// Nothing follows.
    Ended,
}

const RSP: Number = 4;
const RBP: Number = 5;

/// Opcodes of MOV to and from memory.
const STORE: u8 = 0x89;
pub(super) const LOAD: u8 = 0x8b;

/// Where an access to the stack goes, and the jumps for where that cannot be.
struct Slot {
    pointer: Number,
    offset: u32,
    slow: Vec<Miss>,
}

impl Slot {
    fn reached(pointer: Number, offset: u32) -> Slot {
        Slot {
            pointer,
            offset,
            slow: Vec::new(),
        }
    }

    fn at(&self) -> (Number, u32) {
        (self.pointer, self.offset)
    }

    /// The scratch register that it does not need.
    fn other_scratch(&self) -> Number {
        if self.pointer == R13 { RAX } else { R13 }
    }
}

impl Emitter<'_> {
    /// PUSH, POP, LEAVE with operands as wide as addresses.
    pub(super) fn stack(&mut self, insn: &Instruction, op: &Op) -> Result<(), Refused> {
        let word = self.frame.mode.word();
        let step = i64::from(word);
        match insn.code() {
            Code::Push_r64 | Code::Push_r32 => {
                let slot = self.slot(-step, Way::Write)?;
                let host = self.guest_in(insn.op0_register(), slot.other_scratch());
                self.asm.move_at(STORE, word, host, slot.at());
                self.move_rsp(-step);
                self.slow_way(slot.slow, op);
            }
            Code::Pushq_imm8 | Code::Pushq_imm32 | Code::Pushd_imm8 | Code::Pushd_imm32 => {
                let value = insn.immediate(0) as i32;
                let slot = self.slot(-step, Way::Write)?;
                let target = MemoryOperand::with_base(wide(slot.pointer));
                let code = match word {
                    4 => Code::Mov_rm32_imm32,
                    _ => Code::Mov_rm64_imm32,
                };
                let mut store = Instruction::with2(code, target, value)?;
                Assembler::point_at(&mut store, slot.pointer, slot.offset);
                self.asm.encode(&store)?;
                self.move_rsp(-step);
                self.slow_way(slot.slow, op);
            }
            Code::Pop_r64 | Code::Pop_r32 => {
                let slot = self.slot(0, Way::Read)?;
                self.move_rsp(step);
                let guest = number(insn.op0_register());
                let host = host_of(guest).unwrap_or(R13);
                self.asm.move_at(LOAD, word, host, slot.at());
                if host_of(guest).is_none() {
                    self.asm.store(native::gpr(guest), host);
                }
                self.slow_way(slot.slow, op);
            }
            Code::Leaveq | Code::Leaved => {
                let slot = self.slot_beside(RBP, 0, Way::Read)?;
                let stack = self.address_register(GUEST_RSP);
                self.asm.lea(stack, Some(GUEST_RBP), None, step)?;
                self.asm.move_at(LOAD, word, GUEST_RBP, slot.at());
                self.slow_way(slot.slow, op);
            }
            _ => return Err(Refused),
        }
        Ok(())
    }

    /// The word at `disp` from the stack pointer. One of the scratch registers is free afterwards.
    fn slot(&mut self, disp: i64, way: Way) -> Result<Slot, Refused> {
        self.slot_beside(RSP, disp, way)
    }

    /// The same from any guest register that has a host register.
    fn slot_beside(&mut self, base: Number, disp: i64, way: Way) -> Result<Slot, Refused> {
        if let Some(slot) = self.reached_slot() {
            return Ok(slot);
        }
        self.free_flags();
        self.near(host_of(base).ok_or(Refused)?, disp)?;
        let access = (way, self.frame.mode.word(), 1);
        if self.frame.mode.code32 {
            let slow = self.translate(access.0, access.1, access.2);
            return Ok(Slot {
                pointer: RAX,
                offset: 0,
                slow,
            });
        }
        let address = Address::beside(base, disp);
        let slow = self.translate_apart(access, Place::Scratch, address);
        Ok(Slot {
            pointer: R13,
            offset: disp as u32,
            slow,
        })
    }

    /// The word that the instruction reaches without a check. Uses RAX.
    fn reached_slot(&mut self) -> Option<Slot> {
        // What a stream's pointer follows moves with the instruction itself.
        let reached = self.reached.filter(|reached| reached.follows.is_none())?;
        let pointer = match reached.place {
            Place::Register => R12,
            Place::Scratch => R13,
            Place::Slot(number) => {
                self.asm.load(RAX, native::pointer(number));
                RAX
            }
        };
        Some(Slot::reached(pointer, reached.disp as u32))
    }

    /// Host address of the word below the stack pointer into RAX.
    pub(super) fn slot_below(&mut self) -> Result<Vec<Miss>, Refused> {
        self.flags_to_memory();
        let word = self.frame.mode.word();
        self.near(GUEST_RSP, -i64::from(word))?;
        Ok(self.translate(Way::Write, word, 1))
    }

    /// A near branch.
    pub(super) fn control(&mut self, insn: &Instruction, op: &Op) -> Result<Then, Refused> {
        match insn.code() {
            Code::Syscall => return self.syscall(op),
            Code::Sysretq => return self.sysret(op),
            _ => {}
        }
        let at = op.start + u16::from(op.len);
        let mut target = insn.near_branch_target() as i64;
        let mut near = insn.op0_kind() == OpKind::NearBranch64;
        if self.frame.mode.code32 {
            target = i64::from(target as i32);
            near = insn.op0_kind() == OpKind::NearBranch32;
        }
        let whole = matches!(
            insn.code(),
            Code::Jmp_rm64 | Code::Call_rm64 | Code::Retnq | Code::Retnq_imm16
        ) || matches!(
            insn.code(),
            Code::Jmp_rm32 | Code::Call_rm32 | Code::Retnd | Code::Retnd_imm16
        );
        match insn.flow_control() {
            FlowControl::ConditionalBranch if near && insn.is_jcc_short_or_near() => {
                let condition = self.condition_of(insn)?;
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
            FlowControl::IndirectBranch if whole => {
                self.indirect_target(insn, op)?;
                let site = self.site(op, true);
                self.look_up(Some(site), 0);
                Ok(Then::Ended)
            }
            FlowControl::Call if near => self.call(target, at, op),
            FlowControl::IndirectCall if whole => self.call_indirect(insn, at, op),
            FlowControl::Return if whole => self.ret(insn, op),
            _ => Err(Refused),
        }
    }

    /// The number of a conditional jump's condition, with the flags that it asks for in EFLAGS.
    pub(super) fn condition_of(&mut self, insn: &Instruction) -> Result<u8, Refused> {
        let condition = crate::interp::integer::condition::number(insn).ok_or(Refused)?;
        let asks_carry = matches!(condition >> 1, 1 | 3);
        if self.flags != Flags::Partial || asks_carry {
            self.flags_to_host();
        }
        Ok(condition)
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
            Code::Jecxz_rel8_64 | Code::Jecxz_rel8_32 => self.asm.raw(&[0x67, 0xe3, 2, 0xeb, 5]),
            // lea rcx, [rcx - 1]; jrcxz over. Not out of the page: should the target not be canonical,
            // the handler would count again.
            Code::Loop_rel8_64_RCX
                if (0..0x1000).contains(&(i64::from(self.frame.unit) + target)) =>
            {
                self.asm.raw(&[0x48, 0x8d, 0x49, 0xff, 0xe3, 5]);
            }
            // lea ecx, [rcx - 1]; jecxz over
            Code::Loop_rel8_32_ECX => self.asm.raw(&[0x8d, 0x49, 0xff, 0x67, 0xe3, 5]),
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
            return self.near(host, 0);
        }
        let word = self.frame.mode.word();
        self.address(insn)?;
        let slow = self.translate(Way::Read, word, 1);
        self.ending_slow_way(slow, op);
        self.asm.move_at(LOAD, word, RAX, (RAX, 0));
        Ok(())
    }

    /// The slow way of an instruction that ends the unit.
    fn ending_slow_way(&mut self, slow: Vec<Miss>, op: &Op) {
        let site = self.site(op, true);
        self.slow_way_to(slow, site);
    }

    /// Stores the return address. Keeps EFLAGS.
    fn store_return(&mut self, at: u16, scratch: Number, slot: (Number, u32)) {
        self.load_rip(scratch, i64::from(self.frame.unit + at));
        self.asm
            .move_at(STORE, self.frame.mode.word(), scratch, slot);
    }

    fn call(&mut self, target: i64, at: u16, op: &Op) -> Result<Then, Refused> {
        let offset = i64::from(self.frame.unit) + target;
        let step = i64::from(self.frame.mode.word());
        self.flags_to_memory();
        let slot = self.slot(-step, Way::Write)?;
        let (place, scratch) = (slot.at(), slot.other_scratch());
        self.ending_slow_way(slot.slow, op);
        self.store_return(at, scratch, place);
        if (0..0x1000).contains(&offset) {
            self.move_rsp(-step);
            self.go(target, at, None);
        } else {
            self.load_rip(RAX, offset);
            let site = self.site(op, true);
            self.look_up(Some(site), -step);
        }
        Ok(Then::Ended)
    }

    fn call_indirect(&mut self, insn: &Instruction, at: u16, op: &Op) -> Result<Then, Refused> {
        self.indirect_target(insn, op)?;
        self.asm.store(native::TARGET, RAX);
        let slow = self.slot_below()?;
        self.ending_slow_way(slow, op);
        self.store_return(at, R13, (RAX, 0));
        self.asm.load(RAX, native::TARGET);
        let site = self.site(op, true);
        self.look_up(Some(site), -i64::from(self.frame.mode.word()));
        Ok(Then::Ended)
    }

    fn ret(&mut self, insn: &Instruction, op: &Op) -> Result<Then, Refused> {
        let released = if insn.op_count() == 1 {
            i64::from(insn.immediate16())
        } else {
            0
        };
        self.flags_to_memory();
        let slot = self.slot(0, Way::Read)?;
        let (word, place) = (self.frame.mode.word(), slot.at());
        self.ending_slow_way(slot.slow, op);
        self.asm.move_at(LOAD, word, RAX, place);
        let site = self.site(op, true);
        self.look_up(Some(site), i64::from(word) + released);
        Ok(Then::Ended)
    }
}
