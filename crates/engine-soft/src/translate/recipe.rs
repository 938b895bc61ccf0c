//! Status flags that can be computed again.
//!
//! An address check needs EFLAGS, and saving the guest's flags before it and restoring them after it
//! costs more than the check. Where they are those of an instruction whose operands are still in the
//! guest's registers, they are simply let go, and the instruction is done once more when someone asks
//! for them.

use iced_x86::{
    Code, IcedError, Instruction, MemoryOperand, Mnemonic, OpKind, Register, RflagsBits,
};

use super::assembler::Assembler;
use super::native;
use super::registers::{Number, RAX, host_of, is_high_byte, number, sized};

/// OF, SF, ZF, AF, CF and PF.
pub(super) const STATUS: u32 = RflagsBits::OF
    | RflagsBits::SF
    | RflagsBits::ZF
    | RflagsBits::AF
    | RflagsBits::CF
    | RflagsBits::PF;

/// What computes the flags from operands as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recipe {
    kind: Kind,
    /// Of the operands, in bytes.
    size: usize,
    first: Number,
    second: Second,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Both operands are what they were.
    Compare,
    Test,
    /// The first operand is the sum of what it was and the second.
    Sum,
    /// It is the difference.
    Difference,
    /// The only operand was increased by one, or decreased; the carry is the one in the vCPU.
    Increased,
    Decreased,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Register(Number),
    Immediate(i32),
}

impl Recipe {
    /// That of the flags after `insn`, if it has one.
    pub(super) fn after(insn: &Instruction) -> Option<Recipe> {
        let register = |n: u32| {
            let register = insn.op_register(n);
            let usable =
                insn.op_kind(n) == OpKind::Register && register.is_gpr() && !is_high_byte(register);
            usable.then(|| number(register))
        };
        let first = register(0)?;
        let size = insn.op0_register().size();
        let second = match insn.op1_kind() {
            OpKind::Register => register(1).map(Second::Register),
            OpKind::Memory => None,
            _ => i32::try_from(insn.immediate(1) as i64)
                .or_else(|_| u32::try_from(insn.immediate(1)).map(|value| value as i32))
                .ok()
                .map(Second::Immediate),
        };
        let same = second == Some(Second::Register(first));
        let itself = Some(Second::Register(first));
        let (kind, second) = match insn.mnemonic() {
            Mnemonic::Cmp => (Kind::Compare, second),
            Mnemonic::Sub if same => (Kind::Compare, second),
            Mnemonic::Test => (Kind::Test, second),
            // Of a result alone, without carry and overflow.
            Mnemonic::And | Mnemonic::Or | Mnemonic::Xor => (Kind::Test, itself),
            Mnemonic::Add if size >= 4 && !same => (Kind::Sum, second),
            Mnemonic::Sub if size >= 4 => (Kind::Difference, second),
            _ => return None,
        };
        Some(Recipe {
            kind,
            size,
            first,
            second: second?,
        })
    }

    /// That of INC or DEC of a register, which leaves the carry as it was.
    pub(super) fn after_step(insn: &Instruction) -> Option<Recipe> {
        let kind = match insn.mnemonic() {
            Mnemonic::Inc => Kind::Increased,
            Mnemonic::Dec => Kind::Decreased,
            _ => return None,
        };
        let register = insn.op0_register();
        let size = register.size();
        (insn.op0_kind() == OpKind::Register && size >= 4).then(|| Recipe {
            kind,
            size,
            first: number(register),
            second: Second::Immediate(1),
        })
    }

    /// Does it take the carry from the vCPU?
    pub(super) fn takes_carry(self) -> bool {
        matches!(self.kind, Kind::Increased | Kind::Decreased)
    }

    /// Writes the INC or DEC itself. Uses RAX; changes EFLAGS, but for the carry, as it should.
    pub(super) fn write_step(self, asm: &mut Assembler) -> Result<(), IcedError> {
        let host = host_of(self.first);
        if host.is_none() {
            asm.load(RAX, native::gpr(self.first));
        }
        self.step(asm, host.unwrap_or(RAX))?;
        if host.is_none() {
            asm.store(native::gpr(self.first), RAX);
        }
        Ok(())
    }

    fn step(self, asm: &mut Assembler, register: Number) -> Result<(), IcedError> {
        let code = match (self.kind == Kind::Increased, self.size) {
            (true, 4) => Code::Inc_rm32,
            (true, _) => Code::Inc_rm64,
            (false, 4) => Code::Dec_rm32,
            (false, _) => Code::Dec_rm64,
        };
        asm.encode(&Instruction::with1(code, sized(register, self.size))?)
    }

