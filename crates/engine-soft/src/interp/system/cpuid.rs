//! CPUID, XGETBV and XSETBV. Spec: Intel SDM Vol. 2, "CPUID", "XGETBV", "XSETBV"; AMD APM Vol. 3,
//! "CPUID"; Linux Documentation/virt/kvm/x86/cpuid.rst for leaves 4000_00xxh.

use iced_x86::{Instruction, Mnemonic};
use x86::cpuid::CpuidEntry;
use x86::register::gpr::{RAX, RBX, RCX, RDX};
use x86::register::{cr4, xcr0};

use crate::cpu::Cpu;
use crate::cpu::features::has;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Cpuid => cpuid,
        Mnemonic::Xgetbv => xgetbv,
        Mnemonic::Xsetbv => xsetbv,
        _ => return None,
    };
    let op = Op::new(insn, context.code, run);
    // XCR0 says which vector instructions exist.
    if insn.mnemonic() == Mnemonic::Xsetbv {
        Lowered::ending(op)
    } else {
        Lowered::straight(op)
    }
}

fn cpuid(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    let (leaf, subleaf) = (cpu.gpr[RAX] as u32, cpu.gpr[RCX] as u32);
    let mut entry = look_up(cpu, leaf, subleaf);
    match (entry.leaf, entry.subleaf) {
        (1, _) => {
            follow(&mut entry.ecx, 27, cpu.cr4 & cr4::OSXSAVE != 0);
            if !cpu.apic_enabled {
                follow(&mut entry.edx, 9, false);
            }
        }
        (7, 0) => follow(&mut entry.ecx, 4, cpu.cr4 & cr4::PKE != 0),
        (0xd, 0) if entry.eax != 0 => entry.ebx = cpu.cpuid.xsave_size(cpu.xcr0),
        _ => {}
    }
    cpu.gpr[RAX] = u64::from(entry.eax);
    cpu.gpr[RBX] = u64::from(entry.ebx);
    cpu.gpr[RCX] = u64::from(entry.ecx);
    cpu.gpr[RDX] = u64::from(entry.edx);
    Ok(())
}

fn follow(register: &mut u32, bit: u32, on: bool) {
    *register = *register & !(1 << bit) | u32::from(on) << bit;
}

/// Leaves above the highest answer as the highest basic one (Intel), or zeros (AMD). Sub-leaves
/// that do not exist answer zeros.
fn look_up(cpu: &Cpu, leaf: u32, subleaf: u32) -> CpuidEntry {
    let zeros = CpuidEntry {
        leaf,
        subleaf,
        ..CpuidEntry::default()
    };
    let table = &cpu.cpuid;
    let highest = |first| table.find(first, 0).map_or(0, |entry| entry.eax);
    let leaf = match leaf {
        // Of a hypervisor there is what it says there is.
        0x4000_0000..=0x4fff_ffff => leaf,
        0x8000_0000..=0x8fff_ffff if leaf <= highest(0x8000_0000) => leaf,
        _ if leaf <= highest(0) => leaf,
        _ if cpu.features.has(has::AMD) => return zeros,
        _ => highest(0),
    };
    if let Some(entry) = table.find(leaf, subleaf) {
        return *entry;
    }
    // The topology leaves give back the sub-leaf asked for, and the APIC id, for every level.
    match table.find(leaf, 0) {
        Some(first) if matches!(leaf, 0xb | 0x1f) => CpuidEntry {
            ecx: subleaf & 0xff,
            edx: first.edx,
            ..zeros
        },
        _ => zeros,
    }
}

fn xgetbv(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    if cpu.cr4 & cr4::OSXSAVE == 0 {
        return cpu.ud();
    }
    match cpu.gpr[RCX] as u32 {
        0 => cpu.put_edx_eax(cpu.xcr0),
        // Which components are in use: all may be said to be.
        1 if cpu.features.has(has::XINUSE) => cpu.put_edx_eax(cpu.xcr0),
        _ => return cpu.gp(0),
    }
    Ok(())
}

fn xsetbv(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    if cpu.cr4 & cr4::OSXSAVE == 0 {
        return cpu.ud();
    }
    cpu.only_level_0()?;
    let value = cpu.edx_eax();
    let avx_alone = value & (xcr0::AVX | xcr0::SSE) == xcr0::AVX;
    let wrong = value & xcr0::X87 == 0 || avx_alone || value & !cpu.features.xcr0 != 0;
    if cpu.gpr[RCX] as u32 != 0 || wrong {
        return cpu.gp(0);
    }
    cpu.xcr0 = value;
    Ok(())
}

#[cfg(test)]
mod tests;
