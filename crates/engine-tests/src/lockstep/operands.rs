//! From an opcode to an instruction with operands that a program can use.

use iced_x86::{
    Code, Instruction, InstructionInfoFactory, OpAccess, OpCodeOperandKind as Kind, OpKind,
    Register,
};

use super::choices::Choices;
use super::layout::{DATA_PAGES, FIRST_DATA, Kind as PageKind, PAGE, PAGES, REGION, through_large};

/// Which registers a program keeps for what.
#[derive(Debug, Clone)]
pub(crate) struct Roles {
    /// Point into data.
    pub(crate) pointers: Vec<Register>,
    /// Small numbers.
    pub(crate) index: Register,
    /// Counts rounds.
    pub(crate) counter: Register,
    /// Linear address that offsets of the region are added to.
    pub(crate) place: u64,
    /// It is 32-bit code.
    pub(crate) narrow: bool,
}

impl Roles {
    /// Those of 32-bit code, which has half of the registers.
    pub(crate) fn narrow(choices: &mut Choices<'_>, place: u64) -> Roles {
        // What is left is what divisions, or string instructions, or any need.
        let mut from = choices.pick(&[[3, 5, 6, 7], [0, 2, 3, 5], [1, 3, 6, 7], [0, 3, 5, 7]]);
        let turn = choices.below(4) as usize;
        from.rotate_left(turn);
        let [counter, index, one, other] = from.map(|n| Register::RAX + n);
        Roles {
            counter,
            index,
            pointers: vec![one, other],
            place,
            narrow: true,
        }
    }

    pub(crate) fn new(choices: &mut Choices<'_>, place: u64) -> Roles {
        let mut free: Vec<u32> = (0..16).filter(|&n| n != 4).collect();
        if !choices.chance(4) {
            // Implied operands stay free.
            free.retain(|n| ![0, 1, 2, 6, 7].contains(n));
        }
        let mut take = || {
            let at = choices.below(free.len() as u64) as usize;
            Register::RAX + free.swap_remove(at)
        };
        Roles {
            counter: take(),
            index: take(),
            pointers: (0..3).map(|_| take()).collect(),
            place,
            narrow: false,
        }
    }

    /// May the program use this for anything?
    pub(crate) fn is_free(&self, register: Register) -> bool {
        let whole = register.full_register();
        whole != Register::RSP
            && whole != self.counter
            && whole != self.index
            && !self.pointers.contains(&whole)
    }

    /// A register for anything.
    pub(crate) fn free(&self, choices: &mut Choices<'_>) -> Register {
        let count = if self.narrow { 8 } else { 16 };
        let first = choices.below(count.into()) as u32;
        (0..count)
            .map(|n| Register::RAX + (first + n) % count)
            .find(|&register| self.is_free(register))
            .unwrap_or(Register::RAX)
    }

    /// Is nothing written that the program needs?
    fn spares(&self, insn: &Instruction, infos: &mut InstructionInfoFactory) -> bool {
        infos.info(insn).used_registers().iter().all(|used| {
            let written = !matches!(
                used.access(),
                OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            );
            let register = used.register();
            !(written && register.is_gpr()) || self.is_free(register)
        })
    }

    /// An address for data: mostly of plain pages, sometimes at an edge or of something special.
    pub(crate) fn target(&self, choices: &mut Choices<'_>) -> u64 {
        let page = match choices.below(8) {
            0 => FIRST_DATA + choices.below(DATA_PAGES),
            _ => FIRST_DATA + choices.pick(&[0, 1, 2, 4, 7, 12]),
        };
        let offset = match choices.below(8) {
            0 => PAGE - choices.below(40),
            1 => PAGE - choices.pick(&[1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33]),
            3 => choices.below(40),
            2 => choices.below(PAGE),
            _ => 0x100 + choices.below(0xd0) * 16,
        };
        let kind = PAGES[page as usize].0;
        let behind = !matches!(kind, PageKind::Device | PageKind::Absent);
        if behind && choices.chance(8) {
            return self.place.wrapping_add(through_large(page, offset));
        }
        if choices.chance(200) && !self.narrow {
            return 1 << 47 | choices.next();
        }
        self.place.wrapping_add(REGION + page * PAGE + offset)
    }

