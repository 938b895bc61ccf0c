//! Runs native stubs over the guest's vector, MMX and general registers.
//!
//! Memory operands are accessed in place where they lie in one page of RAM, so that a load or store
//! is as atomic as the host's own; otherwise through a buffer. All checks come first, then the
//! access, then the stub, then registers change.

use super::mmx;
use super::stub_raw::{HOST_MXCSR, Scratch, call};
use super::template::{Kind, needs};
use crate::cpu::Cpu;
use crate::interp::op::{Op, Stop};

/// Fields of an op that runs a stub: `imm` is the stub's entry, `dst` the operand kinds, `src` the
/// needs, `size` the memory operand's size, `extra` a byte for each operand (number of a vector or
/// MMX register, byte offset of a general one), the high half of `flags` which general registers
/// are written.
pub(super) const WRITTEN_SHIFT: u32 = 4;

/// Control bits of MXCSR: DAZ, masks, rounding, FTZ.
const CONTROL: u32 = 0xffc0;
const MASKS: u32 = 0x1f80;

/// Only vector registers and memory.
pub(super) const LOAD: u8 = needs::LOAD;
pub(super) const STORE: u8 = needs::STORE;
pub(super) const MXCSR: u8 = needs::MXCSR;
pub(super) const VEX: u8 = needs::VEX;

fn scratch() -> Scratch {
    Scratch {
        memory: [0; 64],
        gpr: [0; 6],
        status: 0,
        restore: 0,
        mxcsr: HOST_MXCSR,
        mxcsr_out: 0,
        mxcsr_host: HOST_MXCSR,
    }
}

#[inline(always)]
fn vectors(cpu: &mut Cpu, op: &Op) -> [*mut u8; 4] {
    let all = &mut cpu.fpu.ymm;
    let first = all.as_mut_ptr();
    let number = |k: u32| (op.extra >> (8 * k) & 15) as usize;
    // SAFETY: the index is below 16, the number of registers in the array.
    let at = |k| unsafe { first.add(number(k)).cast() };
    [at(0), at(1), at(2), at(3)]
}

/// Where the stub shall find the memory operand it loads.
#[inline(always)]
fn source(cpu: &mut Cpu, op: &Op, scratch: &mut Scratch) -> Result<*mut u8, Stop> {
    let size = u64::from(op.size);
    if op.src & needs::ALIGN != 0 {
        cpu.check_aligned(op, size)?;
    }
    let gla = cpu.linear(op, u32::from(op.size), false)?;
    if let Some(host) = cpu.host_for_read(gla, size) {
        return Ok(host as *mut u8);
    }
    cpu.read_bytes(gla, &mut scratch.memory[..size as usize])?;
    Ok(scratch.memory.as_mut_ptr())
}

/// Linear address the stub's result goes to.
#[inline(always)]
fn target_address(cpu: &mut Cpu, op: &Op) -> Result<u64, Stop> {
    if op.src & needs::ALIGN != 0 {
        cpu.check_aligned(op, u64::from(op.size))?;
    }
    cpu.linear(op, u32::from(op.size), true)
}

/// Linear address the stub's result goes to, and where it lies if that is in place.
#[inline(always)]
fn destination(cpu: &mut Cpu, op: &Op) -> Result<(u64, Option<u64>), Stop> {
    let gla = target_address(cpu, op)?;
    let host = cpu.host_for_write(gla, u64::from(op.size));
    if host.is_none() {
        cpu.prepare_write(gla, u32::from(op.size))?;
    }
    Ok((gla, host))
}

