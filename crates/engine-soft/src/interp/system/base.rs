//! FS and GS bases: SWAPGS, RDFSBASE and its like. Spec: Intel SDM Vol. 2 under these names.

use iced_x86::{Instruction, Mnemonic};
use x86::SegmentRegister;
use x86::register::cr4;

use super::operand::{note_general, put};
use crate::cpu::Cpu;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};
use crate::word::Word;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Swapgs => swapgs,
        Mnemonic::Rdfsbase => rdfsbase,
        Mnemonic::Rdgsbase => rdgsbase,
        Mnemonic::Wrfsbase => wrfsbase,
        Mnemonic::Wrgsbase => wrgsbase,
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    if insn.mnemonic() != Mnemonic::Swapgs {
        note_general(&mut op, insn, 0);
    }
    Lowered::straight(op)
}

impl Cpu {
    /// Replaces the base of FS or GS; selector and rights stay.
    pub(crate) fn put_base(&mut self, register: SegmentRegister, base: u64) {
        self.segments[register as usize].base = base;
        self.segment_bases[register as usize] = base;
    }
}

fn swapgs(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.only_64_bit()?;
    cpu.only_level_0()?;
    let kernel = cpu.msrs.kernel_gs_base;
    cpu.msrs.kernel_gs_base = cpu.segment_bases[SegmentRegister::Gs as usize];
    cpu.put_base(SegmentRegister::Gs, kernel);
    Ok(())
}

fn may_use(cpu: &mut Cpu) -> Result<(), Stop> {
    if cpu.cr4 & cr4::FSGSBASE == 0 {
        return cpu.ud();
    }
    cpu.only_64_bit()
}

fn rdfsbase(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    read(cpu, op, SegmentRegister::Fs)
}

fn rdgsbase(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    read(cpu, op, SegmentRegister::Gs)
}

fn read(cpu: &mut Cpu, op: &Op, register: SegmentRegister) -> Result<(), Stop> {
    may_use(cpu)?;
    let base = cpu.segment_bases[register as usize];
    put(cpu, op.dst, op.size, base);
    Ok(())
}

fn wrfsbase(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    write(cpu, op, SegmentRegister::Fs)
}

fn wrgsbase(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    write(cpu, op, SegmentRegister::Gs)
}

fn write(cpu: &mut Cpu, op: &Op, register: SegmentRegister) -> Result<(), Stop> {
    may_use(cpu)?;
    let base = if op.size == 8 {
        u64::get(&cpu.gpr, op.dst)
    } else {
        u64::from(u32::get(&cpu.gpr, op.dst))
    };
    if !Cpu::canonical(base) {
        return cpu.gp(0);
    }
    cpu.put_base(register, base);
    Ok(())
}
