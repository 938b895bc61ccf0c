//! Moves under a mask: only enabled elements are accessed, and only they can fault. Spec: Intel SDM
//! Vol. 2, "MASKMOVDQU", "MASKMOVQ", "VMASKMOV", "VPMASKMOV".

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::mmx;
use super::template::Kind;
use crate::cpu::Cpu;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

/// In `op.dst`, `op.src` and `op.extra`: data register, mask register, source or destination.
pub(super) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let store = insn.op0_kind() == OpKind::Memory;
    let number = |n: u32| insn.op_register(n).number() as u8;
    let (run, element, registers): (Handler, u8, [u8; 2]) = match insn.mnemonic() {
        Mnemonic::Maskmovq => (bytes::<8, true>, 1, [number(1), number(2)]),
        Mnemonic::Maskmovdqu => (bytes::<16, false>, 1, [number(1), number(2)]),
        Mnemonic::Vmaskmovdqu => (bytes::<16, false>, 1, [number(1), number(2)]),
        Mnemonic::Vmaskmovps | Mnemonic::Vpmaskmovd if store => (put, 4, [number(2), number(1)]),
        Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovq if store => (put, 8, [number(2), number(1)]),
        Mnemonic::Vmaskmovps | Mnemonic::Vpmaskmovd => (get, 4, [number(0), number(1)]),
        Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovq => (get, 8, [number(0), number(1)]),
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    [op.dst, op.src] = registers;
    op.size = element;
    let wide = (0..3).any(|n| insn.op_register(n).is_ymm());
    op.extra = match insn.mnemonic() {
        Mnemonic::Vmaskmovdqu => 1,
        _ if wide => 32,
        _ => 16,
    };
    if element == 1 {
        // The address is in (E/R)DI, of the size that the operand kind says.
        op.base = Register::RDI.number() as u8;
    }
    Lowered::straight(op)
}

/// Is the highest bit of the element set?
fn enabled(mask: &[u8], at: usize, size: usize) -> bool {
    mask[at + size - 1] & 0x80 != 0
}

/// MASKMOVQ, MASKMOVDQU: bytes, to DS:(E/R)DI or an overriding segment.
fn bytes<const LEN: usize, const MMX: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    if MMX {
        cpu.may_use_mmx()?;
    } else if op.extra == 1 {
        cpu.may_use_avx()?;
    } else {
        cpu.may_use_sse()?;
    }
    let kinds = if MMX { Kind::Mmx as u8 } else { 0 };
    mmx::enter(cpu, kinds);
    mmx::touch(cpu, kinds);
    let gla = cpu.linear(op, LEN as u32, true)?;
    // The manual leaves it open whether disabled bytes can fault; on silicon they do.
    cpu.prepare_write(gla, LEN as u32)?;
    let (data, mask) = if MMX {
        let data = cpu.fpu.st[usize::from(op.dst & 7)];
        (data, cpu.fpu.st[usize::from(op.src & 7)])
    } else {
        let low = |register: &[u8; 32]| {
            let mut low = [0; 16];
            low.copy_from_slice(&register[..16]);
            low
        };
        let data = low(&cpu.fpu.ymm[usize::from(op.dst & 15)]);
        (data, low(&cpu.fpu.ymm[usize::from(op.src & 15)]))
    };
    for at in (0..LEN).filter(|&at| enabled(&mask, at, 1)) {
        let to = cpu.along(gla, at);
        cpu.write(to, data[at])?;
    }
    Ok(())
}

/// VMASKMOV and VPMASKMOV to memory.
fn put(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_avx()?;
    let (len, size) = ((op.extra & 63) as usize, usize::from(op.size));
    let data = cpu.fpu.ymm[usize::from(op.dst & 15)];
    let mask = cpu.fpu.ymm[usize::from(op.src & 15)];
    let elements = (0..len).step_by(size);
    let elements = elements.filter(|&at| enabled(&mask, at, size));
    for at in elements.clone() {
        let to = cpu.element(op, at, size as u32, true)?;
        cpu.prepare_write(to, size as u32)?;
    }
    for at in elements {
        let to = cpu.element(op, at, size as u32, true)?;
        cpu.write_bytes(to, &data[at..at + size])?;
    }
    Ok(())
}

/// VMASKMOV and VPMASKMOV from memory: other elements become zero.
fn get(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_avx()?;
    let (len, size) = ((op.extra & 63) as usize, usize::from(op.size));
    let mask = cpu.fpu.ymm[usize::from(op.src & 15)];
    let mut value = [0; 32];
    for at in (0..len).step_by(size) {
        if enabled(&mask, at, size) {
            let from = cpu.element(op, at, size as u32, false)?;
            cpu.read_bytes(from, &mut value[at..at + size])?;
        }
    }
    cpu.fpu.ymm[usize::from(op.dst & 15)] = value;
    Ok(())
}
