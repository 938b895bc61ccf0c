//! RDRAND and RDSEED, from the host kernel's generator. Spec: Intel SDM Vol. 2, "RDRAND", "RDSEED".

use iced_x86::{Instruction, Mnemonic};
use rustix::rand::{GetRandomFlags, getrandom};

use super::operand::{note_general, put};
use crate::cpu::Cpu;
use crate::cpu::features::has;
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Rdrand => rdrand,
        Mnemonic::Rdseed => rdseed,
        _ => return None,
    };
    let mut op = Op::new(insn, context.code, run);
    note_general(&mut op, insn, 0);
    Lowered::straight(op)
}

fn rdrand(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    random(cpu, op, has::RDRAND)
}

fn rdseed(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    random(cpu, op, has::RDSEED)
}

fn random(cpu: &mut Cpu, op: &Op, feature: u32) -> Result<(), Stop> {
    cpu.needs(feature)?;
    let mut bytes = [0; 8];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty());
    // Without entropy the register is zero and CF is clear, as the architecture has it.
    let success = filled.is_ok_and(|count| count == bytes.len());
    let value = if success {
        u64::from_le_bytes(bytes)
    } else {
        0
    };
    put(cpu, op.dst, op.size, value);
    // CF alone says whether it worked; the other status flags are cleared.
    cpu.status &= 0x200;
    cpu.set_carry(success);
    Ok(())
}
