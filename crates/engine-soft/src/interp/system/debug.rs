//! Debug registers. Spec: Intel SDM Vol. 3, "Debug, Branch Profile, TSC…", "Debug Registers".

use iced_x86::{Code, Instruction, Register};
use x86::Exception;
use x86::exception::vector;
use x86::register::{cr4, dr6, dr7};

use crate::cpu::{Cpu, attention};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Op, Stop, register_offset};
use crate::word::Word;

/// Bits of DR6 that are kept; the others read as one or zero.
const DR6_KEPT: u64 = 0xf | dr6::BD | dr6::BS | dr6::BT;
/// Bits of DR7 that read as zero whatever is written: 11, 12, 14 and 15.
const DR7_ZERO: u64 = 0xd800;

impl Cpu {
    /// DR7 changed: does the run loop have to look for instruction breakpoints?
    pub(crate) fn update_breakpoints(&mut self) {
        let dr7 = self.dr[5];
        let executes = |n: u32| dr7 >> (2 * n) & 3 != 0 && dr7 >> (16 + 4 * n) & 3 == 0;
        self.set_attention(attention::BREAKPOINT, (0..4).any(executes));
    }

    /// An instruction accessed these ports: breakpoints on them trap after it, with CR4.DE.
    pub(crate) fn note_port_breakpoints(&mut self, port: u16, size: u8) {
        if self.dr[5] & 0xff == 0 || self.cr4 & cr4::DE == 0 {
            return;
        }
        let (first, last) = (u64::from(port), u64::from(port) + u64::from(size) - 1);
        for n in 0..4 {
            let control = self.dr[5] >> (16 + 4 * n);
            let on_ports = self.dr[5] >> (2 * n) & 3 != 0 && control & 3 == 2;
            let length = [1, 2, 8, 4][(control >> 2 & 3) as usize];
            let base = self.dr[n] & !(length - 1);
            if on_ports && first < base.saturating_add(length) && base <= last {
                self.debug_pending |= 1 << n;
                self.set_attention(attention::DEBUG, true);
                self.limit = 0;
            }
        }
    }
}

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let write = match insn.code() {
        Code::Mov_r32_dr | Code::Mov_r64_dr => false,
        Code::Mov_dr_r32 | Code::Mov_dr_r64 => true,
        _ => return None,
    };
    let (debug, general) = if write {
        (insn.op0_register(), insn.op1_register())
    } else {
        (insn.op1_register(), insn.op0_register())
    };
    let mut op = Op::new(insn, context.code, if write { to_dr } else { from_dr });
    op.extra = debug as u32 - Register::DR0 as u32;
    op.dst = register_offset(general);
    op.size = if general.is_gpr64() { 8 } else { 4 };
    Lowered::ending(op)
}

/// Index in `Cpu::dr`, after the checks that all accesses share.
fn index(cpu: &mut Cpu, op: &Op) -> Result<usize, Stop> {
    let aliased = matches!(op.extra, 4 | 5);
    if op.extra > 7 || aliased && cpu.cr4 & cr4::DE != 0 {
        return cpu.ud();
    }
    if cpu.cpl != 0 {
        return cpu.gp(0);
    }
    if cpu.dr[5] & dr7::GD != 0 {
        cpu.dr[4] |= dr6::BD;
        return cpu.raise(Exception::plain(vector::DB));
    }
    Ok(match op.extra {
        4 | 6 => 4,
        5 | 7 => 5,
        n => n as usize,
    })
}

fn from_dr(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let value = cpu.dr[index(cpu, op)?];
    if op.size == 8 {
        u64::set(&mut cpu.gpr, op.dst, value);
    } else {
        u32::set(&mut cpu.gpr, op.dst, value as u32);
    }
    Ok(())
}

fn to_dr(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let index = index(cpu, op)?;
    let value = if op.size == 8 {
        u64::get(&cpu.gpr, op.dst)
    } else {
        u64::from(u32::get(&cpu.gpr, op.dst))
    };
    if index >= 4 && value >> 32 != 0 {
        return cpu.gp(0);
    }
    cpu.dr[index] = match index {
        4 => value & DR6_KEPT | dr6::FIXED,
        5 => value & !DR7_ZERO | dr7::FIXED,
        _ => value,
    };
    cpu.update_breakpoints();
    // Pages with a data breakpoint have no direct entries, and others shall have them again.
    if index != 4 {
        cpu.mmu.flush_all();
    }
    Ok(())
}
