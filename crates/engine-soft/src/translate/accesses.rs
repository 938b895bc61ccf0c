//! What the accesses of a unit's instructions have in common: the registers that their addresses come from,
//! and how far those move.

use iced_x86::{Code, CodeSize, Instruction, MemoryOperand, Mnemonic, OpKind, Register};

use super::emitter::Way;
use super::facts::{Facts, is};
use super::registers::{Number, number, sized, wide};
use crate::interp::op::segment_index;

const RSP: Number = 4;
const RBP: Number = 5;

/// Bytes of a range at most. The wider, the more often it crosses a page.
const WIDEST: i64 = 256;

/// What addresses come from beside a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// RIP among them; it is constant inside a unit.
    pub(super) base: Register,
    pub(super) index: Register,
    pub(super) scale: u32,
    segment: u8,
}

impl Origin {
    pub(super) fn of(insn: &Instruction) -> Origin {
        Origin {
            base: insn.memory_base(),
            index: insn.memory_index(),
            scale: insn.memory_index_scale(),
            segment: segment_index(insn.memory_segment()).max(3),
        }
    }

    /// The general registers that addresses come from, one bit each.
    pub(super) fn registers(&self) -> u16 {
        let bit = |register: Register| u16::from(register.is_gpr()) << number(register);
        bit(self.base) | bit(self.index)
    }

    /// The general register that all but a constant of the addresses comes from.
    pub(super) fn only_base(&self) -> Option<Number> {
        let only = self.base.is_gpr64() && self.index == Register::None && self.segment == 3;
        only.then(|| number(self.base))
    }

    /// How far addresses move when general register `register` moves by one; `None` if it does not
    /// matter.
    pub(super) fn moved_by(&self, register: Number) -> Option<i64> {
        let is = |one: Register| one.is_gpr() && number(one) == register;
        let base = is(self.base).then_some(1);
        let index = is(self.index).then_some(i64::from(self.scale));
        (base.is_some() || index.is_some()).then(|| base.unwrap_or(0) + index.unwrap_or(0))
    }
}

/// An access at a constant distance from its origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near {
    pub(super) origin: Origin,
    /// One with such a memory operand.
    pub(super) insn: Instruction,
    pub(super) disp: i64,
    pub(super) len: u32,
    /// What its address must be a multiple of.
    pub(super) align: u32,
    pub(super) way: Way,
}

/// One instruction as far as its access is concerned.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) near: Option<Near>,
    /// The register that it changes by a constant.
    pub(super) moves: Option<(Number, i64)>,
    /// The others that it changes, one bit each.
    pub(super) loses: u16,
    /// It goes on with the carry, or the overflow, of an addition before it.
    pub(super) carries: bool,
    /// It writes all status flags, whatever they were.
    pub(super) replaces_flags: bool,
    /// Groups end before it: its handler may do anything, or it changes what addresses come from.
    pub(super) barrier: bool,
}

/// Bytes at constant distances from an origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) from: i64,
    pub(super) to: i64,
    /// Where an access is that must be aligned most.
    anchor: i64,
    pub(super) align: u32,
}

impl Range {
    /// Nothing, where the first access will be.
    pub(super) fn at(from: i64) -> Range {
        Range {
            from,
            to: from,
            anchor: from,
            align: 1,
        }
    }

    /// With an access at `at`; `None` where that does not fit.
    pub(super) fn with(self, at: i64, access: &Near) -> Option<Range> {
        let mut wider = Range {
            from: self.from.min(at),
            to: self.to.max(at + i64::from(access.len)),
            ..self
        };
        let common = i64::from(self.align.min(access.align));
        if (at - self.anchor) % common != 0 {
            return None;
        }
        if access.align > self.align {
            (wider.anchor, wider.align) = (at, access.align);
        }
        // It begins at a multiple.
        let align = i64::from(wider.align);
        wider.from -= (wider.from - wider.anchor).rem_euclid(align);
        (wider.to - wider.from <= WIDEST).then_some(wider)
    }
}

impl Seen {
    pub(super) fn new(insn: &Instruction, facts: &Facts, translated: bool) -> Seen {
        let pops = matches!(insn.code(), Code::Pop_r64 | Code::Pop_r32)
            && number(insn.op0_register()) != RSP;
        let moves = if pops {
            Some((RSP, word(insn)))
        } else {
            constant_move(insn)
        };
        let moved = moves.map_or(0, |(register, _)| 1 << register);
        Seen {
            near: near(insn, facts),
            moves,
            loses: facts.writes & !moved,
            carries: matches!(
                insn.mnemonic(),
                Mnemonic::Adc | Mnemonic::Sbb | Mnemonic::Adcx | Mnemonic::Adox
            ),
            replaces_flags: facts.any(is::REPLACES_FLAGS),
            barrier: !translated,
        }
    }
}

