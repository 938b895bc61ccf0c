//! FXSAVE and FXRSTOR. Spec: Intel SDM Vol. 2.

use x86::register::{cr0, cr4};

use super::image;
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{Op, Stop};
use crate::interp::vector::misc::MXCSR_BITS;

fn xmm_count(cpu: &Cpu) -> usize {
    if cpu.code_size == CodeSize::Bits64 {
        16
    } else {
        8
    }
}

fn check(cpu: &mut Cpu) -> Result<(), Stop> {
    if cpu.cr0 & (cr0::EM | cr0::TS) != 0 {
        return cpu.nm();
    }
    Ok(())
}

/// FXSAVE; without CR4.OSFXSR the XMM part is left alone, as the manual allows.
pub(super) fn save<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    check(cpu)?;
    let gla = cpu.aligned(op, 512, true, 16)?;
    let mut image = [0; image::WRITTEN];
    image::put_x87(&cpu.fpu, &mut image, WIDE);
    image::put_mxcsr(&cpu.fpu, &mut image);
    let mut len = image::XMM_AT;
    if cpu.cr4 & cr4::OSFXSR != 0 {
        let count = xmm_count(cpu);
        image::put_xmm(&cpu.fpu, &mut image, count);
        len += count * 16;
    }
    // The end first: of two faulting pages, processors report the second.
    let last = cpu.along(gla, 511);
    cpu.prepare_write(last, 1)?;
    cpu.prepare_write(gla, 512)?;
    cpu.write_bytes(gla, &image[..len])
}

/// FXRSTOR: a reserved bit in MXCSR is #GP(0).
pub(super) fn restore<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    check(cpu)?;
    let gla = cpu.aligned(op, 512, false, 16)?;
    let mut image = [0; 512];
    cpu.read_bytes(gla, &mut image)?;
    let mxcsr = image::mxcsr(&image);
    if mxcsr & !MXCSR_BITS != 0 {
        return cpu.gp(0);
    }
    image::take_x87(&mut cpu.fpu, &image, WIDE);
    cpu.fpu.mxcsr = mxcsr;
    if cpu.cr4 & cr4::OSFXSR != 0 {
        let count = xmm_count(cpu);
        image::take_xmm(&mut cpu.fpu, &image, count);
    }
    Ok(())
}
