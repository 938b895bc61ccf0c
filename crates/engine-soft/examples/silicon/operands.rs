//! From an opcode to an instruction with random operands.

use iced_x86::{Code, Instruction, OpCodeOperandKind as Kind, OpKind, Register};

use crate::address::target;
use crate::case::Width;
use crate::random::Random;

fn gpr(random: &mut Random, width: Width, bytes: u32) -> Register {
    let n = random.below(width.registers()) as u32;
    match bytes {
        1 if random.chance(3) => {
            random.pick(&[Register::AH, Register::CH, Register::DH, Register::BH])
        }
        // SPL to DIL take a REX prefix; without one these numbers are AH to BH.
        1 if width != Width::Bits64 => Register::AL + n % 4,
        1 => Register::AL + if n >= 4 { n + 4 } else { n },
        2 => Register::AX + n,
        4 => Register::EAX + n,
        _ => Register::RAX + n,
    }
}

fn memory(random: &mut Random, width: Width, insn: &mut Instruction, vsib: Option<Register>) {
    let count = width.registers();
    if width == Width::Bits16 && vsib.is_none() && !random.chance(4) {
        return short_memory(random, insn);
    }
    let (first, stack) = match width {
        Width::Bits16 | Width::Bits32 => (Register::EAX, Register::ESP),
        Width::Bits64 => (Register::RAX, Register::RSP),
    };
    let far_bytes = width.address_bytes().max(4);
    insn.set_memory_displ_size(1);
    insn.set_memory_base(first + random.below(count) as u32);
    let displacement = random.pick(&[0, 0, 8, 0x7f, u64::MAX, u64::MAX - 0x7f]);
    insn.set_memory_displacement64(displacement);
    if let Some(first) = vsib {
        insn.set_memory_index(first + random.below(count) as u32);
        insn.set_memory_index_scale(1 << random.below(4));
        return;
    }
    match random.below(8) {
        0 if width == Width::Bits64 => {
            insn.set_memory_base(Register::RIP);
            insn.set_memory_displ_size(8);
            insn.set_memory_displacement64(target(random, 16));
        }
        1 => {
            insn.set_memory_base(Register::EAX + random.below(count) as u32);
        }
        2 | 3 => {
            let index = first + random.below(count) as u32;
            if index != stack {
                insn.set_memory_index(index);
                insn.set_memory_index_scale(1 << random.below(4));
            }
        }
        4 => {
            insn.set_memory_displ_size(far_bytes);
            let far = random.next() as i32 as i64 as u64;
            insn.set_memory_displacement64(far);
        }
        5 => {
            insn.set_memory_base(Register::None);
            insn.set_memory_displ_size(far_bytes);
            insn.set_memory_displacement64(target(random, 16) - width.data_base());
        }
        _ => {}
    }
}

/// One of the eight address forms of 16-bit code, or a displacement alone.
fn short_memory(random: &mut Random, insn: &mut Instruction) {
    let (bases, indices) = (
        [Register::BX, Register::BP],
        [Register::SI, Register::DI, Register::None],
    );
    let displacement = random.pick(&[0, 8, 0x7f, 0xffff, 0xff80]);
    insn.set_memory_displ_size(1);
    insn.set_memory_displacement64(displacement);
    insn.set_memory_base(random.pick(&bases));
    insn.set_memory_index(random.pick(&indices));
    match random.below(4) {
        0 => {
            insn.set_memory_base(random.pick(&indices[..2]));
            insn.set_memory_index(Register::None);
        }
        1 => {
            insn.set_memory_base(Register::None);
            insn.set_memory_index(Register::None);
            insn.set_memory_displ_size(2);
            insn.set_memory_displacement64(target(random, 8) & 0xffff);
        }
        2 => {
            insn.set_memory_displ_size(2);
            insn.set_memory_displacement64(random.next() & 0xffff);
        }
        _ => {}
    }
}

/// Fills in the operands of `code`; `None` for kinds that user code has no use for.
pub(crate) fn instruction(
    random: &mut Random,
    width: Width,
    code: Code,
    rip: u64,
) -> Option<Instruction> {
    let info = code.op_code();
    let mut insn = Instruction::default();
    insn.set_code(code);
    for n in 0..info.op_count() {
        let kind = info.op_kind(n);
        if is_memory(random, kind) {
            insn.set_op_kind(n, OpKind::Memory);
            memory(random, width, &mut insn, vsib(kind));
            continue;
        }
        if let Some(register) = register(random, width, kind) {
            insn.set_op_kind(n, OpKind::Register);
            insn.set_op_register(n, register);
            continue;
        }
        other(random, width, &mut insn, n, kind)?;
        if (OpKind::NearBranch16..=OpKind::NearBranch64).contains(&insn.op_kind(n)) {
            let near = rip.wrapping_add(random.below(180)).wrapping_sub(80);
            insn.set_near_branch64(near);
        }
    }
    decorate(random, &mut insn);
    Some(insn)
}