    fn memory_32(&self, choices: &mut Choices<'_>, insn: &mut Instruction, vsib: Option<Register>) {
        let half = |register: Register| Register::EAX + register.number() as u32;
        insn.set_memory_base(half(choices.pick(&self.pointers)));
        insn.set_memory_displ_size(4);
        let displacement = match choices.below(4) {
            0 => 0,
            1 => choices.below(0x100).wrapping_sub(0x80),
            2 => choices.below(32) * 8,
            _ => choices.below(0x800).wrapping_sub(0x400),
        };
        insn.set_memory_displacement64(displacement & 0xffff_ffff);
        if let Some(first) = vsib {
            insn.set_memory_index(first + choices.below(8) as u32);
            return;
        }
        match choices.below(12) {
            0 | 1 => {
                insn.set_memory_index(half(self.index));
                insn.set_memory_index_scale(1 << choices.below(4));
            }
            2 | 3 => {
                insn.set_memory_base(Register::None);
                insn.set_memory_displacement64(self.target(choices));
            }
            4 => insn.set_memory_base(Register::ESP),
            5 | 6 => insn.set_segment_prefix(choices.pick(&[
                Register::FS,
                Register::GS,
                Register::GS,
                Register::SS,
                Register::CS,
                Register::ES,
            ])),
            _ => {}
        }
        // 16-bit addresses would be those of tables; what only computes one may.
        if insn.mnemonic() == iced_x86::Mnemonic::Lea && choices.chance(4) {
            insn.set_memory_base(Register::BX);
            insn.set_memory_index(choices.pick(&[Register::SI, Register::None]));
            insn.set_memory_index_scale(1);
            insn.set_memory_displ_size(2);
            insn.set_memory_displacement64(choices.below(0x1_0000));
        }
    }

    fn memory(&self, choices: &mut Choices<'_>, insn: &mut Instruction, vsib: Option<Register>) {
        let short = choices.chance(12) && self.place == 0;
        let sized = |register: Register| {
            if short {
                Register::EAX + register.number() as u32
            } else {
                register
            }
        };
        insn.set_memory_base(sized(choices.pick(&self.pointers)));
        insn.set_memory_displ_size(8);
        let displacement = match choices.below(4) {
            0 => 0,
            1 => choices.below(0x100).wrapping_sub(0x80),
            2 => choices.below(32).wrapping_mul(8),
            _ => choices.below(0x800).wrapping_sub(0x400),
        };
        insn.set_memory_displacement64(displacement);
        if displacement == 0 && !matches!(insn.memory_base().number(), 5 | 13) {
            insn.set_memory_displ_size(0);
        }
        if let Some(first) = vsib {
            insn.set_memory_index(first + choices.below(16) as u32);
            insn.set_memory_index_scale(1);
            return;
        }
        let kind = choices.below(12);
        match kind {
            0 | 1 => {
                insn.set_memory_index(sized(self.index));
                insn.set_memory_index_scale(1 << choices.below(4));
            }
            2 => {
                insn.set_memory_base(Register::RIP);
                insn.set_memory_displ_size(8);
                insn.set_memory_displacement64(self.target(choices));
            }
            3 if self.place != super::layout::PLACES[1] => {
                insn.set_memory_base(Register::None);
                insn.set_memory_displ_size(8);
                insn.set_memory_displacement64(self.target(choices));
            }
            4 => insn.set_memory_base(Register::RSP),
            5 => insn.set_segment_prefix(choices.pick(&[
                Register::FS,
                Register::GS,
                Register::SS,
                Register::CS,
                Register::ES,
            ])),
            _ => {}
        }
    }

    /// Fills in the operands of `code`; `None` where it does not fit the program.
    pub(crate) fn instruction(
        &self,
        choices: &mut Choices<'_>,
        code: Code,
        infos: &mut InstructionInfoFactory,
    ) -> Option<Instruction> {
        let info = code.op_code();
        let mut insn = Instruction::default();
        insn.set_code(code);
        for n in 0..info.op_count() {
            let kind = info.op_kind(n);
            if is_memory(choices, kind) {
                insn.set_op_kind(n, OpKind::Memory);
                if self.narrow {
                    self.memory_32(choices, &mut insn, vsib(kind));
                } else {
                    self.memory(choices, &mut insn, vsib(kind));
                }
            } else if kind == Kind::mem_offs && self.narrow {
                insn.set_op_kind(n, OpKind::Memory);
                insn.set_memory_displ_size(4);
                insn.set_memory_displacement64(self.target(choices));
            } else if let Some(register) = register(choices, kind, self.narrow) {
                insn.set_op_kind(n, OpKind::Register);
                insn.set_op_register(n, register);
            } else {
                other(choices, &mut insn, n, kind, self.narrow)?;
            }
        }
        if info.can_use_lock_prefix() && insn.op0_kind() == OpKind::Memory && choices.chance(3) {
            insn.set_has_lock_prefix(true);
        }
        self.spares(&insn, infos).then_some(insn)
    }
}