/// The register that an instruction moves by a constant, and by how much.
fn constant_move(insn: &Instruction) -> Option<(Number, i64)> {
    match insn.code() {
        code if pushes(code) => return Some((RSP, -word(insn))),
        Code::Retnq | Code::Retnd => return Some((RSP, word(insn))),
        _ => {}
    }
    let to = insn.op0_register();
    if insn.op0_kind() != OpKind::Register || !is_address(insn, to) {
        return None;
    }
    let by = match insn.mnemonic() {
        Mnemonic::Add if insn.op1_kind() != OpKind::Register => immediate(insn)?,
        Mnemonic::Sub if insn.op1_kind() != OpKind::Register => -immediate(insn)?,
        Mnemonic::Inc => 1,
        Mnemonic::Dec => -1,
        Mnemonic::Lea if insn.memory_base() == to && insn.memory_index() == Register::None => {
            displacement(insn)
        }
        _ => return None,
    };
    (by.unsigned_abs() <= WIDEST as u64 * 16).then_some((number(to), by))
}

fn immediate(insn: &Instruction) -> Option<i64> {
    matches!(
        insn.op1_kind(),
        OpKind::Immediate8to64
            | OpKind::Immediate32to64
            | OpKind::Immediate8to32
            | OpKind::Immediate32
    )
    .then(|| signed(insn, insn.immediate(1)))
}

/// Does the code's addresses have 32 bits?
fn is_narrow(insn: &Instruction) -> bool {
    insn.code_size() != CodeSize::Code64
}

/// Is it a register that holds an address, all of it?
fn is_address(insn: &Instruction, register: Register) -> bool {
    if is_narrow(insn) {
        register.is_gpr32()
    } else {
        register.is_gpr64()
    }
}

fn signed(insn: &Instruction, value: u64) -> i64 {
    if is_narrow(insn) {
        i64::from(value as i32)
    } else {
        value as i64
    }
}

fn displacement(insn: &Instruction) -> i64 {
    signed(insn, insn.memory_displacement64())
}

/// Bytes of a push.
fn word(insn: &Instruction) -> i64 {
    if is_narrow(insn) { 4 } else { 8 }
}

/// Does it push a word, and nothing else?
fn pushes(code: Code) -> bool {
    use Code as C;
    matches!(
        code,
        C::Push_r64 | C::Pushq_imm8 | C::Pushq_imm32 | C::Call_rel32_64
    ) || matches!(
        code,
        C::Push_r32 | C::Pushd_imm8 | C::Pushd_imm32 | C::Call_rel32_32
    )
}

/// The access of an instruction if it is one that a group may have.
fn near(insn: &Instruction, facts: &Facts) -> Option<Near> {
    match insn.code() {
        code if pushes(code) => return on_stack(insn, RSP, -word(insn), Way::Write),
        Code::Pop_r64 | Code::Retnq | Code::Retnq_imm16 => {
            return on_stack(insn, RSP, 0, Way::Read);
        }
        Code::Pop_r32 | Code::Retnd | Code::Retnd_imm16 => {
            return on_stack(insn, RSP, 0, Way::Read);
        }
        Code::Leaveq | Code::Leaved => return on_stack(insn, RBP, 0, Way::Read),
        _ => {}
    }
    let access = facts.access?;
    let plain = facts.any(is::SIMPLE | is::X87)
        && !facts.any(is::OWN_X87)
        && has_origin(insn)
        && !(is_narrow(insn) && insn.memory_segment() == Register::CS);
    let disp = displacement(insn);
    if !plain || disp.unsigned_abs() > 1 << 30 {
        return None;
    }
    Some(Near {
        origin: Origin::of(insn),
        insn: *insn,
        disp,
        len: access.size.into(),
        align: access.align.into(),
        way: access.way,
    })
}

/// Does the address come from registers, each as wide as addresses are?
fn has_origin(insn: &Instruction) -> bool {
    let (base, index) = (insn.memory_base(), insn.memory_index());
    match (base, index) {
        (Register::None, Register::None) => false,
        (Register::RIP, Register::None) => true,
        (Register::None, index) => is_address(insn, index),
        (base, Register::None) => is_address(insn, base),
        (base, index) => is_address(insn, base) && is_address(insn, index),
    }
}

/// A word at `disp` from stack register `base`.
fn on_stack(insn: &Instruction, base: Number, disp: i64, way: Way) -> Option<Near> {
    let (code, base, any) = if is_narrow(insn) {
        (Code::Lea_r32_m, sized(base, 4), Register::EAX)
    } else {
        (Code::Lea_r64_m, wide(base), Register::RAX)
    };
    let mut at = Instruction::with2(code, any, MemoryOperand::with_base(base)).ok()?;
    at.set_code_size(insn.code_size());
    Some(Near {
        origin: Origin::of(&at),
        insn: at,
        disp,
        len: word(insn) as u32,
        align: 1,
        way,
    })
}
