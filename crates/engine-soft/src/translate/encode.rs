//! The encoder for what translations are made of nearly always: integer and SSE instructions over
//! 64-bit addresses, without prefixes that repeat. A fifth of iced-x86's time for its `Encoder`, and
//! the same bytes; what does not fit is left to that.
//! Spec: Intel SDM Vol. 2, "Instruction Format".

use iced_x86::{
    Code, EncodingKind, Instruction, MandatoryPrefix, OpCodeInfo, OpCodeOperandKind,
    OpCodeTableKind, OpKind, Register,
};

/// Where an operand goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nowhere: the opcode says that it is this register, or this number.
    Implied(Register),
    /// The r/m field of ModRM.
    Rm,
    /// The reg field.
    Reg,
    /// The opcode's low bits.
    Opcode,
    /// So many bytes at the end.
    Immediate(u8),
}

/// How instructions with one `Code` are encoded.
#[derive(Debug, Clone, Copy)]
struct Form {
    opcode: u8,
    escape: &'static [u8],
    /// The one that belongs to the opcode; zero for none.
    mandatory: u8,
    /// Operand-size prefix.
    narrow: bool,
    /// REX.W
    wide: bool,
    has_modrm: bool,
    /// Bits of ModRM that belong to the opcode.
    digit: u8,
    count: u8,
    places: [Place; 3],
}

/// The form of each `Code`, found out when it is first met.
pub(super) struct Forms {
    /// Where in `met` it is, by `Code`.
    places: Box<[u16]>,
    /// `None` is for those that do not fit; the first, for those that were not met.
    met: Vec<Option<Form>>,
}

/// An instruction's bytes in the making.
struct Bytes {
    bytes: [u8; LONGEST],
    len: usize,
}

/// Room for the longest and what is written beyond it.
const LONGEST: usize = 24;

/// Register, extension and address bits of an instruction.
#[derive(Default)]
struct Fields {
    rex: u8,
    /// AH, CH, DH or BH, which no instruction with REX has.
    high: bool,
    opcode: u8,
    modrm: u8,
    sib: Option<u8>,
    /// Its bytes, and how many of them.
    displacement: (u32, usize),
}

impl Forms {
    pub(super) fn new() -> Forms {
        Forms {
            places: vec![0; Code::values().len()].into_boxed_slice(),
            met: vec![None],
        }
    }

    /// Appends the bytes of `insn`, if they are easily found.
    pub(super) fn encode(&mut self, insn: &Instruction, to: &mut Vec<u8>) -> Option<()> {
        let place = self.places.get_mut(insn.code() as usize)?;
        if *place == 0 {
            *place = self.met.len() as u16;
            self.met.push(Form::of(insn.op_code()));
        }
        self.met
            .get(usize::from(*place))?
            .as_ref()?
            .encode(insn, to)
    }
}

impl Form {
    fn of(info: &OpCodeInfo) -> Option<Form> {
        let plain = info.is_instruction()
            && info.encoding() == EncodingKind::Legacy
            && info.op_code_len() == 1
            && info.mode64()
            && !info.is_rm_group()
            && !info.fwait()
            && matches!(info.address_size(), 0 | 64)
            && info.op_count() <= 3;
        plain.then_some(())?;
        let mut places = [Place::Implied(Register::None); 3];
        for n in 0..info.op_count() {
            *places.get_mut(n as usize)? = place(info.op_kind(n))?;
        }
        let immediate = |place: &&Place| matches!(place, Place::Immediate(_));
        (places.iter().filter(immediate).count() <= 1).then_some(())?;
        let fields = [Place::Rm, Place::Reg];
        Some(Form {
            opcode: info.op_code() as u8,
            escape: match info.table() {
                OpCodeTableKind::Normal => &[],
                OpCodeTableKind::T0F => &[0x0f],
                OpCodeTableKind::T0F38 => &[0x0f, 0x38],
                OpCodeTableKind::T0F3A => &[0x0f, 0x3a],
                _ => return None,
            },
            mandatory: match info.mandatory_prefix() {
                MandatoryPrefix::None | MandatoryPrefix::PNP => 0,
                MandatoryPrefix::P66 => 0x66,
                MandatoryPrefix::PF3 => 0xf3,
                MandatoryPrefix::PF2 => 0xf2,
            },
            narrow: info.operand_size() == 16,
            wide: info.operand_size() == 64 && !info.default_op_size64(),
            has_modrm: info.is_group() || places.iter().any(|place| fields.contains(place)),
            digit: if info.is_group() {
                (info.group_index() as u8) << 3
            } else {
                0
            },
            count: info.op_count() as u8,
            places,
        })
    }

    fn encode(&self, insn: &Instruction, to: &mut Vec<u8>) -> Option<()> {
        if insn.has_rep_prefix() || insn.has_repne_prefix() {
            return None;
        }
        let mut fields = Fields {
            rex: u8::from(self.wide) << 3,
            modrm: self.digit,
            ..Fields::default()
        };
        for n in 0..u32::from(self.count) {
            match (self.places[n as usize], insn.op_kind(n)) {
                (Place::Immediate(_), _) => {}
                (Place::Implied(register), kind) => {
                    let is = kind == OpKind::Register && insn.op_register(n) == register;
                    (is || register == Register::None).then_some(())?;
                }
                (Place::Rm, OpKind::Memory) => fields.memory(insn)?,
                (place, OpKind::Register) => fields.register(place, insn.op_register(n))?,
                _ => return None,
            }
        }
        if fields.high && fields.rex != 0 {
            return None;
        }
        let mut bytes = Bytes {
            bytes: [0; LONGEST],
            len: 0,
        };
        self.prefixes(insn, fields.rex, &mut bytes)?;
        bytes.push(self.opcode | fields.opcode);
        if self.has_modrm {
            bytes.push(fields.modrm);
            if let Some(sib) = fields.sib {
                bytes.push(sib);
            }
            let (displacement, len) = fields.displacement;
            bytes.put(displacement.into(), len);
        }
        for n in 0..u32::from(self.count) {
            if let Place::Immediate(len) = self.places[n as usize] {
                bytes.put(insn.immediate(n), len.into());
            }
        }
        // Of a length that is known, which is faster.
        let before = to.len();
        to.extend_from_slice(&bytes.bytes);
        to.truncate(before + bytes.len);
        Some(())
    }

