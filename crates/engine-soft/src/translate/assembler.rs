//! Bytes of host code: the handful of instructions that translations consist of beside the guest's
//! own, and the encoder for those.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};

use super::encode::Forms;
use super::registers::{Number, RAX, sized, wide};

/// A place in the code whose 32-bit displacement is to be filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jump {
    section: Section,
    at: usize,
}

/// Code that usually runs lies apart from code that hardly ever does, so that the host's caches hold
/// the more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Hot,
    Cold,
}

/// The code of a section, and where its first byte will run.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    base: u64,
}

/// Numbers of conditions in the encoding.
pub(super) mod condition {
    pub(crate) const BELOW: u8 = 2;
    pub(crate) const NOT_BELOW: u8 = 3;
    pub(crate) const EQUAL: u8 = 4;
    pub(crate) const NOT_EQUAL: u8 = 5;
    pub(crate) const NOT_ABOVE: u8 = 6;
    pub(crate) const ABOVE: u8 = 7;
}

pub(super) struct Assembler {
    /// Of the section that is being written.
    bytes: Vec<u8>,
    /// Where its first byte will run.
    base: u64,
    section: Section,
    other: Part,
    forms: Forms,
    /// For what has no form.
    encoder: Encoder,
}

impl std::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Assembler({:#x}, {} bytes)", self.base, self.bytes.len())
    }
}

impl Assembler {
    pub(super) fn new() -> Assembler {
        Assembler {
            bytes: Vec::with_capacity(4096),
            base: 0,
            section: Section::Hot,
            other: Part::default(),
            forms: Forms::new(),
            encoder: Encoder::new(64),
        }
    }

    /// Starts over in the hot section, for code whose sections will run at these addresses.
    pub(super) fn start(&mut self, hot: u64, cold: u64) {
        self.section = Section::Hot;
        self.bytes.clear();
        self.base = hot;
        self.other.bytes.clear();
        self.other.base = cold;
    }

    /// Goes on in this section.
    pub(super) fn switch(&mut self, section: Section) {
        if self.section != section {
            self.section = section;
            std::mem::swap(&mut self.bytes, &mut self.other.bytes);
            std::mem::swap(&mut self.base, &mut self.other.base);
        }
    }

    pub(super) fn bytes(&self, section: Section) -> &[u8] {
        if self.section == section {
            &self.bytes
        } else {
            &self.other.bytes
        }
    }

