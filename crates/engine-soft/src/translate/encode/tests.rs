//! The same bytes as iced-x86's encoder, for every `Code` and whatever its operands.

use iced_x86::{
    Code, CodeSize, Encoder, Instruction, MemoryOperand, OpCodeOperandKind, OpKind, Register,
};

use super::Forms;

/// Xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 20) % u64::from(end)) as u32
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    fn address(&mut self) -> (Register, Register) {
        let of = |n: u32, first: Register| if n < 16 { first + n } else { Register::None };
        let first = self.pick(&[Register::RAX, Register::RAX, Register::RAX, Register::EAX]);
        (of(self.below(17), first), of(self.below(32), first))
    }
}

fn register(random: &mut Random, kind: OpCodeOperandKind) -> Option<Register> {
    let name = format!("{kind:?}");
    Some(match name.split('_').next()? {
        "r8" => Register::AL + random.below(20),
        "r16" => Register::AX + random.below(16),
        "r32" => Register::EAX + random.below(16),
        "r64" => Register::RAX + random.below(16),
        "xmm" => Register::XMM0 + random.below(16),
        "al" => random.pick(&[Register::AL, Register::CL]),
        "cl" => random.pick(&[Register::CL, Register::DL]),
        "ax" => random.pick(&[Register::AX, Register::R15W]),
        "eax" => random.pick(&[Register::EAX, Register::R15D]),
        "rax" => random.pick(&[Register::RAX, Register::R15]),
        _ => return None,
    })
}

fn immediate(kind: OpCodeOperandKind) -> Option<OpKind> {
    use OpCodeOperandKind as K;
    Some(match kind {
        K::imm8 | K::imm8_const_1 => OpKind::Immediate8,
        K::imm8sex16 => OpKind::Immediate8to16,
        K::imm8sex32 => OpKind::Immediate8to32,
        K::imm8sex64 => OpKind::Immediate8to64,
        K::imm16 => OpKind::Immediate16,
        K::imm32 => OpKind::Immediate32,
        K::imm32sex64 => OpKind::Immediate32to64,
        K::imm64 => OpKind::Immediate64,
        _ => return None,
    })
}

fn set_memory(random: &mut Random, insn: &mut Instruction) {
    let (base, index) = random.address();
    let disp = random.pick(&[
        0i64,
        1,
        -1,
        127,
        -128,
        128,
        0x1234_5678,
        -0x1234_5678,
        1 << 33,
    ]);
    let size = random.pick(&[0, 1, 1, 8, 8, 4]);
    let segment = random.pick(&[Register::None, Register::FS, Register::GS, Register::SS]);
    insn.set_memory_base(base);
    insn.set_memory_index(index);
    insn.set_memory_index_scale(random.pick(&[1, 2, 4, 8]));
    insn.set_memory_displacement64(disp as u64);
    insn.set_memory_displ_size(size);
    insn.set_segment_prefix(segment);
}

/// One with this `code`, and any operands that it may have.
fn any(random: &mut Random, code: Code) -> Option<Instruction> {
    let info = code.op_code();
    let mut insn = Instruction::default();
    insn.set_code(code);
    insn.set_code_size(CodeSize::Code64);
    insn.set_has_lock_prefix(random.below(4) == 0);
    for n in 0..info.op_count() {
        let kind = info.op_kind(n);
        let name = format!("{kind:?}");
        if let Some(as_immediate) = immediate(kind) {
            insn.set_op_kind(n, as_immediate);
            let value = if kind == OpCodeOperandKind::imm8_const_1 {
                1
            } else {
                random.below(u32::MAX).into()
            };
            insn.set_immediate_u64(n, value);
        } else if name.starts_with("mem") || name.ends_with("or_mem") && random.below(2) == 0 {
            insn.set_op_kind(n, OpKind::Memory);
            set_memory(random, &mut insn);
        } else {
            insn.set_op_register(n, register(random, kind)?);
        }
    }
    Some(insn)
}

#[test]
fn bytes_are_those_of_the_other_encoder() {
    let (mut forms, mut encoder) = (Forms::new(), Encoder::new(64));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut codes, mut same) = (0, 0);
    for code in Code::values() {
        let mut met = false;
        for _ in 0..200 {
            let Some(insn) = any(&mut random, code) else {
                break;
            };
            let mut bytes = Vec::new();
            if forms.encode(&insn, &mut bytes).is_none() {
                assert!(bytes.is_empty(), "{code:?}: bytes of what has none");
                continue;
            }
            let known = encoder.encode(&insn, 0x1000);
            assert!(
                known.is_ok(),
                "{code:?} {insn:?}: {known:?}, not {bytes:x?}"
            );
            assert_eq!(bytes, encoder.take_buffer(), "{code:?} {insn:?}");
            met = true;
            same += 1;
        }
        codes += usize::from(met);
    }
    // Most integer and SSE instructions, in most of their forms.
    assert!(codes > 700 && same > 40_000, "{codes} codes, {same} forms");
}

#[test]
fn what_is_commonest_has_a_form() {
    let mut forms = Forms::new();
    let at = MemoryOperand::with_base_displ(Register::RAX, 8);
    let two = |code, register| Instruction::with2(code, register, at).expect("an instruction");
    for insn in [
        two(Code::Mov_r64_rm64, Register::R15),
        two(Code::Lea_r64_m, Register::RDI),
        two(Code::Cmp_r32_rm32, Register::ECX),
        two(Code::Movzx_r32_rm8, Register::ESI),
        two(Code::Imul_r64_rm64, Register::RBX),
        two(Code::Cmove_r64_rm64, Register::RBX),
        two(Code::Movups_xmm_xmmm128, Register::XMM9),
    ] {
        assert!(forms.encode(&insn, &mut Vec::new()).is_some(), "{insn}");
    }
}
