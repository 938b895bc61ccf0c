//! RDMSR and WRMSR. The MSRs that instructions depend on are kept here, every other one is asked of
//! the machine. Spec: Intel SDM Vol. 4, "Model-Specific Registers"; Vol. 2, "RDMSR", "WRMSR".

use engine::Exit;
use iced_x86::{Instruction, Mnemonic};
use x86::SegmentRegister;
use x86::msr;
use x86::register::gpr::{RAX, RCX, RDX};
use x86::register::{cr0, efer};

use crate::cpu::Cpu;
use crate::cpu::features::has;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Rdmsr => rdmsr,
        Mnemonic::Wrmsr => wrmsr,
        _ => return None,
    };
    // A write may change the mode, or what the machine has pending.
    Lowered::ending(Op::new(insn, context.code, run))
}

impl Cpu {
    /// EDX:EAX.
    pub(crate) fn edx_eax(&self) -> u64 {
        self.gpr[RDX] << 32 | self.gpr[RAX] & 0xffff_ffff
    }

    pub(crate) fn put_edx_eax(&mut self, value: u64) {
        self.gpr[RAX] = value & 0xffff_ffff;
        self.gpr[RDX] = value >> 32;
    }
}

fn rdmsr(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()?;
    let index = cpu.gpr[RCX] as u32;
    let value = match kept(cpu, index) {
        true => read(cpu, index),
        false => cpu.external(Exit::MsrRead { index })?,
    };
    cpu.put_edx_eax(value);
    Ok(())
}

fn wrmsr(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()?;
    let index = cpu.gpr[RCX] as u32;
    let value = cpu.edx_eax();
    if kept(cpu, index) {
        write(cpu, index, value)
    } else {
        cpu.external(Exit::MsrWrite { index, value })?;
        if index == msr::APIC_BASE {
            cpu.apic_enabled = value & msr::APIC_ENABLE != 0;
        }
        Ok(())
    }
}

/// Is the MSR kept here? One without its CPUID feature is the machine's to refuse.
fn kept(cpu: &mut Cpu, index: u32) -> bool {
    match index {
        msr::EFER => cpu.features.efer != 0,
        msr::FS_BASE | msr::GS_BASE | msr::TSC => true,
        msr::TSC_ADJUST => cpu.features.has(has::TSC_ADJUST),
        msr::TSC_AUX => cpu.features.has(has::RDTSCP) || cpu.features.has(has::RDPID),
        msr::PKRS => cpu.features.has(has::PKS),
        msr::XSS => cpu.features.has(has::XSAVES),
        _ => cpu.msrs.field(index).is_some(),
    }
}

fn read(cpu: &mut Cpu, index: u32) -> u64 {
    match index {
        msr::EFER => cpu.efer,
        msr::FS_BASE => cpu.segment_bases[SegmentRegister::Fs as usize],
        msr::GS_BASE => cpu.segment_bases[SegmentRegister::Gs as usize],
        msr::TSC => cpu.tsc(),
        _ => cpu.msrs.field(index).map_or(0, |field| *field),
    }
}

fn write(cpu: &mut Cpu, index: u32, value: u64) -> Result<(), Stop> {
    if !valid(index, value) {
        return cpu.gp(0);
    }
    cpu.native.fast_calls.ready = 0;
    match index {
        msr::EFER => return write_efer(cpu, value),
        msr::FS_BASE => cpu.put_base(SegmentRegister::Fs, value),
        msr::GS_BASE => cpu.put_base(SegmentRegister::Gs, value),
        msr::TSC => {
            let change = value.wrapping_sub(cpu.tsc());
            cpu.msrs.tsc_offset = cpu.msrs.tsc_offset.wrapping_add(change);
            cpu.msrs.tsc_adjust = cpu.msrs.tsc_adjust.wrapping_add(change);
        }
        msr::TSC_ADJUST => {
            let change = value.wrapping_sub(cpu.msrs.tsc_adjust);
            cpu.msrs.tsc_offset = cpu.msrs.tsc_offset.wrapping_add(change);
            cpu.msrs.tsc_adjust = value;
        }
        _ => {
            if let Some(field) = cpu.msrs.field(index) {
                *field = value;
            }
            if index == msr::PKRS {
                cpu.mmu.flush_all();
            }
        }
    }
    Ok(())
}

fn valid(index: u32, value: u64) -> bool {
    match index {
        msr::FS_BASE
        | msr::GS_BASE
        | msr::KERNEL_GS_BASE
        | msr::LSTAR
        | msr::CSTAR
        | msr::SYSENTER_ESP
        | msr::SYSENTER_EIP => Cpu::canonical(value),
        msr::PAT => value
            .to_le_bytes()
            .iter()
            .all(|t| matches!(t, 0 | 1 | 4..=7)),
        msr::TSC_AUX | msr::PKRS | msr::FMASK => value >> 32 == 0,
        // No supervisor state component exists.
        msr::XSS => value == 0,
        _ => true,
    }
}

fn write_efer(cpu: &mut Cpu, value: u64) -> Result<(), Stop> {
    let changed = cpu.efer ^ value;
    let paging = cpu.cr0 & cr0::PG != 0;
    if value & !cpu.features.efer != 0 || paging && changed & efer::LME != 0 {
        return cpu.gp(0);
    }
    // LMA follows LME and CR0.PG alone; what is written to it is ignored.
    cpu.efer = value & !efer::LMA | cpu.efer & efer::LMA;
    if changed & efer::NXE != 0 {
        cpu.mmu.flush_all();
    }
    Ok(())
}
