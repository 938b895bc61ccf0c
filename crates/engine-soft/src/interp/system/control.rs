//! Control registers. Spec: Intel SDM Vol. 3, "Control Registers", "Paging-Mode Modifiers",
//! "Initializing IA-32e Mode"; Vol. 2, "MOV—Move to/from Control Registers", "LMSW", "SMSW", "CLTS".

use engine::Exit;
use iced_x86::{Code, Instruction, Mnemonic, Register};
use x86::register::{cr0, cr4, efer};
use x86::{Segment, SegmentRegister};

use super::operand::{note_general, put};
use super::tables::prevent_in_user_mode;
use crate::cpu::{CodeSize, Cpu};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop, register_offset};
use crate::mmu::access_raw::physical_read;
use crate::word::Word;

/// Bits of CR0 that exist; others read as zero.
const CR0: u64 = cr0::PE
    | cr0::MP
    | cr0::EM
    | cr0::TS
    | cr0::NE
    | cr0::WP
    | cr0::AM
    | cr0::NW
    | cr0::CD
    | cr0::PG;
/// In CR3 with PCIDs: keep what the TLB holds.
const NO_FLUSH: u64 = 1 << 63;
const PCID: u64 = 0xfff;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    match insn.code() {
        Code::Mov_r32_cr | Code::Mov_r64_cr => {
            let (general, control) = (insn.op0_register(), insn.op1_register());
            lower_move(insn, context, general, control, from_cr)
        }
        Code::Mov_cr_r32 | Code::Mov_cr_r64 => {
            let (control, general) = (insn.op0_register(), insn.op1_register());
            lower_move(insn, context, general, control, to_cr)
        }
        _ => lower_machine_status(insn, context),
    }
}

fn lower_move(
    insn: &Instruction,
    context: Context,
    general: Register,
    control: Register,
    run: Handler,
) -> Option<Lowered> {
    let mut op = Op::new(insn, context.code, run);
    op.dst = register_offset(general);
    op.size = general.size() as u8;
    op.extra = control as u32 - Register::CR0 as u32;
    Lowered::ending(op)
}

fn lower_machine_status(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Lmsw => lmsw,
        Mnemonic::Smsw => smsw,
        Mnemonic::Clts => clts,
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    if insn.op_count() == 1 {
        note_general(&mut op, insn, 0);
    }
    Lowered::ending(op)
}

fn from_cr(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()?;
    let value = match op.extra {
        0 => cpu.cr0,
        2 => cpu.cr2,
        3 => cpu.cr3,
        4 => cpu.cr4,
        8 => cpu.external(Exit::TprRead)? & 0xf,
        _ => return cpu.ud(),
    };
    put(cpu, op.dst, op.size, value);
    Ok(())
}

fn to_cr(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()?;
    let value = if op.size == 8 {
        u64::get(&cpu.gpr, op.dst)
    } else {
        u64::from(u32::get(&cpu.gpr, op.dst))
    };
    match op.extra {
        0 => cpu.set_cr0(value),
        2 => {
            cpu.cr2 = value;
            Ok(())
        }
        3 => cpu.set_cr3(value),
        4 => cpu.set_cr4(value),
        8 if value > 0xf => cpu.gp(0),
        8 => {
            let value = value as u8;
            cpu.external(Exit::TprWrite { value }).map(|_| ())
        }
        _ => cpu.ud(),
    }
}

fn lmsw(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()?;
    let word = u64::from(cpu.word_operand(op)?);
    // PE can be set this way, never cleared.
    let status = word & (cr0::PE | cr0::MP | cr0::EM | cr0::TS);
    let kept = cpu.cr0 & !(cr0::MP | cr0::EM | cr0::TS);
    cpu.set_cr0(kept | status)
}

fn smsw(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    prevent_in_user_mode(cpu)?;
    cpu.put_word_operand(op, cpu.cr0)
}

fn clts(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()?;
    cpu.cr0 &= !cr0::TS;
    Ok(())
}