/// An instruction over vector registers and at most one memory operand. `NEEDS` holds what of
/// [`LOAD`], [`STORE`], [`MXCSR`] and [`VEX`] applies.
pub(super) fn simple<const NEEDS: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    if NEEDS & VEX != 0 {
        cpu.may_use_avx()?;
    } else {
        cpu.may_use_sse()?;
    }
    if NEEDS & MXCSR != 0 && cpu.fpu.mxcsr & MASKS != MASKS {
        return any(cpu, op);
    }
    let mut scratch = scratch();
    if NEEDS & MXCSR != 0 {
        scratch.mxcsr = cpu.fpu.mxcsr & CONTROL;
        scratch.restore = u16::from(scratch.mxcsr != HOST_MXCSR);
    }
    if NEEDS & STORE != 0 {
        let (gla, host) = destination(cpu, op)?;
        let memory = match host {
            Some(host) => host as *mut u8,
            None => scratch.memory.as_mut_ptr(),
        };
        let vectors = vectors(cpu, op);
        // SAFETY: `lower` made the op from a template; `memory` may be written for its size.
        unsafe { call(op.imm, memory, vectors, &raw mut scratch) };
        if host.is_none() {
            cpu.write_bytes(gla, &scratch.memory[..usize::from(op.size)])?;
        }
    } else {
        let memory = if NEEDS & LOAD != 0 {
            source(cpu, op, &mut scratch)?
        } else {
            scratch.memory.as_mut_ptr()
        };
        let vectors = vectors(cpu, op);
        // SAFETY: as above; `memory` may be read for its size, if the stub does.
        unsafe { call(op.imm, memory, vectors, &raw mut scratch) };
    }
    if NEEDS & MXCSR != 0 {
        cpu.fpu.mxcsr |= scratch.mxcsr_out & 0x3f;
    }
    Ok(())
}

/// An instruction over general registers and at most a memory operand that it loads: BMI, POPCNT,
/// CRC32. `NEEDS` holds [`LOAD`] and [`VEX`] where they apply.
pub(super) fn scalar<const NEEDS: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    if NEEDS & VEX != 0 {
        cpu.may_use_vex()?;
    }
    let mut scratch = scratch();
    let mut memory = scratch.memory.as_mut_ptr();
    if NEEDS & LOAD != 0 {
        memory = source(cpu, op, &mut scratch)?;
    }
    general_in(cpu, op, &mut scratch);
    // SAFETY: `lower` made the op from a template without vector operands, so the stub does not
    // follow those pointers; `memory` may be read for its size.
    unsafe { call(op.imm, memory, [memory; 4], &raw mut scratch) };
    general_out(cpu, op, &scratch);
    Ok(())
}

fn kind(op: &Op, k: u32) -> Kind {
    match op.dst >> (2 * k) & 3 {
        1 => Kind::Vector,
        2 => Kind::Mmx,
        3 => Kind::General,
        _ => Kind::Other,
    }
}

fn check(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let has = |wanted| (0..4).any(|k| kind(op, k) == wanted);
    if has(Kind::Vector) || op.src & needs::IMPLIED_XMM0 != 0 {
        if op.src & needs::VEX != 0 {
            cpu.may_use_avx()?;
        } else {
            cpu.may_use_sse()?;
        }
    } else if op.src & needs::VEX != 0 {
        cpu.may_use_vex()?;
    }
    if has(Kind::Mmx) {
        cpu.may_use_mmx()?;
    }
    Ok(())
}

