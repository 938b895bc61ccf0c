//! From a guest instruction to the native stub that executes it, and what the stub needs.
//!
//! An instruction is normalised before it is looked up: operand k becomes host register k + 1 of
//! its class (XMM1 to XMM4, MM1 to MM4) or R10, R11, RAX for general registers, a memory operand
//! becomes `[rdi]`, implied registers stay themselves. The stub loads operands from where its caller
//! points and stores back what the instruction writes. So one stub serves every choice of
//! registers, and there are no more stubs than opcodes times immediate bytes: they are built once
//! for the process and never freed. Rejected: keeping the guest's register numbers in the stub,
//! which saves the pointers but makes thousands of stubs of one opcode, and so needs eviction.
//!
//! Nothing is assumed of an instruction that the decoder's tables do not say: if it touches a
//! register or memory that is not accounted for here, it has no template and raises #UD.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use iced_x86::{
    CodeSize, EncodingKind, Instruction, InstructionInfo, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};

use super::stub_raw::{Entry, publish};
use super::{emit, rules};

/// What an operand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// None, an immediate, or memory.
    Other = 0,
    Vector = 1,
    Mmx = 2,
    General = 3,
}

/// Bits of [`Template::flags`].
pub(crate) mod needs {
    pub(crate) const LOAD: u8 = 1 << 0;
    pub(crate) const STORE: u8 = 1 << 1;
    /// The memory operand must be aligned to its size: #GP(0).
    pub(crate) const ALIGN: u8 = 1 << 2;
    /// Reads or writes status flags.
    pub(crate) const STATUS: u8 = 1 << 3;
    pub(crate) const MXCSR: u8 = 1 << 4;
    /// RAX, RCX or RDX without naming it.
    pub(crate) const IMPLIED_GPR: u8 = 1 << 5;
    pub(crate) const IMPLIED_XMM0: u8 = 1 << 6;
    pub(crate) const VEX: u8 = 1 << 7;
}

/// A published stub and what its caller must provide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Template {
    pub(crate) entry: Entry,
    /// See [`needs`].
    pub(crate) flags: u8,
    /// [`Kind`] of each operand, two bits each.
    pub(crate) kinds: u8,
    /// Bit k: operand k is a general register that is written.
    pub(crate) written: u8,
    /// Bytes of the memory operand; 0 where there is none.
    pub(crate) memory: u8,
}

/// A normalised instruction and how it treats its operands.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) body: Instruction,
    pub(crate) kinds: [Kind; 4],
    pub(crate) hosts: [Register; 4],
    pub(crate) written: [bool; 4],
    /// See [`needs`].
    pub(crate) flags: u8,
    /// Implied registers: RAX, RCX, RDX, XMM0.
    pub(crate) implied: [bool; 4],
    pub(crate) xmm0_written: bool,
    /// Some operand is a YMM register.
    pub(crate) wide: bool,
    pub(crate) memory: u8,
}

/// The host gives no executable memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoMemory;

type Cache = Mutex<HashMap<u64, Option<Template>>>;
static TEMPLATES: LazyLock<Cache> = LazyLock::new(Cache::default);

/// The template of `insn`; `None` where there can be none.
pub(crate) fn find(insn: &Instruction) -> Result<Option<Template>, NoMemory> {
    let Some(key) = key(insn) else {
        return Ok(None);
    };
    let mut templates = TEMPLATES
        .lock()
        .unwrap_or_else(|broken| broken.into_inner());
    if let Some(template) = templates.get(&key) {
        return Ok(*template);
    }
    let built = build(insn)?;
    templates.insert(key, built);
    Ok(built)
}

/// Everything about the instruction that its stub depends on.
fn key(insn: &Instruction) -> Option<u64> {
    let mut key = insn.code() as u64;
    for n in 0..insn.op_count() {
        let part = match insn.op_kind(n) {
            OpKind::Register => 1,
            OpKind::Memory => 2,
            OpKind::Immediate8 => 3,
            _ => return None,
        };
        key |= part << (24 + 2 * n);
        if part == 3 {
            key |= u64::from(insn.immediate8()) << 16;
        }
        if insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_st() {
            key |= (insn.op_register(n).number() as u64) << (40 + 4 * n);
        }
    }
    Some(key)
}

fn build(insn: &Instruction) -> Result<Option<Template>, NoMemory> {
    let Some(plan) = plan(insn) else {
        return Ok(None);
    };
    let Some(code) = code(insn, &plan) else {
        return Ok(None);
    };
    let entry = publish(&code).ok_or(NoMemory)?;
    let general = |k: usize| plan.written[k] && plan.kinds[k] == Kind::General;
    Ok(Some(Template {
        entry,
        flags: plan.flags,
        kinds: (0..4).fold(0, |all, k| all | (plan.kinds[k] as u8) << (2 * k)),
        written: (0..4).fold(0, |all, k| all | u8::from(general(k)) << k),
        memory: plan.memory,
    }))
}

/// The stub's bytes.
fn code(insn: &Instruction, plan: &Plan) -> Option<Vec<u8>> {
    if rules::is_x87(insn) {
        emit::x87(plan)
    } else {
        emit::vector(plan)
    }
}