    /// The guest registers that it needs, one bit each.
    pub(super) fn registers(self) -> u16 {
        let second = match self.second {
            Second::Register(register) => 1 << register,
            Second::Immediate(_) => 0,
        };
        1 << self.first | second
    }

    /// Writes the code that puts the flags into EFLAGS. Uses RAX.
    pub(super) fn write(self, asm: &mut Assembler) -> Result<(), IcedError> {
        let whole = host_of(self.first);
        match self.kind {
            Kind::Compare | Kind::Test => {
                let first = whole.unwrap_or(RAX);
                if whole.is_none() {
                    asm.load(RAX, native::gpr(self.first));
                }
                let operation = if self.kind == Kind::Test {
                    Operation::Test
                } else {
                    Operation::Compare
                };
                self.operate(asm, operation, first)
            }
            Kind::Increased | Kind::Decreased => {
                asm.test_carry(native::STATUS);
                if whole.is_none() {
                    asm.load(RAX, native::gpr(self.first));
                }
                let back = if self.kind == Kind::Increased { -1 } else { 1 };
                asm.lea(
                    sized(RAX, self.size),
                    Some(whole.unwrap_or(RAX)),
                    None,
                    back,
                )?;
                self.step(asm, RAX)
            }
            Kind::Sum | Kind::Difference => {
                match whole {
                    Some(host) => asm.copy(RAX, host),
                    None => asm.load(RAX, native::gpr(self.first)),
                }
                let (back, again) = if self.kind == Kind::Sum {
                    (Operation::Subtract, Operation::Add)
                } else {
                    (Operation::Add, Operation::Compare)
                };
                self.operate(asm, back, RAX)?;
                self.operate(asm, again, RAX)
            }
        }
    }

    fn operate(
        self,
        asm: &mut Assembler,
        operation: Operation,
        first: Number,
    ) -> Result<(), IcedError> {
        let to = sized(first, self.size);
        let size = self.size.trailing_zeros() as usize;
        let insn = match self.second {
            Second::Immediate(value) => {
                Instruction::with2(IMMEDIATE[operation as usize][size], to, value)?
            }
            Second::Register(register) => {
                let code = REGISTER[operation as usize][size];
                match host_of(register) {
                    Some(host) => Instruction::with2(code, to, sized(host, self.size))?,
                    None if operation == Operation::Test => {
                        // Its second operand cannot be in memory, but the first can.
                        Instruction::with2(code, in_memory(register), to)?
                    }
                    None => Instruction::with2(code, to, in_memory(register))?,
                }
            }
        };
        asm.encode(&insn)
    }
}

fn in_memory(register: Number) -> MemoryOperand {
    let disp = i64::from(native::gpr(register));
    MemoryOperand::new(
        Register::None,
        Register::None,
        1,
        disp,
        4,
        false,
        Register::GS,
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Compare,
    Test,
    Add,
    Subtract,
}

/// By operation, then by size.
const REGISTER: [[Code; 4]; 4] = [
    [
        Code::Cmp_r8_rm8,
        Code::Cmp_r16_rm16,
        Code::Cmp_r32_rm32,
        Code::Cmp_r64_rm64,
    ],
    [
        Code::Test_rm8_r8,
        Code::Test_rm16_r16,
        Code::Test_rm32_r32,
        Code::Test_rm64_r64,
    ],
    [
        Code::Add_r8_rm8,
        Code::Add_r16_rm16,
        Code::Add_r32_rm32,
        Code::Add_r64_rm64,
    ],
    [
        Code::Sub_r8_rm8,
        Code::Sub_r16_rm16,
        Code::Sub_r32_rm32,
        Code::Sub_r64_rm64,
    ],
];

const IMMEDIATE: [[Code; 4]; 4] = [
    [
        Code::Cmp_rm8_imm8,
        Code::Cmp_rm16_imm16,
        Code::Cmp_rm32_imm32,
        Code::Cmp_rm64_imm32,
    ],
    [
        Code::Test_rm8_imm8,
        Code::Test_rm16_imm16,
        Code::Test_rm32_imm32,
        Code::Test_rm64_imm32,
    ],
    [
        Code::Add_rm8_imm8,
        Code::Add_rm16_imm16,
        Code::Add_rm32_imm32,
        Code::Add_rm64_imm32,
    ],
    [
        Code::Sub_rm8_imm8,
        Code::Sub_rm16_imm16,
        Code::Sub_rm32_imm32,
        Code::Sub_rm64_imm32,
    ],
];

#[cfg(test)]
mod tests;