/// Any instruction that has a template.
pub(super) fn any(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    check(cpu, op)?;
    let mut scratch = scratch();
    let mut memory = scratch.memory.as_mut_ptr();
    if op.src & needs::LOAD != 0 {
        memory = source(cpu, op, &mut scratch)?;
    }
    if op.src & needs::MXCSR != 0 {
        scratch.mxcsr = cpu.fpu.mxcsr & CONTROL | MASKS;
        scratch.restore = 1;
    }
    general_in(cpu, op, &mut scratch);
    mmx::enter(cpu, op.dst);
    let unmasked = op.src & needs::MXCSR != 0 && cpu.fpu.mxcsr & MASKS != MASKS;
    let before = unmasked.then(|| Box::new((cpu.fpu.ymm, cpu.fpu.st)));
    let pointers = pointers(cpu, op);
    // SAFETY: `lower` made the op from a template, so that the kinds and the memory operand's size
    // are the stub's; `memory` may be accessed for that size.
    unsafe { call(op.imm, memory, pointers, &raw mut scratch) };
    if op.src & needs::MXCSR != 0
        && let Err(stop) = raised(cpu, scratch.mxcsr_out)
    {
        if let Some(before) = before {
            (cpu.fpu.ymm, cpu.fpu.st) = *before;
        }
        mmx::touch(cpu, op.dst);
        return Err(stop);
    }
    if op.src & needs::STORE != 0 {
        // Never in place: an unmasked exception must leave memory as it was. It comes before any
        // fault of the store, and flags that were raised stay raised after one, as on silicon.
        let gla = target_address(cpu, op)?;
        cpu.write_bytes(gla, &scratch.memory[..usize::from(op.size)])?;
    }
    mmx::leave(cpu, op);
    general_out(cpu, op, &scratch);
    Ok(())
}

fn pointers(cpu: &mut Cpu, op: &Op) -> [*mut u8; 4] {
    let mut pointers = vectors(cpu, op);
    for (k, pointer) in (0..).zip(&mut pointers) {
        if kind(op, k) == Kind::Mmx {
            *pointer = cpu.fpu.st[(op.extra >> (8 * k) & 7) as usize].as_mut_ptr();
        }
    }
    pointers
}

#[inline(always)]
fn general_in(cpu: &Cpu, op: &Op, scratch: &mut Scratch) {
    for k in 0..3 {
        if kind(op, k) == Kind::General {
            let offset = (op.extra >> (8 * k)) as u8;
            // AH, CH, DH and BH are byte 1 of a register.
            scratch.gpr[k as usize] = cpu.gpr[usize::from(offset >> 3) & 15] >> ((offset & 7) * 8);
        }
    }
    scratch.gpr[3] = cpu.gpr[0];
    scratch.gpr[4] = cpu.gpr[1];
    scratch.gpr[5] = cpu.gpr[2];
    scratch.status = cpu.status;
}

#[inline(always)]
fn general_out(cpu: &mut Cpu, op: &Op, scratch: &Scratch) {
    if op.src & needs::STATUS != 0 {
        cpu.status = scratch.status;
    }
    if op.src & needs::IMPLIED_GPR != 0 {
        cpu.gpr[1] = scratch.gpr[4];
    }
    // Last to first: where MULX names one register twice, the high half stays.
    for k in (0..3).rev() {
        if op.flags >> (WRITTEN_SHIFT + k) & 1 != 0 {
            let offset = (op.extra >> (8 * k)) as u8;
            cpu.gpr[usize::from(offset >> 3) & 15] = scratch.gpr[k as usize];
        }
    }
}

/// Merges the exception flags in `out`, which the stub raised; #XM if one of them is unmasked.
///
/// The stub ran with all exceptions masked. Lost is then, where underflow or overflow is unmasked:
/// a result that is tiny but exact raises nothing, and whether such a result is inexact is judged
/// after it was made denormal or infinite. And of instructions in several steps (DPPS) all steps are judged,
/// where the processor stops at the first with an unmasked exception.
fn raised(cpu: &mut Cpu, out: u32) -> Result<(), Stop> {
    use x86::register::cr4;

    /// Invalid, denormal, divide by zero: found before computing, and nothing is computed then.
    const BEFORE: u32 = 7;
    let flags = out & 0x3f;
    let unmasked = flags & !(cpu.fpu.mxcsr >> 7) & 0x3f;
    if unmasked == 0 {
        cpu.fpu.mxcsr |= flags;
        return Ok(());
    }
    let found_before = unmasked & BEFORE != 0;
    cpu.fpu.mxcsr |= if found_before { flags & BEFORE } else { flags };
    if cpu.cr4 & cr4::OSXMMEXCPT == 0 {
        return cpu.ud();
    }
    cpu.raise(x86::Exception::plain(x86::exception::vector::XM))
}
