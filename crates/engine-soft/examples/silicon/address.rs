//! Memory operands, and register values that put them into the window.

use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind, Register, UsedMemory};

use crate::case::{PAGE, Registers, WINDOW, WINDOW_PAGES, Width};
use crate::random::Random;

/// A memory operand, named or implied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    base: Register,
    index: Register,
    scale: u64,
    displacement: u64,
    bytes: usize,
    /// Bytes of an index element, for a vector index.
    vsib: usize,
    /// Bits of the address that count.
    mask: u64,
    /// Base of the segment.
    segment: u64,
}

impl Operand {
    pub(crate) fn size(&self) -> u64 {
        self.bytes.max(1) as u64
    }
}

fn bytes(insn: &Instruction, size: MemorySize) -> usize {
    match insn.mnemonic() {
        Mnemonic::Xsave | Mnemonic::Xsave64 | Mnemonic::Xrstor | Mnemonic::Xrstor64 => 832,
        _ => size.size(),
    }
}

/// What the instruction accesses, or may.
pub(crate) fn operands(insn: &Instruction, used: &[UsedMemory], width: Width) -> Vec<Operand> {
    let mask = |base: Register, index: Register| {
        let short = base.is_gpr16() || index.is_gpr16();
        let medium = base.is_gpr32() || index.is_gpr32() || base == Register::EIP;
        match width {
            _ if short => 0xffff,
            _ if medium => 0xffff_ffff,
            Width::Bits16 => 0xffff,
            Width::Bits32 => 0xffff_ffff,
            Width::Bits64 => u64::MAX,
        }
    };
    let mut operands: Vec<_> = used
        .iter()
        .map(|memory| Operand {
            base: memory.base(),
            index: memory.index(),
            scale: u64::from(memory.scale()),
            displacement: memory.displacement(),
            bytes: bytes(insn, memory.memory_size()),
            vsib: memory.vsib_size() as usize,
            mask: mask(memory.base(), memory.index()),
            segment: width.data_base(),
        })
        .collect();
    let named = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    let addresses_only = matches!(insn.mnemonic(), Mnemonic::Lea | Mnemonic::Nop);
    // The decoder's tables name no memory for some instructions that access it.
    if operands.is_empty() && named && !addresses_only {
        let (base, index) = (insn.memory_base(), insn.memory_index());
        operands.push(Operand {
            base: if insn.is_ip_rel_memory_operand() {
                Register::None
            } else {
                base
            },
            index,
            scale: u64::from(insn.memory_index_scale()),
            displacement: insn.memory_displacement64(),
            bytes: bytes(insn, insn.memory_size()),
            vsib: 4,
            mask: mask(base, index),
            segment: width.data_base(),
        });
    }
    operands
}

/// An address for an operand of `size` bytes: mostly in the writable pages, sometimes at an edge.
pub(crate) fn target(random: &mut Random, size: u64) -> u64 {
    let data = WINDOW + 0x1000;
    let aligned = if random.chance(4) {
        1
    } else {
        size.clamp(1, 64).next_power_of_two()
    };
    let at = match random.below(16) {
        // Across the two writable pages.
        0 => data + 0x1000 - random.below(size.max(1) + 1),
        // Across into the read-only page.
        1 => data + 0x2000 - random.below(size.max(1) + 1),
        2 => data + 0x2000 + random.below(0x1000 - 640),
        // Across the end.
        3 => data + 0x3000 - random.below(size.max(1) + 1),
        // Before the start.
        4 => data - random.below(size.max(1) + 1),
        _ => data + 0x200 + random.below(0x1a00),
    };
    at & !(aligned - 1)
}

/// Sets a register of the address so that it lies in the window.
pub(crate) fn aim(random: &mut Random, registers: &mut Registers, memory: &Operand) {
    if inside(registers, memory) && random.chance(2) {
        return;
    }
    let want = target(random, memory.size()).wrapping_sub(memory.segment);
    let Operand { base, index, .. } = *memory;
    if index.is_vector_register() {
        aim_vector(random, registers, memory);
    }
    if base.is_gpr() && (!index.is_gpr() || index != base) {
        let scaled = value(registers, index).wrapping_mul(memory.scale);
        let base_value = want.wrapping_sub(scaled).wrapping_sub(memory.displacement);
        registers.gpr[base.full_register().number()] = base_value;
    } else if index.is_gpr() && base == Register::None {
        let value = want.wrapping_sub(memory.displacement) / memory.scale;
        registers.gpr[index.full_register().number()] = value;
    }
}

/// Small indices in every element.
fn aim_vector(random: &mut Random, registers: &mut Registers, memory: &Operand) {
    let index = &mut registers.fpu.ymm[memory.index.number()];
    for lane in index.chunks_exact_mut(memory.vsib) {
        let value = random.below(0x100) as i64 - 0x80;
        lane.copy_from_slice(&value.to_le_bytes()[..lane.len()]);
    }
}

fn value(registers: &Registers, register: Register) -> u64 {
    if !register.is_gpr() {
        return 0;
    }
    let whole = registers.gpr[register.full_register().number()];
    // XLATB's index is AL.
    if register.is_gpr8() {
        whole & 0xff
    } else {
        whole
    }
}

/// Addresses that the operand forms: one, or one an element.
pub(crate) fn addresses(registers: &Registers, memory: &Operand) -> Vec<u64> {
    let mask = memory.mask;
    let base = value(registers, memory.base).wrapping_add(memory.displacement);
    let at = |index: u64| base.wrapping_add(index.wrapping_mul(memory.scale)) & mask;
    if !memory.index.is_vector_register() {
        return vec![at(value(registers, memory.index))];
    }
    let lanes = registers.fpu.ymm[memory.index.number()].chunks_exact(memory.vsib);
    let signed = |lane: &[u8]| {
        let negative = lane.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole[..lane.len()].copy_from_slice(lane);
        u64::from_le_bytes(whole)
    };
    lanes.map(|lane| at(signed(lane))).collect()
}

/// Does everything that the operand may touch lie in the window?
pub(crate) fn inside(registers: &Registers, memory: &Operand) -> bool {
    // Room for repetitions and bit strings on both sides.
    let first = WINDOW + 0x400;
    let end = WINDOW + WINDOW_PAGES * PAGE as u64 - 0x400;
    let fits = |address: u64| address >= first && address <= end - memory.size();
    addresses(registers, memory).into_iter().all(fits)
}
