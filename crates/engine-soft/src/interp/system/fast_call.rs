//! SYSCALL, SYSRET, SYSENTER, SYSEXIT. Spec: Intel SDM Vol. 2 under these names; AMD APM Vol. 2,
//! "Fast System Call and Return". Where the vendors differ (SYSCALL outside 64-bit mode, SYSENTER in
//! long mode) the CPUID vendor decides.

use iced_x86::{Code, Instruction};
use x86::register::gpr::{RCX, RDX, RSP};
use x86::register::{dr6, efer, rflags};
use x86::{Segment, SegmentRegister};

use crate::cpu::features::has;
use crate::cpu::{CodeSize, Cpu, attention};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};
use crate::translate::native::FastCalls;

const R11: usize = 11;
/// Flags that SYSRET restores from R11: all but RF, VM and the reserved ones.
pub(crate) const SYSRET_FLAGS: u64 = 0x003c_7fd7;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let (run, size): (Handler, u8) = match insn.code() {
        Code::Syscall => (syscall, 0),
        Code::Sysretd => (sysret, 4),
        Code::Sysretq => (sysret, 8),
        Code::Sysenter => (sysenter, 0),
        Code::Sysexitd => (sysexit, 4),
        Code::Sysexitq => (sysexit, 8),
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    op.size = size;
    Lowered::ending(op)
}

/// A flat code segment of privilege `level`.
fn code(selector: u16, level: u8, size: CodeSize) -> Segment {
    let kind = Segment::CODE | Segment::READABLE;
    let width = match size {
        CodeSize::Bits64 => Segment::LONG,
        _ => Segment::BIG,
    };
    flat(selector, level, kind | width)
}

/// A flat stack segment of privilege `level`.
fn stack(selector: u16, level: u8) -> Segment {
    flat(selector, level, Segment::WRITABLE | Segment::BIG)
}

fn flat(selector: u16, level: u8, kind: u16) -> Segment {
    let common = Segment::ACCESSED | Segment::NOT_SYSTEM | Segment::PRESENT | Segment::GRANULAR;
    Segment {
        selector: selector & !3 | u16::from(level),
        base: 0,
        limit: u32::MAX,
        rights: kind | common | u16::from(level) << 5,
        unusable: false,
    }
}

fn put_flat(cpu: &mut Cpu, level: u8, code: Segment, stack: Segment) {
    cpu.cpl = level;
    cpu.put_segment_early(SegmentRegister::Ss, stack);
    cpu.put_segment(SegmentRegister::Cs, code);
}

fn syscall(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let amd = cpu.features.has(has::AMD);
    let from_64 = cpu.code_size == CodeSize::Bits64;
    if cpu.efer & efer::SCE == 0 || !from_64 && !amd {
        return cpu.ud();
    }
    let selector = (cpu.msrs.star >> 32) as u16;
    let flags = cpu.read_rflags();
    let (target, size, flags) = if cpu.long_mode() {
        cpu.gpr[RCX] = cpu.rip;
        cpu.gpr[R11] = flags & !rflags::RF;
        let target = if from_64 {
            cpu.msrs.lstar
        } else {
            cpu.msrs.cstar
        };
        let kept = flags & !cpu.msrs.fmask & !rflags::RF;
        (target, CodeSize::Bits64, kept)
    } else {
        if !cpu.protected() {
            return cpu.ud();
        }
        cpu.gpr[RCX] = cpu.rip;
        let cleared = rflags::VM | rflags::IF | rflags::RF;
        (
            cpu.msrs.star & 0xffff_ffff,
            CodeSize::Bits32,
            flags & !cleared,
        )
    };
    // The single-step trap looks at TF as it is now: FMASK may keep it out of the kernel.
    cpu.delivered = flags & rflags::TF == 0;
    cpu.write_rflags(flags);
    let stack = stack((selector & !3).wrapping_add(8), 0);
    put_flat(cpu, 0, code(selector, 0, size), stack);
    cpu.rip = target;
    if from_64 {
        note_for_translation(cpu);
    }
    Ok(())
}

