//! Writes the code of native stubs: loads, the one instruction, stores.
//!
//! Registers on entry (System V order): RDI memory operand; RSI, RDX, RCX, R8 where operands 0 to 3
//! live if they are vector or MMX registers (R8 also where an implied XMM0 lives); R9 the
//! [`Scratch`](super::stub_raw::Scratch). All vector, MMX and x87 registers are the stub's to use.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};

use super::stub_raw::{
    GPR_AT, MXCSR_AT, MXCSR_HOST_AT, MXCSR_OUT_AT, RESTORE_AT, STATUS_AT, X87_AT,
};
use super::template::{Kind, Plan, needs};

const POINTERS: [Register; 4] = [Register::RSI, Register::RDX, Register::RCX, Register::R8];
const SCRATCH: Register = Register::R9;
const OPERAND_GPRS: [Register; 3] = [Register::R10, Register::R11, Register::RAX];
const IMPLIED_GPRS: [Register; 3] = [Register::RAX, Register::RCX, Register::RDX];

struct Emitter {
    bytes: Vec<u8>,
}

fn encoded(insn: &Instruction) -> Result<Vec<u8>, IcedError> {
    let mut encoder = Encoder::try_new(64)?;
    encoder.encode(insn, 0)?;
    Ok(encoder.take_buffer())
}

fn at(base: Register, offset: usize) -> MemoryOperand {
    MemoryOperand::with_base_displ(base, offset as i64)
}

impl Emitter {
    fn push(&mut self, insn: &Instruction) -> Result<(), IcedError> {
        self.bytes.extend(encoded(insn)?);
        Ok(())
    }

    fn plain(&mut self, code: Code) -> Result<(), IcedError> {
        self.push(&Instruction::with(code))
    }

    fn load(&mut self, code: Code, to: Register, from: MemoryOperand) -> Result<(), IcedError> {
        self.push(&Instruction::with2(code, to, from)?)
    }

    fn store(&mut self, code: Code, to: MemoryOperand, from: Register) -> Result<(), IcedError> {
        self.push(&Instruction::with2(code, to, from)?)
    }

    fn on(&mut self, code: Code, memory: MemoryOperand) -> Result<(), IcedError> {
        self.push(&Instruction::with1(code, memory)?)
    }

    fn gpr_from(&mut self, to: Register, slot: usize) -> Result<(), IcedError> {
        self.load(Code::Mov_r64_rm64, to, at(SCRATCH, GPR_AT + slot * 8))
    }

    fn gpr_to(&mut self, slot: usize, from: Register) -> Result<(), IcedError> {
        self.store(Code::Mov_rm64_r64, at(SCRATCH, GPR_AT + slot * 8), from)
    }

    /// Status flags from AX as after `lahf; seto al`: 7Fh + AL overflows exactly when AL is 1.
    fn flags_in(&mut self) -> Result<(), IcedError> {
        self.load(Code::Movzx_r32_rm16, Register::EAX, at(SCRATCH, STATUS_AT))?;
        self.push(&Instruction::with2(Code::Add_rm8_imm8, Register::AL, 127)?)?;
        self.plain(Code::Sahf)
    }

    fn flags_out(&mut self) -> Result<(), IcedError> {
        self.plain(Code::Lahf)?;
        self.push(&Instruction::with1(Code::Seto_rm8, Register::AL)?)?;
        self.store(Code::Mov_rm16_r16, at(SCRATCH, STATUS_AT), Register::AX)
    }

    /// Keeps the flags that were raised, and sets the host's MXCSR back if the caller says so.
    fn mxcsr_out(&mut self) -> Result<(), IcedError> {
        self.on(Code::Stmxcsr_m32, at(SCRATCH, MXCSR_OUT_AT))?;
        let restore = encoded(&Instruction::with1(
            Code::Ldmxcsr_m32,
            at(SCRATCH, MXCSR_HOST_AT),
        )?)?;
        self.push(&Instruction::with2(
            Code::Cmp_rm16_imm8,
            at(SCRATCH, RESTORE_AT),
            0,
        )?)?;
        let je_rel8 = 0x74;
        self.bytes.extend([je_rel8, restore.len() as u8]);
        self.bytes.extend(restore);
        Ok(())
    }