impl Cpu {
    /// Replaces CR0, entering and leaving protected mode, paging and long mode.
    pub(crate) fn set_cr0(&mut self, value: u64) -> Result<(), Stop> {
        let new = value & CR0 | cr0::ET;
        let (was_on, on) = (self.cr0 & cr0::PG != 0, new & cr0::PG != 0);
        let inconsistent = on && new & cr0::PE == 0 || new & (cr0::NW | cr0::CD) == cr0::NW;
        if value >> 32 != 0 || inconsistent {
            return self.gp(0);
        }
        let mut efer = self.efer;
        if on && !was_on {
            efer = self.efer_with_paging()?;
        } else if was_on && !on {
            if self.code_size == CodeSize::Bits64 || self.cr4 & cr4::PCIDE != 0 {
                return self.gp(0);
            }
            efer &= !efer::LMA;
        }
        let changed = self.cr0 ^ new;
        self.cr0 = new;
        self.efer = efer;
        if changed & (cr0::PG | cr0::PE | cr0::WP) != 0 {
            self.mmu.flush_all();
        }
        self.update_modes();
        Ok(())
    }

    /// EFER as it becomes when paging is switched on.
    fn efer_with_paging(&mut self) -> Result<u64, Stop> {
        let pae = self.cr4 & cr4::PAE != 0;
        if self.efer & efer::LME == 0 {
            if pae {
                self.check_pdptes(self.cr3)?;
            }
            return Ok(self.efer);
        }
        let long_code = self.segment(SegmentRegister::Cs).has(Segment::LONG);
        if !pae || long_code {
            return self.gp(0);
        }
        Ok(self.efer | efer::LMA)
    }

    /// #GP(0) where a present page-directory-pointer entry of PAE paging has a reserved bit set.
    fn check_pdptes(&mut self, cr3: u64) -> Result<(), Stop> {
        const RESERVED: u64 = 0xfff0_0000_0000_01e6;
        let reserved = RESERVED | self.mmu.beyond_physical;
        for n in 0..4 {
            let entry = physical_read(self, (cr3 & 0xffff_ffe0) + n * 8, 8);
            if entry & 1 != 0 && entry & reserved != 0 {
                return self.gp(0);
            }
        }
        Ok(())
    }

    fn uses_pae_paging(&self) -> bool {
        self.cr0 & cr0::PG != 0 && self.cr4 & cr4::PAE != 0 && !self.long_mode()
    }

    fn set_cr3(&mut self, value: u64) -> Result<(), Stop> {
        let pcids = self.cr4 & cr4::PCIDE != 0;
        let keep = pcids && value & NO_FLUSH != 0;
        let value = if pcids { value & !NO_FLUSH } else { value };
        if value & (self.mmu.beyond_physical | 0xfff0_0000_0000_0000) != 0 {
            return self.gp(0);
        }
        if self.uses_pae_paging() {
            self.check_pdptes(value)?;
        }
        self.cr3 = value;
        self.mmu.enter_space(self.pcid(), keep);
        Ok(())
    }

    /// The process-context identifier in use.
    pub(crate) fn pcid(&self) -> u16 {
        if self.cr4 & cr4::PCIDE != 0 {
            (self.cr3 & PCID) as u16
        } else {
            0
        }
    }

    fn set_cr4(&mut self, value: u64) -> Result<(), Stop> {
        const PAGING: u64 = cr4::PAE
            | cr4::PSE
            | cr4::PGE
            | cr4::SMEP
            | cr4::SMAP
            | cr4::PKE
            | cr4::PKS
            | cr4::PCIDE;
        let changed = self.cr4 ^ value;
        let leaves_pae = self.long_mode() && value & cr4::PAE == 0;
        if value & !self.features.cr4 != 0 || leaves_pae {
            return self.gp(0);
        }
        if changed & value & cr4::PCIDE != 0 && (!self.long_mode() || self.cr3 & PCID != 0) {
            return self.gp(0);
        }
        let pae_paging = self.cr0 & cr0::PG != 0 && value & cr4::PAE != 0 && !self.long_mode();
        if pae_paging && changed & PAGING != 0 {
            self.check_pdptes(self.cr3)?;
        }
        self.cr4 = value;
        self.native.fast_calls.ready = 0;
        if changed & PAGING != 0 {
            self.mmu.start(self.pcid());
        }
        self.update_modes();
        Ok(())
    }
}