/// SYSCALL out of 64-bit code was just done. Where it hides all status flags, TF and AC from the kernel, it
/// and SYSRET load the same each time.
fn note_for_translation(cpu: &mut Cpu) {
    const HIDDEN: u64 = rflags::STATUS | rflags::TF | rflags::AC;
    if cpu.msrs.fmask & HIDDEN != HIDDEN || !cpu.long_mode() {
        return;
    }
    let kernel = (cpu.msrs.star >> 32) as u16;
    let user = (cpu.msrs.star >> 48) as u16;
    cpu.native.fast_calls = FastCalls {
        ready: FastCalls::ready(cpu.mmu.current_set()),
        kept: !(cpu.msrs.fmask | rflags::RF) | rflags::FIXED,
        segments: [
            code(kernel, 0, CodeSize::Bits64),
            stack((kernel & !3).wrapping_add(8), 0),
            code(user.wrapping_add(16), 3, CodeSize::Bits64),
            stack(user.wrapping_add(8), 3),
        ],
    };
}

fn sysret(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let amd = cpu.features.has(has::AMD);
    let usable = cpu.code_size == CodeSize::Bits64 || amd && cpu.protected();
    if cpu.efer & efer::SCE == 0 || !usable {
        return cpu.ud();
    }
    cpu.only_level_0()?;
    let selector = (cpu.msrs.star >> 48) as u16;
    let (target, code) = if op.size == 8 {
        // Checked at level 0: the fault is the kernel's, on its stack.
        if !Cpu::canonical(cpu.gpr[RCX]) {
            return cpu.gp(0);
        }
        let selector = selector.wrapping_add(16);
        (cpu.gpr[RCX], code(selector, 3, CodeSize::Bits64))
    } else {
        let target = cpu.gpr[RCX] & 0xffff_ffff;
        (target, code(selector, 3, CodeSize::Bits32))
    };
    let flags = if cpu.long_mode() {
        cpu.gpr[R11] & SYSRET_FLAGS
    } else {
        cpu.read_rflags() | rflags::IF
    };
    cpu.write_rflags(flags);
    if flags & rflags::TF != 0 {
        // As if the SYSCALL that this returns from had completed just now.
        cpu.debug_pending |= dr6::BS;
        cpu.set_attention(attention::DEBUG, true);
    }
    put_flat(cpu, 3, code, stack(selector.wrapping_add(8), 3));
    cpu.rip = target;
    Ok(())
}

/// SYSENTER_CS, where the pair may be used at all.
fn sysenter_selector(cpu: &mut Cpu) -> Result<u16, Stop> {
    let amd = cpu.features.has(has::AMD);
    if !cpu.features.has(has::SYSENTER) || amd && cpu.long_mode() {
        return cpu.ud();
    }
    let selector = cpu.msrs.sysenter_cs as u16 & !3;
    if !cpu.protected() || selector == 0 {
        return cpu.gp(0);
    }
    Ok(selector)
}

fn sysenter(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let selector = sysenter_selector(cpu)?;
    let (size, mask) = if cpu.long_mode() {
        (CodeSize::Bits64, u64::MAX)
    } else {
        (CodeSize::Bits32, 0xffff_ffff)
    };
    let flags = cpu.read_rflags() & !(rflags::VM | rflags::IF | rflags::RF);
    cpu.write_rflags(flags);
    let stack = stack(selector.wrapping_add(8), 0);
    put_flat(cpu, 0, code(selector, 0, size), stack);
    cpu.gpr[RSP] = cpu.msrs.sysenter_esp & mask;
    cpu.rip = cpu.msrs.sysenter_eip & mask;
    Ok(())
}

fn sysexit(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let selector = sysenter_selector(cpu)?;
    cpu.only_level_0()?;
    let (rip, rsp) = (cpu.gpr[RDX], cpu.gpr[RCX]);
    if op.size == 8 {
        if !Cpu::canonical(rip) || !Cpu::canonical(rsp) {
            return cpu.gp(0);
        }
        let stack = stack(selector.wrapping_add(40), 3);
        let code = code(selector.wrapping_add(32), 3, CodeSize::Bits64);
        put_flat(cpu, 3, code, stack);
        (cpu.rip, cpu.gpr[RSP]) = (rip, rsp);
    } else {
        let stack = stack(selector.wrapping_add(24), 3);
        let code = code(selector.wrapping_add(16), 3, CodeSize::Bits32);
        put_flat(cpu, 3, code, stack);
        (cpu.rip, cpu.gpr[RSP]) = (rip & 0xffff_ffff, rsp & 0xffff_ffff);
    }
    Ok(())
}