const GENERAL: [[Register; 4]; 3] = [
    [
        Register::R10L,
        Register::R10W,
        Register::R10D,
        Register::R10,
    ],
    [
        Register::R11L,
        Register::R11W,
        Register::R11D,
        Register::R11,
    ],
    [Register::AL, Register::AX, Register::EAX, Register::RAX],
];

/// Class of a register operand and the host register that stands for it.
fn stand_in(register: Register, k: usize) -> Option<(Kind, Register)> {
    let number = u32::try_from(k).ok()? + 1;
    if register.is_xmm() {
        return Some((Kind::Vector, Register::XMM0 + number));
    }
    if register.is_ymm() {
        return Some((Kind::Vector, Register::YMM0 + number));
    }
    if register.is_mm() {
        return Some((Kind::Mmx, Register::MM0 + number));
    }
    if register.is_st() {
        return Some((Kind::Other, register));
    }
    if !register.is_gpr() {
        return None;
    }
    let width = register.size().trailing_zeros() as usize;
    Some((Kind::General, *GENERAL.get(k)?.get(width)?))
}

pub(crate) fn plan(insn: &Instruction) -> Option<Plan> {
    let mut plan = Plan {
        body: *insn,
        kinds: [Kind::Other; 4],
        hosts: [Register::None; 4],
        written: [false; 4],
        flags: 0,
        implied: [false; 4],
        xmm0_written: false,
        wide: false,
        memory: 0,
    };
    if insn.op_count() > 4 {
        return None;
    }
    for k in 0..insn.op_count() {
        if insn.op_kind(k) != OpKind::Register {
            continue;
        }
        let (kind, host) = stand_in(insn.op_register(k), k as usize)?;
        plan.body.set_op_register(k, host);
        plan.wide |= host.is_ymm();
        plan.kinds[k as usize] = kind;
        plan.hosts[k as usize] = host;
    }
    strip(&mut plan.body);
    account(&mut plan)?;
    Some(plan)
}

/// Takes away what the guest's mode and addressing add: prefixes, segment, address.
fn strip(body: &mut Instruction) {
    body.set_code_size(CodeSize::Code64);
    body.set_segment_prefix(Register::None);
    body.set_has_rep_prefix(false);
    body.set_has_repne_prefix(false);
    body.set_has_lock_prefix(false);
    body.set_has_xacquire_prefix(false);
    body.set_has_xrelease_prefix(false);
    if (0..body.op_count()).any(|n| body.op_kind(n) == OpKind::Memory) {
        body.set_memory_base(Register::RDI);
        body.set_memory_index(Register::None);
        body.set_memory_index_scale(1);
        body.set_memory_displacement64(0);
        body.set_memory_displ_size(0);
    }
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// Checks that every register and byte the body touches is one the stub provides.
fn account(plan: &mut Plan) -> Option<()> {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&plan.body);
    for k in 0..plan.body.op_count() {
        plan.written[k as usize] = writes(info.op_access(k));
    }
    account_memory(plan, info)?;
    account_registers(plan, info)?;
    let body = &plan.body;
    if body.rflags_read() | body.rflags_modified() != 0 {
        plan.flags |= needs::STATUS;
    }
    if rules::uses_mxcsr(body.mnemonic()) {
        plan.flags |= needs::MXCSR;
    }
    if body.encoding() == EncodingKind::VEX {
        plan.flags |= needs::VEX;
    }
    if rules::must_be_aligned(body, plan.memory) {
        plan.flags |= needs::ALIGN;
    }
    Some(())
}

fn account_memory(plan: &mut Plan, info: &InstructionInfo) -> Option<()> {
    let named = (0..plan.body.op_count()).any(|n| plan.body.op_kind(n) == OpKind::Memory);
    match info.used_memory() {
        [] => return (!named).then_some(()),
        [one] if named && one.base() == Register::RDI => {
            plan.flags |= match one.access() {
                OpAccess::Read => needs::LOAD,
                OpAccess::Write => needs::STORE,
                _ => return None,
            };
        }
        _ => return None,
    }
    plan.memory = u8::try_from(plan.body.memory_size().size()).ok()?;
    (1..=32).contains(&plan.memory).then_some(())
}

fn account_registers(plan: &mut Plan, info: &InstructionInfo) -> Option<()> {
    let same = |a: Register, b: Register| {
        let vector = |r: Register| r.is_vector_register();
        a != Register::None
            && (a.full_register() == b.full_register()
                || vector(a) && vector(b) && a.number() == b.number())
    };
    for used in info.used_registers() {
        let register = used.register();
        if register.is_st() || register.full_register() == Register::RDI && plan.memory != 0 {
            continue;
        }
        if plan.hosts.iter().any(|&host| same(host, register)) {
            continue;
        }
        let implied = [Register::RAX, Register::RCX, Register::RDX, Register::XMM0];
        let which = implied.iter().position(|&host| same(host, register))?;
        plan.implied[which] = true;
        if which == 3 {
            plan.flags |= needs::IMPLIED_XMM0;
            plan.xmm0_written |= writes(used.access());
        } else {
            plan.flags |= needs::IMPLIED_GPR;
            // Only RCX (an index) is ever an implied result.
            if writes(used.access()) && which != 1 {
                return None;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
