use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};

use super::{code, key, plan};
use crate::interp::vector::rules;
use crate::interp::vector::stub_raw::ARENA_BYTES;
use crate::interp::vector::tests::cpu;

/// Decodes one opcode of every map, prefix, length and form, with a register and a memory operand.
fn each_instruction(mut seen: impl FnMut(&Instruction)) {
    let mut decode = |bytes: &[u8]| {
        let insn = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        if !insn.is_invalid() {
            seen(&insn);
        }
    };
    for opcode in 0..=255 {
        for modrm in (0..=255u8).filter(|modrm| modrm >> 6 == 0 && modrm & 7 == 1 || modrm >= &0xc0)
        {
            for rex in [0x40, 0x48] {
                for prefix in [0x40, 0x66, 0xf2, 0xf3] {
                    decode(&[prefix, rex, 0x0f, opcode, modrm, 0, 0, 0, 0]);
                    decode(&[prefix, rex, 0x0f, 0x38, opcode, modrm, 0, 0]);
                    decode(&[prefix, rex, 0x0f, 0x3a, opcode, modrm, 0, 0]);
                }
            }
            decode(&[opcode, modrm, 0, 0, 0, 0]);
            for map in 1..=3 {
                for low in (0..8).flat_map(|n| [n, n | 0x80]) {
                    for vvvv in [0x78, 0x70] {
                        decode(&[0xc4, 0xe0 | map, low | vvvv, opcode, modrm, 0, 0]);
                    }
                }
            }
        }
    }
}

#[test]
fn stubs_of_all_instructions_fit() {
    let cpu = cpu();
    let mut sizes = BTreeMap::new();
    each_instruction(|insn| {
        if !cpu.available.has_all(insn.cpuid_features()) {
            return;
        }
        let Some(key) = key(insn) else { return };
        if sizes.contains_key(&key) {
            return;
        }
        let stub = plan(insn).and_then(|plan| code(insn, &plan));
        let immediate = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Immediate8);
        let variants = if immediate { 256 } else { 1 };
        let bytes = stub.map_or(0, |stub| stub.len().next_multiple_of(64) * variants);
        sizes.insert(key, bytes);
    });
    let stubs = sizes.values().filter(|&&bytes| bytes != 0).count();
    let bytes: usize = sizes.values().sum();
    assert!(stubs > 1000, "{stubs} stubs");
    assert!(bytes < ARENA_BYTES, "{bytes} bytes of stubs");
}

#[test]
fn what_touches_more_than_its_operands_has_no_plan() {
    let refused: &[&[u8]] = &[
        // maskmovdqu stores at RDI, which is not an operand
        &[0x66, 0x0f, 0xf7, 0xc1],
        // push, call, rep movsb, cmpxchg16b, rdmsr
        &[0x50],
        &[0xe8, 0, 0, 0, 0],
        &[0xf3, 0xa4],
        &[0x48, 0x0f, 0xc7, 0x0e],
        &[0x0f, 0x32],
    ];
    for bytes in refused {
        let insn = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        assert!(!rules::is_x87(&insn));
        assert!(plan(&insn).is_none(), "{bytes:02x?}");
    }
}