    /// Executable address of the next byte.
    pub(super) fn here(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything from byte `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn raw32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Any instruction, with host operands.
    pub(super) fn encode(&mut self, insn: &Instruction) -> Result<(), IcedError> {
        if self.forms.encode(insn, &mut self.bytes).is_some() {
            return Ok(());
        }
        let before = self.bytes.len();
        self.encoder.set_buffer(std::mem::take(&mut self.bytes));
        let result = self.encoder.encode(insn, self.base + before as u64);
        self.bytes = self.encoder.take_buffer();
        if result.is_err() {
            self.bytes.truncate(before);
        }
        result.map(|_| ())
    }

    /// `lea to, [base + index * scale + disp]`; a 32-bit `to` truncates.
    pub(super) fn lea(
        &mut self,
        to: Register,
        base: Option<Number>,
        index: Option<(Number, u32)>,
        disp: i64,
    ) -> Result<(), IcedError> {
        let displacement_size = match i8::try_from(disp) {
            Ok(0) if base.is_some() => 0,
            Ok(_) if base.is_some() => 1,
            _ => 8,
        };
        let (index, scale) = index.map_or((Register::None, 1), |(n, scale)| (wide(n), scale));
        let memory = MemoryOperand::new(
            base.map_or(Register::None, wide),
            index,
            scale,
            disp,
            displacement_size,
            false,
            Register::None,
        );
        let code = match to.size() {
            4 => Code::Lea_r32_m,
            _ => Code::Lea_r64_m,
        };
        self.encode(&Instruction::with2(code, to, memory)?)
    }

    /// `lea reg, [reg + by]`, nothing for zero; `by` has 32 bits. With `size` 4 the sum is truncated.
    pub(super) fn move_by(&mut self, reg: Number, size: u32, by: i64) {
        if by != 0 {
            let moved = self.lea(sized(reg, size as usize), Some(reg), None, by);
            // Code that goes elsewhere than the guest must never run.
            assert!(moved.is_ok(), "a displacement of {by:#x}");
        }
    }

    /// `op reg, gs:[disp]` or its reverse, 64 bits wide, with a one-byte opcode.
    fn gs_op(&mut self, opcode: u8, reg: Number, slot: bool, disp: u32) {
        let rex = 0x48 | (reg >> 3) << 2 | u8::from(slot);
        self.raw(&[0x65, rex, opcode]);
        if slot {
            self.raw(&[0x85 | (reg & 7) << 3]);
        } else {
            self.raw(&[0x04 | (reg & 7) << 3, 0x25]);
        }
        self.raw32(disp);
    }

    /// `op reg, gs:[slot + disp]`; the slot is in RCX or R13.
    pub(super) fn slot_op(&mut self, opcode: u8, reg: Number, slot: Number, disp: u32) {
        let rex = 0x48 | (reg >> 3) << 2 | slot >> 3;
        self.raw(&[0x65, rex, opcode, 0x80 | (reg & 7) << 3 | slot & 7]);
        self.raw32(disp);
    }

    /// `mov reg, gs:[disp]`
    pub(super) fn load(&mut self, reg: Number, disp: u32) {
        self.gs_op(0x8b, reg, false, disp);
    }

    /// `mov gs:[disp], reg`
    pub(super) fn store(&mut self, disp: u32, reg: Number) {
        self.gs_op(0x89, reg, false, disp);
    }

    /// `add reg, gs:[disp]`
    pub(super) fn add_from(&mut self, reg: Number, disp: u32) {
        self.gs_op(0x03, reg, false, disp);
    }

    /// `sub reg, gs:[disp]`
    pub(super) fn subtract_from(&mut self, reg: Number, disp: u32) {
        self.gs_op(0x2b, reg, false, disp);
    }

    /// `add eax, gs:[disp]`, which zero-extends.
    pub(super) fn add_low_from(&mut self, disp: u32) {
        self.raw(&[0x65, 0x03, 0x04, 0x25]);
        self.raw32(disp);
    }

    /// `cmp reg, gs:[disp]`
    pub(super) fn compare_from(&mut self, reg: Number, disp: u32) {
        self.gs_op(0x3b, reg, false, disp);
    }

    /// `add rax, gs:[r13 + disp]`
    pub(super) fn add_slot(&mut self, disp: u32) {
        self.gs_op(0x03, RAX, true, disp);
    }

    /// `sub rax, gs:[r13 + disp]`
    pub(super) fn sub_slot(&mut self, disp: u32) {
        self.gs_op(0x2b, RAX, true, disp);
    }

    /// `cmp rax, gs:[r13 + disp]`
    pub(super) fn compare_slot(&mut self, disp: u32) {
        self.gs_op(0x3b, RAX, true, disp);
    }

    /// `jmp gs:[r13 + disp]`
    pub(super) fn jump_slot(&mut self, disp: u32) {
        self.raw(&[0x65, 0x41, 0xff, 0xa5]);
        self.raw32(disp);
    }

    /// `xor r13d, r13d; crc32 r13, rax`, or with `mov r13d, gs:[salt]` in place of the first.
    pub(super) fn hash_rax(&mut self, salt: Option<u32>) {
        match salt {
            None => self.raw(&[0x45, 0x31, 0xed]),
            Some(at) => {
                self.raw(&[0x65, 0x44, 0x8b, 0x2c, 0x25]);
                self.raw32(at);
            }
        }
        self.raw(&[0xf2, 0x4c, 0x0f, 0x38, 0xf1, 0xe8]);
    }

    /// Jumps if RAX is not a canonical address: `mov r13, rax; sar r13, 47; inc r13; cmp r13, 1; ja`
    pub(super) fn jump_unless_canonical(&mut self) -> Jump {
        self.raw(&[0x49, 0x89, 0xc5, 0x49, 0xc1, 0xfd, 47, 0x49, 0xff, 0xc5]);
        self.raw(&[0x49, 0x83, 0xfd, 1]);
        self.jump_if(condition::ABOVE)
    }

    /// `jmp gs:[disp]`
    pub(super) fn jump_from(&mut self, disp: u32) {
        self.raw(&[0x65, 0xff, 0x24, 0x25]);
        self.raw32(disp);
    }

    /// `cmp dword gs:[disp], value`
    pub(super) fn compare_word(&mut self, disp: u32, value: u32) {
        self.raw(&[0x65, 0x81, 0x3c, 0x25]);
        self.raw32(disp);
        self.raw32(value);
    }

    /// `cmp byte gs:[disp], value`
    pub(super) fn compare_byte(&mut self, disp: u32, value: u8) {
        self.raw(&[0x65, 0x80, 0x3c, 0x25]);
        self.raw32(disp);
        self.raw(&[value]);
    }

    /// `cmp word gs:[disp], value`
    pub(super) fn compare_half(&mut self, disp: u32, value: u16) {
        self.raw(&[0x65, 0x66, 0x81, 0x3c, 0x25]);
        self.raw32(disp);
        self.raw(&value.to_le_bytes());
    }

    /// `mov word gs:[disp], value`
    pub(super) fn set_half(&mut self, disp: u32, value: u16) {
        self.raw(&[0x65, 0x66, 0xc7, 0x04, 0x25]);
        self.raw32(disp);
        self.raw(&value.to_le_bytes());
    }

    /// `test dword gs:[disp], bits`
    pub(super) fn test_word(&mut self, disp: u32, bits: u32) {
        self.raw(&[0x65, 0xf7, 0x04, 0x25]);
        self.raw32(disp);
        self.raw32(bits);
    }

    /// `and dword gs:[disp], bits`
    pub(super) fn and_word(&mut self, disp: u32, bits: u32) {
        self.raw(&[0x65, 0x81, 0x24, 0x25]);
        self.raw32(disp);
        self.raw32(bits);
    }

    /// `or dword gs:[disp], bits`
    pub(super) fn or_word(&mut self, disp: u32, bits: u32) {
        self.raw(&[0x65, 0x81, 0x0c, 0x25]);
        self.raw32(disp);
        self.raw32(bits);
    }

    /// `mov qword gs:[disp], value` (sign-extended)
    pub(super) fn set_wide(&mut self, disp: u32, value: u32) {
        self.raw(&[0x65, 0x48, 0xc7, 0x04, 0x25]);
        self.raw32(disp);
        self.raw32(value);
    }

    /// `cmp byte gs:[disp], 0`
    pub(super) fn test_byte(&mut self, disp: u32) {
        self.raw(&[0x65, 0x80, 0x3c, 0x25]);
        self.raw32(disp);
        self.raw(&[0]);
    }

    /// `test byte gs:[disp], bits`
    pub(super) fn test_bits(&mut self, disp: u32, bits: u8) {
        self.raw(&[0x65, 0xf6, 0x04, 0x25]);
        self.raw32(disp);
        self.raw(&[bits]);
    }

    /// `mov byte gs:[disp], value`
    pub(super) fn set_byte(&mut self, disp: u32, value: u8) {
        self.raw(&[0x65, 0xc6, 0x04, 0x25]);
        self.raw32(disp);
        self.raw(&[value]);
    }

    /// `cmp dword [rax], 0`
    pub(super) fn test_word_at_rax(&mut self) {
        self.raw(&[0x83, 0x38, 0x00]);
    }

    /// `mov to, from`
    pub(super) fn copy(&mut self, to: Number, from: Number) {
        if to != from {
            self.between(0x89, to, from);
        }
    }

    /// `mov to, from` of the low 16 bits; the others stay.
    pub(super) fn copy_word(&mut self, to: Number, from: Number) {
        let rex = 0x40 | (from >> 3) << 2 | to >> 3;
        self.raw(&[0x66, rex, 0x89, 0xc0 | (from & 7) << 3 | to & 7]);
    }

    /// `mov gs:[disp], reg` of the low 16 bits.
    pub(super) fn store_word(&mut self, disp: u32, reg: Number) {
        let rex = 0x40 | (reg >> 3) << 2;
        self.raw(&[0x65, 0x66, rex, 0x89, 0x04 | (reg & 7) << 3, 0x25]);
        self.raw32(disp);
    }

    /// `op to, from`, 64 bits wide
    fn between(&mut self, opcode: u8, to: Number, from: Number) {
        let rex = 0x48 | (from >> 3) << 2 | to >> 3;
        self.raw(&[rex, opcode, 0xc0 | (from & 7) << 3 | to & 7]);
    }

    /// `mov to, from` of the lower halves; the upper one becomes zero.
    pub(super) fn copy_low(&mut self, to: Number, from: Number) {
        let rex = 0x40 | (from >> 3) << 2 | to >> 3;
        self.raw(&[rex, 0x89, 0xc0 | (from & 7) << 3 | to & 7]);
    }

    /// `mov eax, imm32` zero-extended, or the 64-bit form.
    pub(super) fn set_rax(&mut self, value: u64) {
        match u32::try_from(value) {
            Ok(value) => {
                self.raw(&[0xb8]);
                self.raw32(value);
            }
            Err(_) => {
                self.raw(&[0x48, 0xb8]);
                self.raw(&value.to_le_bytes());
            }
        }
    }

    /// `lahf; seto al; mov gs:[disp], ax`: the status flags into memory.
    pub(super) fn save_flags(&mut self, disp: u32) {
        self.raw(&[0x9f, 0x0f, 0x90, 0xc0, 0x65, 0x66, 0x89, 0x04, 0x25]);
        self.raw32(disp);
    }

    /// `bt word gs:[disp], 8`: the carry of saved flags into EFLAGS.
    pub(super) fn test_carry(&mut self, disp: u32) {
        self.raw(&[0x65, 0x66, 0x0f, 0xba, 0x24, 0x25]);
        self.raw32(disp);
        self.raw(&[8]);
    }

    /// The reverse: `movzx eax, word gs:[disp]; add al, 7fh; sahf`.
    pub(super) fn restore_flags(&mut self, disp: u32) {
        self.raw(&[0x65, 0x0f, 0xb7, 0x04, 0x25]);
        self.raw32(disp);
        self.raw(&[0x04, 0x7f, 0x9e]);
    }

    /// Low bits of `eax >> shift` into R13, rubbish above; with BMI2 one instruction less.
    pub(super) fn shift_into_r13(&mut self, shift: u8, bmi2: bool) {
        if bmi2 {
            self.raw(&[0xc4, 0x63, 0x7b, 0xf0, 0xe8, shift]);
        } else {
            self.raw(&[0x41, 0x89, 0xc5, 0x41, 0xc1, 0xed, shift]);
        }
    }

    /// `mov qword gs:[disp], value` (sign-extended)
    pub(super) fn set_word(&mut self, disp: u32, value: u32) {
        self.raw(&[0x65, 0x48, 0xc7, 0x04, 0x25]);
        self.raw32(disp);
        self.raw32(value);
    }

    /// `imul rax, gs:[disp], by`
    pub(super) fn multiply_rax(&mut self, disp: u32, by: i32) {
        self.raw(&[0x65, 0x48, 0x69, 0x04, 0x25]);
        self.raw32(disp);
        self.raw32(by as u32);
    }

    /// `add to, from`
    pub(super) fn add(&mut self, to: Number, from: Number) {
        self.between(0x01, to, from);
    }

    /// `sub to, from`
    pub(super) fn subtract(&mut self, to: Number, from: Number) {
        self.between(0x29, to, from);
    }

    /// `shl r13, by`, nothing for zero
    pub(super) fn shift_r13_left(&mut self, by: u8) {
        if by != 0 {
            self.raw(&[0x49, 0xc1, 0xe5, by]);
        }
    }

    /// `mov r13d, value`
    pub(super) fn set_r13(&mut self, value: u32) {
        self.raw(&[0x41, 0xbd]);
        self.raw32(value);
    }

    /// `and r13d, mask`
    pub(super) fn mask_r13(&mut self, mask: u32) {
        self.raw(&[0x41, 0x81, 0xe5]);
        self.raw32(mask);
    }

    /// `cmp rax, value`
    pub(super) fn compare_rax(&mut self, value: u32) {
        self.raw(&[0x48, 0x3d]);
        self.raw32(value);
    }

    /// `and rax, value` (sign-extended)
    pub(super) fn mask_rax(&mut self, value: i32) {
        self.raw(&[0x48, 0x25]);
        self.raw32(value as u32);
    }

    /// `test al, mask`
    pub(super) fn test_al(&mut self, mask: u8) {
        self.raw(&[0xa8, mask]);
    }

    /// `mov [at], reg` (89h) or `mov reg, [at]` (8Bh) of `size` bytes, 4 or 8; `at` is a pointer with
    /// an offset.
    pub(super) fn move_at(&mut self, opcode: u8, size: u32, reg: Number, at: (Number, u32)) {
        let (pointer, offset) = at;
        let w = if size == 8 { 0x08 } else { 0 };
        let rex = 0x40 | w | (reg >> 3) << 2 | pointer >> 3;
        self.raw(&[rex, opcode, 0x80 | (reg & 7) << 3 | pointer & 7]);
        if pointer & 7 == 4 {
            self.raw(&[0x24]);
        }
        self.raw32(offset);
    }

    pub(super) fn jump(&mut self) -> Jump {
        self.raw(&[0xe9, 0, 0, 0, 0]);
        self.last_displacement()
    }

    pub(super) fn jump_if(&mut self, condition: u8) -> Jump {
        self.raw(&[0x0f, 0x80 | condition, 0, 0, 0, 0]);
        self.last_displacement()
    }

    fn last_displacement(&self) -> Jump {
        Jump {
            section: self.section,
            at: self.bytes.len() - 4,
        }
    }

    pub(super) fn jump_to(&mut self, target: u64) {
        let jump = self.jump();
        self.land_at(jump, target);
    }

    pub(super) fn call(&mut self, target: u64) {
        self.raw(&[0xe8, 0, 0, 0, 0]);
        let call = self.last_displacement();
        self.land_at(call, target);
    }

    /// `jump` goes to the next byte.
    pub(super) fn land(&mut self, jump: Jump) {
        let here = self.here();
        self.land_at(jump, here);
    }

    pub(super) fn land_at(&mut self, jump: Jump, target: u64) {
        let displacement = target.wrapping_sub(self.place(jump) + 4) as i32;
        let bytes = if self.section == jump.section {
            &mut self.bytes
        } else {
            &mut self.other.bytes
        };
        bytes[jump.at..jump.at + 4].copy_from_slice(&displacement.to_le_bytes());
    }

    /// Executable address of the displacement of `jump`.
    pub(super) fn place(&self, jump: Jump) -> u64 {
        let base = if self.section == jump.section {
            self.base
        } else {
            self.other.base
        };
        base + jump.at as u64
    }

    /// Memory operand `[pointer + offset]` put into `insn` in place of the guest's.
    pub(super) fn point_at(insn: &mut Instruction, pointer: Number, offset: u32) {
        Assembler::point_with(insn, pointer, None, offset.into());
    }

    /// `[pointer + index * scale + disp]` likewise.
    pub(super) fn point_with(
        insn: &mut Instruction,
        pointer: Number,
        index: Option<(Number, u32)>,
        disp: i64,
    ) {
        insn.set_segment_prefix(Register::None);
        insn.set_memory_base(wide(pointer));
        let (index, scale) = index.map_or((Register::None, 1), |(n, scale)| (wide(n), scale));
        insn.set_memory_index(index);
        insn.set_memory_index_scale(scale);
        insn.set_memory_displacement64(disp as u64);
        insn.set_memory_displ_size(match i8::try_from(disp) {
            Ok(0) => 0,
            Ok(_) => 1,
            Err(_) => 8,
        });
    }
}