fn is_memory(choices: &mut Choices<'_>, kind: Kind) -> bool {
    match kind {
        Kind::mem
        | Kind::mem_vsib32x
        | Kind::mem_vsib64x
        | Kind::mem_vsib32y
        | Kind::mem_vsib64y => true,
        Kind::r8_or_mem
        | Kind::r16_or_mem
        | Kind::r32_or_mem
        | Kind::r64_or_mem
        | Kind::mm_or_mem
        | Kind::xmm_or_mem
        | Kind::ymm_or_mem => choices.chance(2),
        _ => false,
    }
}

fn vsib(kind: Kind) -> Option<Register> {
    match kind {
        Kind::mem_vsib32x | Kind::mem_vsib64x => Some(Register::XMM0),
        Kind::mem_vsib32y | Kind::mem_vsib64y => Some(Register::YMM0),
        _ => None,
    }
}

fn register(choices: &mut Choices<'_>, kind: Kind, narrow: bool) -> Option<Register> {
    let most = if narrow { 8 } else { 20 };
    let mut any = |first: Register, count: u64| first + choices.below(count.min(most)) as u32;
    Some(match kind {
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => any(Register::AL, 20),
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_rm | Kind::r16_opcode => any(Register::AX, 16),
        Kind::r32_or_mem | Kind::r32_reg | Kind::r32_rm | Kind::r32_opcode | Kind::r32_vvvv => {
            any(Register::EAX, 16)
        }
        Kind::r64_or_mem | Kind::r64_reg | Kind::r64_rm | Kind::r64_opcode | Kind::r64_vvvv => {
            any(Register::RAX, 16)
        }
        Kind::mm_or_mem | Kind::mm_reg | Kind::mm_rm => any(Register::MM0, 8),
        Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 => {
            any(Register::XMM0, 16)
        }
        Kind::ymm_or_mem | Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 => {
            any(Register::YMM0, 16)
        }
        Kind::al => Register::AL,
        Kind::cl => Register::CL,
        Kind::ax => Register::AX,
        Kind::dx => Register::DX,
        Kind::eax => Register::EAX,
        Kind::rax => Register::RAX,
        Kind::st0 => Register::ST0,
        Kind::sti_opcode => any(Register::ST0, 8),
        _ => return None,
    })
}

fn other(
    choices: &mut Choices<'_>,
    insn: &mut Instruction,
    n: u32,
    kind: Kind,
    narrow: bool,
) -> Option<()> {
    let value = choices.integer();
    let kind = match kind {
        Kind::imm8 | Kind::imm4_m2z => {
            let is_second =
                (0..n).any(|k| matches!(insn.op_kind(k), OpKind::Immediate8 | OpKind::Immediate16));
            if is_second {
                insn.set_op_kind(n, OpKind::Immediate8_2nd);
                insn.set_immediate8_2nd(value as u8 & 3);
                return Some(());
            }
            OpKind::Immediate8
        }
        Kind::imm8_const_1 => {
            insn.set_op_kind(n, OpKind::Immediate8);
            insn.set_immediate8(1);
            return Some(());
        }
        Kind::imm8sex16 => OpKind::Immediate8to16,
        Kind::imm8sex32 => OpKind::Immediate8to32,
        Kind::imm8sex64 => OpKind::Immediate8to64,
        Kind::imm16 => OpKind::Immediate16,
        Kind::imm32 => OpKind::Immediate32,
        Kind::imm32sex64 => OpKind::Immediate32to64,
        Kind::imm64 => OpKind::Immediate64,
        Kind::seg_rSI if narrow => OpKind::MemorySegESI,
        Kind::es_rDI if narrow => OpKind::MemoryESEDI,
        Kind::seg_rDI if narrow => OpKind::MemorySegEDI,
        Kind::seg_rSI => OpKind::MemorySegRSI,
        Kind::es_rDI => OpKind::MemoryESRDI,
        Kind::seg_rDI => OpKind::MemorySegRDI,
        _ => return None,
    };
    insn.set_op_kind(n, kind);
    match kind {
        OpKind::Immediate16 => insn.set_immediate16(value as u16),
        OpKind::Immediate32 => insn.set_immediate32(value as u32),
        OpKind::Immediate64 => insn.set_immediate64(value),
        OpKind::Immediate32to64 => insn.set_immediate32to64(i64::from(value as i32)),
        OpKind::MemorySegRSI | OpKind::MemoryESRDI | OpKind::MemorySegRDI => {}
        OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI => {}
        _ => insn.set_immediate8(value as u8),
    }
    Some(())
}