fn decorate(random: &mut Random, insn: &mut Instruction) {
    let info = insn.op_code();
    if info.can_use_lock_prefix() && insn.op0_kind() == OpKind::Memory && random.chance(4) {
        insn.set_has_lock_prefix(true);
    }
    if insn.is_string_instruction() {
        match random.below(3) {
            0 if info.can_use_rep_prefix() => insn.set_has_rep_prefix(true),
            1 if info.can_use_repne_prefix() => insn.set_has_repne_prefix(true),
            _ => {}
        }
    }
}

fn is_memory(random: &mut Random, kind: Kind) -> bool {
    match kind {
        Kind::mem
        | Kind::mem_offs
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
        | Kind::ymm_or_mem => random.chance(2),
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

fn register(random: &mut Random, width: Width, kind: Kind) -> Option<Register> {
    let any = |random: &mut Random, first: Register| first + random.below(width.registers()) as u32;
    Some(match kind {
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => gpr(random, width, 1),
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_rm | Kind::r16_opcode => gpr(random, width, 2),
        Kind::r32_or_mem | Kind::r32_reg | Kind::r32_rm | Kind::r32_opcode | Kind::r32_vvvv => {
            gpr(random, width, 4)
        }
        Kind::r64_or_mem | Kind::r64_reg | Kind::r64_rm | Kind::r64_opcode | Kind::r64_vvvv => {
            gpr(random, width, 8)
        }
        Kind::mm_or_mem | Kind::mm_reg | Kind::mm_rm => Register::MM0 + random.below(8) as u32,
        Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 => {
            any(random, Register::XMM0)
        }
        Kind::ymm_or_mem | Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 => {
            any(random, Register::YMM0)
        }
        Kind::al => Register::AL,
        Kind::cl => Register::CL,
        Kind::ax => Register::AX,
        Kind::dx => Register::DX,
        Kind::eax => Register::EAX,
        Kind::rax => Register::RAX,
        Kind::st0 => Register::ST0,
        Kind::sti_opcode => Register::ST0 + random.below(8) as u32,
        _ => return None,
    })
}

fn other(
    random: &mut Random,
    width: Width,
    insn: &mut Instruction,
    n: u32,
    kind: Kind,
) -> Option<()> {
    let immediate = |insn: &mut Instruction, kind: OpKind, value: u64| {
        insn.set_op_kind(n, kind);
        match kind {
            OpKind::Immediate16 => insn.set_immediate16(value as u16),
            OpKind::Immediate32 => insn.set_immediate32(value as u32),
            OpKind::Immediate64 => insn.set_immediate64(value),
            OpKind::Immediate32to64 => insn.set_immediate32to64(i64::from(value as i32)),
            _ => insn.set_immediate8(value as u8),
        }
    };
    match kind {
        Kind::imm8 | Kind::imm4_m2z => {
            let second =
                (0..n).any(|k| matches!(insn.op_kind(k), OpKind::Immediate8 | OpKind::Immediate16));
            if second {
                insn.set_op_kind(n, OpKind::Immediate8_2nd);
                insn.set_immediate8_2nd(random.below(4) as u8);
            } else {
                immediate(insn, OpKind::Immediate8, random.integer());
            }
        }
        Kind::imm8_const_1 => immediate(insn, OpKind::Immediate8, 1),
        Kind::imm8sex16 => immediate(insn, OpKind::Immediate8to16, random.integer()),
        Kind::imm8sex32 => immediate(insn, OpKind::Immediate8to32, random.integer()),
        Kind::imm8sex64 => immediate(insn, OpKind::Immediate8to64, random.integer()),
        Kind::imm16 => immediate(insn, OpKind::Immediate16, random.integer()),
        Kind::imm32 => immediate(insn, OpKind::Immediate32, random.integer()),
        Kind::imm32sex64 => immediate(insn, OpKind::Immediate32to64, random.integer()),
        Kind::imm64 => immediate(insn, OpKind::Immediate64, random.integer()),
        Kind::seg_rSI | Kind::es_rDI | Kind::seg_rDI => {
            let [short, medium, long] = match kind {
                Kind::seg_rSI => [
                    OpKind::MemorySegSI,
                    OpKind::MemorySegESI,
                    OpKind::MemorySegRSI,
                ],
                Kind::es_rDI => [OpKind::MemoryESDI, OpKind::MemoryESEDI, OpKind::MemoryESRDI],
                _ => [
                    OpKind::MemorySegDI,
                    OpKind::MemorySegEDI,
                    OpKind::MemorySegRDI,
                ],
            };
            insn.set_op_kind(
                n,
                match width {
                    Width::Bits16 if random.chance(2) => short,
                    Width::Bits64 if random.chance(2) => long,
                    _ => medium,
                },
            );
        }
        Kind::seg_rBX_al => {
            insn.set_op_kind(n, OpKind::Memory);
            insn.set_memory_base(match width {
                Width::Bits16 => Register::BX,
                Width::Bits32 => Register::EBX,
                Width::Bits64 => Register::RBX,
            });
            insn.set_memory_index(Register::AL);
        }
        Kind::br16_1 | Kind::br16_2 => insn.set_op_kind(n, OpKind::NearBranch16),
        Kind::br32_1 | Kind::br32_4 => insn.set_op_kind(n, OpKind::NearBranch32),
        Kind::br64_1 | Kind::br64_4 => insn.set_op_kind(n, OpKind::NearBranch64),
        _ => return None,
    }
    Some(())
}
