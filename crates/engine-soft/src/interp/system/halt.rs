//! HLT and calls to the hypervisor. Spec: Intel SDM Vol. 2, "HLT"; Vol. 3, "VMCALL"; Linux
//! Documentation/virt/kvm/x86/hypercalls.rst.

use engine::Exit;
use iced_x86::{Instruction, Mnemonic};
use x86::register::gpr::{RAX, RBX, RCX, RDX, RSI};

use crate::cpu::features::has;
use crate::cpu::{CodeSize, Cpu};
use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op, Stop};

/// What a call from outside level 0 gets: not permitted.
const KVM_EPERM: u64 = 1;

pub(crate) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Hlt => hlt,
        // Linux takes Intel's or AMD's by vendor; either works, as under KVM.
        Mnemonic::Vmcall | Mnemonic::Vmmcall => hypercall,
        _ => return None,
    };
    Lowered::ending(Op::new(insn, context.code, run))
}

fn hlt(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.only_level_0()?;
    cpu.exit = Some(Exit::Halted);
    Err(Stop::Leave)
}

fn hypercall(cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    cpu.needs(has::HYPERVISOR)?;
    let mask = if cpu.code_size == CodeSize::Bits64 {
        u64::MAX
    } else {
        0xffff_ffff
    };
    let argument = |register: usize| cpu.gpr[register] & mask;
    let number = argument(RAX);
    let args = [RBX, RCX, RDX, RSI].map(argument);
    let answer = if cpu.cpl == 0 {
        cpu.external(Exit::Hypercall { number, args })?
    } else {
        KVM_EPERM.wrapping_neg()
    };
    cpu.gpr[RAX] = answer & mask;
    Ok(())
}
