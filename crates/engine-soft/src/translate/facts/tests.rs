//! What is remembered of a form holds for each instruction of the form.

use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory, OpAccess, OpKind};

use super::{Forms, access, is, writes};
use crate::translate::registers::number;
use crate::translate::{make, simple, special, x87};

/// Instructions of random bytes, which begin like those that there are.
fn random_instructions(bits: u32, mut each: impl FnMut(&Instruction)) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for n in 0..400_000u32 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&next());
        bytes[8..].copy_from_slice(&next());
        match n % 8 {
            0 => bytes[0] = 0x0f,
            1 => bytes[0] = 0x48,
            2 => bytes[..2].copy_from_slice(&[0x66, 0x0f]),
            3 => bytes[..2].copy_from_slice(&[0xf3, 0x0f]),
            4 => bytes[0] = 0xc5,
            5 => bytes[..2].copy_from_slice(&[0x4d, 0x0f]),
            _ => {}
        }
        let insn = Decoder::new(bits, &bytes, DecoderOptions::NONE).decode();
        each(&insn);
    }
}

#[test]
fn what_holds_for_a_form_holds_for_each_of_its_instructions() {
    let (mut forms, mut infos) = (Forms::new(), InstructionInfoFactory::new());
    for bits in [64, 32] {
        random_instructions(bits, |insn| {
            let facts = forms.facts(insn);
            let vector = simple::is_vector(insn) || special::uses_vectors(insn);
            for (answers, expected) in [
                (is::SIMPLE, simple::is_simple(insn)),
                (is::SPECIAL, special::is_special(insn)),
                (is::X87, x87::is_x87(insn)),
                (is::OWN_X87, x87::is_own(insn)),
                (is::SETS_POINTER, x87::sets_pointer(insn)),
                (is::STACK, make::is_stack(insn)),
                (is::NOTHING, make::is_nothing(insn)),
                (is::SSE | is::AVX, vector),
                (is::VECTOR, vector || x87::uses_vectors(insn)),
                (is::UNREPEATABLE, !make::is_repeatable(insn)),
                (is::NEEDS_FLAGS, simple::needs_flags(insn)),
                (is::WRITES_FLAGS, simple::writes_flags(insn)),
                (is::REPLACES_FLAGS, simple::replaces_flags(insn)),
                (is::HAS_MEMORY, simple::has_memory(insn)),
            ] {
                assert_eq!(
                    facts.any(answers),
                    expected,
                    "{answers:#x} of {insn} {insn:?}"
                );
            }
            let info = infos.info(insn);
            assert_eq!(facts.access, access(insn, info), "{insn}");
            if !facts.any(is::SIMPLE | is::SPECIAL | is::X87 | is::STACK) {
                return;
            }
            if !insn.has_rep_prefix() && !insn.has_repne_prefix() {
                let written = info.used_registers().iter().fold(0, |all, used| {
                    let counts = used.register().is_gpr() && writes(used.access());
                    all | u16::from(counts) << number(used.register())
                });
                assert_eq!(facts.writes, written, "{insn} {insn:?}");
            }
            for n in 0..insn.op_count().min(4) {
                if insn.op_kind(n) != OpKind::Register || !insn.op_register(n).is_gpr() {
                    continue;
                }
                let access = info.op_access(n);
                assert_eq!(facts.writes_operand(n), writes(access), "{n} of {insn}");
                let reads = !matches!(access, OpAccess::Write | OpAccess::None);
                assert!(facts.reads_operand(n) || !reads, "{n} of {insn}");
            }
        });
    }
}
