//! Gathers. Each element is loaded, and its mask bit cleared, by itself: a fault in the middle
//! leaves the elements before it done, and the instruction goes on there. Spec: Intel SDM Vol. 2,
//! "VGATHERDPS/VGATHERQPS", "VPGATHERDD/VPGATHERQD" and their doubleword-to-quadword sisters.

use iced_x86::{EncodingKind, Instruction, Mnemonic};

use crate::cpu::Cpu;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{AddressForm, Op, Stop};

/// In `op.dst`, `op.src` and `op.extra`: destination, mask and index register; `op.size` the
/// element; `op.imm` the shape.
pub(super) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    use Mnemonic as M;
    if insn.encoding() != EncodingKind::VEX {
        return None;
    }
    let (element, index) = match insn.mnemonic() {
        M::Vgatherdps | M::Vpgatherdd => (4, 4),
        M::Vgatherqps | M::Vpgatherqd => (4, 8),
        M::Vgatherdpd | M::Vpgatherdq => (8, 4),
        M::Vgatherqpd | M::Vpgatherqq => (8, 8),
        _ => return None,
    };
    let [data, at, mask] = [
        insn.op0_register(),
        insn.memory_index(),
        insn.op2_register(),
    ];
    if data.number() == at.number()
        || at.number() == mask.number()
        || data.number() == mask.number()
    {
        return None;
    }
    let mut op = Op::new(insn, context.code, gather);
    op.dst = data.number() as u8;
    op.src = mask.number() as u8;
    op.extra = at.number() as u32;
    op.size = element;
    op.shift = insn.memory_index_scale().trailing_zeros() as u8;
    let count = (data.size() / usize::from(element)).min(at.size() / index);
    let whole = data.size().max(at.size());
    op.imm = index as u64 | (count as u64) << 8 | (whole as u64) << 16;
    Lowered::straight(op)
}

fn gather(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_avx()?;
    let (index_size, count) = ((op.imm & 15) as usize, (op.imm >> 8 & 15) as usize);
    let size = usize::from(op.size);
    let [mut data, mut mask] = [op.dst, op.src].map(|n| cpu.fpu.ymm[usize::from(n & 15)]);
    let whole = (op.imm >> 16) as usize & 63;
    normalise(&mut mask, size, whole);
    let indices = cpu.fpu.ymm[(op.extra & 15) as usize];
    let mut any = false;
    for n in 0..count {
        let element = n * size..(n + 1) * size;
        let enabled = mask[element.end - 1] & 0x80 != 0;
        if enabled {
            let index = signed(&indices[n * index_size..(n + 1) * index_size]);
            let loaded = load(cpu, op, index, &mut data[element.clone()]);
            if let Err(stop) = loaded {
                // Asked again after the machine's answer, it starts anew with all answers so far.
                if stop != Stop::Exit {
                    if any {
                        data[whole..].fill(0);
                    }
                    keep(cpu, op, data, mask);
                }
                return Err(stop);
            }
            any = true;
        }
        mask[element].fill(0);
    }
    data[count * size..].fill(0);
    keep(cpu, op, data, [0; 32]);
    Ok(())
}

/// Makes each element of the mask all ones or zero by its highest bit. It shows when an element
/// faults.
fn normalise(mask: &mut [u8; 32], size: usize, whole: usize) {
    for lane in mask[..whole].chunks_exact_mut(size) {
        let enabled = lane.last().is_some_and(|byte| byte & 0x80 != 0);
        lane.fill(if enabled { 0xff } else { 0 });
    }
    mask[whole..].fill(0);
}

fn keep(cpu: &mut Cpu, op: &Op, data: [u8; 32], mask: [u8; 32]) {
    cpu.fpu.ymm[usize::from(op.dst & 15)] = data;
    cpu.fpu.ymm[usize::from(op.src & 15)] = mask;
}

fn signed(bytes: &[u8]) -> u64 {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(whole)
}

fn load(cpu: &mut Cpu, op: &Op, index: u64, into: &mut [u8]) -> Result<(), Stop> {
    let size = into.len() as u32;
    // `linear` adds what no register of the op holds as a displacement.
    let at = Op {
        disp: op.disp.wrapping_add(index << op.shift),
        shift: 0,
        ..*op
    };
    debug_assert!(op.form != AddressForm::Legacy16, "VSIB has no 16-bit form");
    let gla = cpu.linear(&at, size, false)?;
    cpu.read_bytes(gla, into)
}