    fn vectors_in(&mut self, plan: &Plan) -> Result<(), IcedError> {
        for (k, &pointer) in POINTERS.iter().enumerate() {
            let (host, from) = (plan.hosts[k], at(pointer, 0));
            match plan.kinds[k] {
                Kind::Vector if host.is_ymm() => {
                    self.load(Code::VEX_Vmovdqu_ymm_ymmm256, host, from)?;
                }
                Kind::Vector if plan.flags & needs::VEX != 0 => {
                    self.load(Code::VEX_Vmovdqu_xmm_xmmm128, host, from)?;
                }
                Kind::Vector => self.load(Code::Movdqu_xmm_xmmm128, host, from)?,
                Kind::Mmx => self.load(Code::Movq_mm_mmm64, host, from)?,
                _ => {}
            }
        }
        if plan.implied[3] {
            self.load(
                Code::Movdqu_xmm_xmmm128,
                Register::XMM0,
                at(Register::R8, 0),
            )?;
        }
        Ok(())
    }

    fn vectors_out(&mut self, plan: &Plan) -> Result<(), IcedError> {
        for (k, &pointer) in POINTERS.iter().enumerate() {
            if !plan.written[k] {
                continue;
            }
            match plan.kinds[k] {
                Kind::Vector => self.vector_out(plan, plan.hosts[k], pointer)?,
                Kind::Mmx => {
                    self.store(Code::Movq_mmm64_mm, at(pointer, 0), plan.hosts[k])?;
                }
                _ => {}
            }
        }
        if plan.xmm0_written {
            self.vector_out(plan, Register::XMM0, Register::R8)?;
        }
        Ok(())
    }

    /// Legacy instructions leave the upper half of a YMM register, VEX ones have cleared it.
    fn vector_out(&mut self, plan: &Plan, host: Register, to: Register) -> Result<(), IcedError> {
        if plan.flags & needs::VEX == 0 {
            return self.store(Code::Movdqu_xmmm128_xmm, at(to, 0), host);
        }
        let whole = Register::YMM0 + host.number() as u32;
        self.store(Code::VEX_Vmovdqu_ymmm256_ymm, at(to, 0), whole)
    }

    fn gprs_in(&mut self, plan: &Plan) -> Result<(), IcedError> {
        for (k, &host) in OPERAND_GPRS.iter().enumerate() {
            if plan.kinds[k] == Kind::General {
                self.gpr_from(host, k)?;
            }
        }
        for (n, &host) in IMPLIED_GPRS.iter().enumerate() {
            if plan.implied[n] {
                self.gpr_from(host, 3 + n)?;
            }
        }
        Ok(())
    }

    fn gprs_out(&mut self, plan: &Plan) -> Result<(), IcedError> {
        for (k, &host) in OPERAND_GPRS.iter().enumerate() {
            if plan.kinds[k] == Kind::General && plan.written[k] {
                self.gpr_to(k, host)?;
            }
        }
        if plan.implied[1] {
            self.gpr_to(4, Register::RCX)?;
        }
        Ok(())
    }

    fn vector(&mut self, plan: &Plan) -> Result<(), IcedError> {
        let status = plan.flags & needs::STATUS != 0;
        let mxcsr = plan.flags & needs::MXCSR != 0;
        self.vectors_in(plan)?;
        if mxcsr {
            self.on(Code::Ldmxcsr_m32, at(SCRATCH, MXCSR_AT))?;
        }
        if status {
            self.flags_in()?;
        }
        self.gprs_in(plan)?;
        self.push(&plan.body)?;
        self.gprs_out(plan)?;
        if status {
            self.flags_out()?;
        }
        if mxcsr {
            self.mxcsr_out()?;
        }
        self.vectors_out(plan)?;
        if plan.wide {
            self.plain(Code::VEX_Vzeroupper)?;
        }
        if plan.kinds.contains(&Kind::Mmx) {
            self.plain(Code::Emms)?;
        }
        self.plain(Code::Retnq)
    }

    fn x87(&mut self, plan: &Plan) -> Result<(), IcedError> {
        let status = plan.flags & needs::STATUS != 0;
        self.on(Code::Fxrstor64_m512byte, at(SCRATCH, X87_AT))?;
        if status {
            self.flags_in()?;
        }
        self.push(&plan.body)?;
        if status {
            self.flags_out()?;
        }
        self.on(Code::Fxsave64_m512byte, at(SCRATCH, X87_AT))?;
        // An unmasked exception may be pending: FNINIT does not wait for it, and clears it.
        self.plain(Code::Fninit)?;
        self.plain(Code::Retnq)
    }
}

/// The stub of an instruction over vector, MMX and general registers; `None` where the encoder
/// refuses it.
pub(crate) fn vector(plan: &Plan) -> Option<Vec<u8>> {
    let mut emitter = Emitter { bytes: Vec::new() };
    emitter.vector(plan).ok()?;
    Some(emitter.bytes)
}

/// The stub of an x87 instruction.
pub(crate) fn x87(plan: &Plan) -> Option<Vec<u8>> {
    let mut emitter = Emitter { bytes: Vec::new() };
    emitter.x87(plan).ok()?;
    Some(emitter.bytes)
}