    fn prefixes(&self, insn: &Instruction, rex: u8, bytes: &mut Bytes) -> Option<()> {
        match insn.segment_prefix() {
            Register::None => {}
            Register::FS => bytes.push(0x64),
            Register::GS => bytes.push(0x65),
            _ => return None,
        }
        if insn.has_lock_prefix() {
            bytes.push(0xf0);
        }
        if self.narrow {
            bytes.push(0x66);
        }
        if self.mandatory != 0 {
            bytes.push(self.mandatory);
        }
        if rex != 0 {
            bytes.push(0x40 | rex & 0xf);
        }
        for &byte in self.escape {
            bytes.push(byte);
        }
        Some(())
    }
}

/// REX without any of its bits: SPL, BPL, SIL and DIL need it.
const EMPTY_REX: u8 = 0x40;

impl Fields {
    fn register(&mut self, place: Place, register: Register) -> Option<()> {
        let number = if register.is_gpr8() {
            self.byte(register)
        } else if register.is_gpr() || register.is_xmm() {
            register.number() as u8
        } else {
            return None;
        };
        let (low, high) = (number & 7, number >> 3 & 1);
        match place {
            Place::Rm => {
                self.modrm |= 0xc0 | low;
                self.rex |= high;
            }
            Place::Reg => {
                self.modrm |= low << 3;
                self.rex |= high << 2;
            }
            Place::Opcode => {
                self.opcode = low;
                self.rex |= high;
            }
            Place::Implied(_) | Place::Immediate(_) => return None,
        }
        Some(())
    }

    /// An 8-bit register's number in the encoding.
    fn byte(&mut self, register: Register) -> u8 {
        // AL to BL, AH to BH, SPL to DIL, R8L and on.
        let place = (register as u32 - Register::AL as u32) as u8;
        match place {
            0..4 => place,
            4..8 => {
                self.high = true;
                place
            }
            8..12 => {
                self.rex |= EMPTY_REX;
                place - 4
            }
            _ => place - 4,
        }
    }

    fn memory(&mut self, insn: &Instruction) -> Option<()> {
        let (base, index) = (insn.memory_base(), insn.memory_index());
        let displacement = i32::try_from(insn.memory_displacement64() as i64).ok()?;
        if !base.is_gpr64() || index != Register::None && !index.is_gpr64() {
            return None;
        }
        let low = base.number() as u8 & 7;
        self.rex |= base.number() as u8 >> 3;
        let (mode, len) = match insn.memory_displ_size() {
            0 if displacement != 0 => return None,
            // What would be RBP or R13 alone is something else.
            0 if low == 5 => (0x40, 1),
            0 => (0, 0),
            1 if i8::try_from(displacement).is_ok() => (0x40, 1),
            1 | 8 => (0x80, 4),
            _ => return None,
        };
        self.displacement = (displacement as u32, len);
        let scale = insn.memory_index_scale().trailing_zeros() as u8;
        if index == Register::None && low != 4 && scale == 0 {
            self.modrm |= mode | low;
            return Some(());
        }
        let number = match index {
            Register::None => 4,
            Register::RSP => return None,
            _ => index.number() as u8,
        };
        self.rex |= number >> 3 << 1;
        self.modrm |= mode | 4;
        self.sib = Some(scale << 6 | (number & 7) << 3 | low);
        Some(())
    }
}

impl Bytes {
    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline(always)]
    fn put(&mut self, value: u64, len: usize) {
        let at = &mut self.bytes[self.len..self.len + 8];
        at.copy_from_slice(&value.to_le_bytes());
        self.len += len;
    }
}

fn place(kind: OpCodeOperandKind) -> Option<Place> {
    use OpCodeOperandKind as K;
    Some(match kind {
        K::mem
        | K::r8_or_mem
        | K::r16_or_mem
        | K::r32_or_mem
        | K::r64_or_mem
        | K::xmm_or_mem
        | K::r16_rm
        | K::r32_rm
        | K::r64_rm
        | K::xmm_rm => Place::Rm,
        K::r8_reg | K::r16_reg | K::r32_reg | K::r64_reg | K::xmm_reg => Place::Reg,
        K::r8_opcode | K::r16_opcode | K::r32_opcode | K::r64_opcode => Place::Opcode,
        K::imm8 | K::imm8sex16 | K::imm8sex32 | K::imm8sex64 => Place::Immediate(1),
        K::imm16 => Place::Immediate(2),
        K::imm32 | K::imm32sex64 => Place::Immediate(4),
        K::imm64 => Place::Immediate(8),
        K::imm8_const_1 => Place::Implied(Register::None),
        K::al => Place::Implied(Register::AL),
        K::cl => Place::Implied(Register::CL),
        K::ax => Place::Implied(Register::AX),
        K::eax => Place::Implied(Register::EAX),
        K::rax => Place::Implied(Register::RAX),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
