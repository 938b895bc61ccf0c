//! A decoded instruction: a short function and its operands.

use iced_x86::{Instruction, OpKind, Register};

use crate::cpu::{CodeSize, Cpu, FLAT, RIP_SLOT, ZERO_SLOT};

/// Why a handler did not simply finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The instruction raises `Cpu::fault`; RIP stays at it.
    Fault,
    /// A non-canonical address: #GP(0), or #SS(0) when the access was through the stack segment.
    NonCanonical,
    /// The machine must answer `Cpu::exit`; then the instruction runs again with the answer.
    Exit,
    /// One iteration of a repeated instruction is done; come back to it after looking for events.
    Repeat,
    /// The instruction is complete and the vCPU leaves with `Cpu::exit` (HLT).
    Leave,
    /// A trap after the completed instruction raises `Cpu::fault` (task switch with T bit, ICEBP).
    Trap,
}

pub(crate) type Handler = fn(&mut Cpu, &Op) -> Result<(), Stop>;

/// How an effective address is formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum AddressForm {
    /// 64-bit mode, 64-bit address.
    Long64,
    /// 64-bit mode, 32-bit address (67h).
    Long32,
    /// Legacy modes: segment limits and rights are checked.
    Legacy32,
    Legacy16,
}

/// One instruction. 40 bytes, so that a block of them stays in the host's cache.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Op {
    pub(crate) run: Handler,
    pub(crate) imm: u64,
    pub(crate) disp: u64,
    /// Byte offsets into the register file.
    pub(crate) dst: u8,
    pub(crate) src: u8,
    /// Register-file slots of the memory operand.
    pub(crate) base: u8,
    pub(crate) index: u8,
    /// log2 of the scale.
    pub(crate) shift: u8,
    /// Segment whose base is added: index into `Cpu::segment_bases`.
    pub(crate) seg: u8,
    pub(crate) form: AddressForm,
    pub(crate) flags: u8,
    /// Offset of the instruction's first byte from the start of its block.
    pub(crate) start: u16,
    pub(crate) len: u8,
    /// Operand size in bytes, for handlers that are not generic over it.
    pub(crate) size: u8,
    /// Whatever else the handler needs: an index, a sub-opcode.
    pub(crate) extra: u32,
}

/// The memory operand goes through SS: faults are #SS instead of #GP.
pub(crate) const STACK: u8 = 1 << 0;
pub(crate) const REP: u8 = 1 << 1;
pub(crate) const REPNE: u8 = 1 << 2;
pub(crate) const LOCK: u8 = 1 << 3;

impl Op {
    /// No instruction's.
    pub(crate) const NONE: Op = Op {
        run: nothing,
        imm: 0,
        disp: 0,
        dst: 0,
        src: 0,
        base: ZERO_SLOT,
        index: ZERO_SLOT,
        shift: 0,
        seg: FLAT,
        form: AddressForm::Long64,
        flags: 0,
        start: 0,
        len: 0,
        size: 0,
        extra: 0,
    };

    /// An op with the memory operand, prefixes and position of `insn` filled in.
    pub(crate) fn new(insn: &Instruction, code: CodeSize, run: Handler) -> Op {
        let mut op = Op::NONE;
        op.set(insn, code);
        op.run = run;
        op
    }

    /// Fills those in where there is nothing yet. Ops are made where they stay: the host waits for its
    /// stores when what was written in parts is copied as a whole.
    pub(crate) fn set(&mut self, insn: &Instruction, code: CodeSize) {
        self.start = insn.ip() as u16;
        self.len = insn.len() as u8;
        if insn.has_lock_prefix() {
            self.flags |= LOCK;
        }
        if insn.has_rep_prefix() {
            self.flags |= REP;
        }
        if insn.has_repne_prefix() {
            self.flags |= REPNE;
        }
        self.set_memory(insn, code);
    }

    fn set_memory(&mut self, insn: &Instruction, code: CodeSize) {
        let long = code == CodeSize::Bits64;
        let mut kinds = (0..insn.op_count()).map(|n| insn.op_kind(n));
        if !insn.has_segment_prefix() && kinds.all(is_no_memory) {
            // Most instructions: what follows would come to the same.
            self.seg = if long { FLAT } else { DS };
            self.form = match code {
                CodeSize::Bits16 => AddressForm::Legacy16,
                CodeSize::Bits32 => AddressForm::Legacy32,
                CodeSize::Bits64 => AddressForm::Long64,
            };
            return;
        }
        let segment = segment_index(insn.memory_segment());
        self.seg = if long && segment < 4 { FLAT } else { segment };
        if segment == 2 {
            self.flags |= STACK;
        }
        let (base, index) = (insn.memory_base(), insn.memory_index());
        let address_size = address_bytes(insn, code);
        self.form = match (long, address_size) {
            (true, 4) => AddressForm::Long32,
            (true, _) => AddressForm::Long64,
            (false, 2) => AddressForm::Legacy16,
            (false, _) => AddressForm::Legacy32,
        };
        if !(0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory) {
            return;
        }
        self.disp = insn.memory_displacement64();
        if matches!(base, Register::RIP | Register::EIP) {
            self.base = RIP_SLOT;
        } else if base != Register::None {
            self.base = base.full_register().number() as u8;
        }
        // Gather forms have a vector index; their handler takes it from the instruction.
        if index != Register::None && index.is_gpr() {
            self.index = index.full_register().number() as u8;
            self.shift = insn.memory_index_scale().trailing_zeros() as u8;
        }
    }
}

/// The handler of what has none yet.
fn nothing(_cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    Ok(())
}

const DS: u8 = 3;

fn is_no_memory(kind: OpKind) -> bool {
    !matches!(
        kind,
        OpKind::Memory
            | OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI
    )
}

/// Index of a segment register in the encoding's order; DS where there is none.
pub(crate) fn segment_index(register: Register) -> u8 {
    match register {
        Register::ES => 0,
        Register::CS => 1,
        Register::SS => 2,
        Register::FS => 4,
        Register::GS => 5,
        _ => DS,
    }
}

/// Address size of the instruction in bytes, from its operands or, lacking any, its prefix.
pub(crate) fn address_bytes(insn: &Instruction, code: CodeSize) -> u8 {
    for n in 0..insn.op_count() {
        match insn.op_kind(n) {
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => return 2,
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => return 4,
            OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => return 8,
            OpKind::Memory => {
                let register = if insn.memory_base() != Register::None {
                    insn.memory_base()
                } else {
                    insn.memory_index()
                };
                if register.is_gpr16() {
                    return 2;
                }
                if register.is_gpr32() || register == Register::EIP {
                    return 4;
                }
                if register.is_gpr64() || register == Register::RIP {
                    return 8;
                }
                match insn.memory_displ_size() {
                    2 => return 2,
                    4 => return 4,
                    8 => return 8,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    match code {
        CodeSize::Bits16 => 2,
        CodeSize::Bits32 => 4,
        CodeSize::Bits64 => 8,
    }
}

/// Byte offset of a general register in the register file.
pub(crate) fn register_offset(register: Register) -> u8 {
    match register {
        Register::AH => 1,
        Register::CH => 9,
        Register::DH => 17,
        Register::BH => 25,
        _ => (register.full_register().number() * 8) as u8,
    }
}
