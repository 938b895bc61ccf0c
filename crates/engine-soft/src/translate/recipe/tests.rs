use iced_x86::{Code, Instruction, Register};

use super::Recipe;
use crate::translate::assembler::Assembler;
use crate::translate::registers::sized;

/// Guest code is what makes recipes: each must have its code, whatever registers and constants it is
/// about.
#[test]
fn every_recipe_can_be_written() {
    let mut asm = Assembler::new();
    let mut written = 0;
    for insn in all() {
        for recipe in [Recipe::after(&insn), Recipe::after_step(&insn)] {
            let Some(recipe) = recipe else { continue };
            asm.start(0x1000, 0x2000);
            let result = recipe.write(&mut asm);
            assert!(result.is_ok(), "{insn}: {recipe:?}");
            if recipe.takes_carry() {
                assert!(recipe.write_step(&mut asm).is_ok(), "{insn}: {recipe:?}");
            }
            written += 1;
        }
    }
    assert!(written > 8_000, "{written}");
}

#[test]
fn a_recipe_knows_its_registers() {
    let insn = Instruction::with2(Code::Cmp_r64_rm64, Register::RSP, Register::R15);
    let recipe = Recipe::after(&insn.expect("an instruction")).expect("a recipe");
    assert_eq!(recipe.registers(), 1 << 4 | 1 << 15);
    let insn = Instruction::with2(Code::And_r32_rm32, Register::ECX, Register::EDX);
    let recipe = Recipe::after(&insn.expect("an instruction")).expect("a recipe");
    assert_eq!(recipe.registers(), 1 << 1);
}

#[test]
fn what_cannot_be_computed_again_has_none() {
    let same = Instruction::with2(Code::Add_r64_rm64, Register::RAX, Register::RAX);
    let high = Instruction::with2(Code::Cmp_r8_rm8, Register::AH, Register::CL);
    let carry = Instruction::with2(Code::Adc_r64_rm64, Register::RAX, Register::RCX);
    let narrow = Instruction::with2(Code::Sub_r16_rm16, Register::AX, Register::CX);
    for insn in [same, high, carry, narrow] {
        let insn = insn.expect("an instruction");
        assert_eq!(Recipe::after(&insn), None, "{insn}");
        assert_eq!(Recipe::after_step(&insn), None, "{insn}");
    }
}

/// By operation, then by size.
const PAIRS: [[Code; 4]; 7] = [
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
        Code::And_r8_rm8,
        Code::And_r16_rm16,
        Code::And_r32_rm32,
        Code::And_r64_rm64,
    ],
    [
        Code::Or_r8_rm8,
        Code::Or_r16_rm16,
        Code::Or_r32_rm32,
        Code::Or_r64_rm64,
    ],
    [
        Code::Xor_r8_rm8,
        Code::Xor_r16_rm16,
        Code::Xor_r32_rm32,
        Code::Xor_r64_rm64,
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

/// With constants, likewise.
const WITH_CONSTANTS: [[Code; 4]; 5] = [
    [
        Code::Cmp_rm8_imm8,
        Code::Cmp_rm16_imm16,
        Code::Cmp_rm32_imm32,
        Code::Cmp_rm64_imm32,
    ],
    [
        Code::Cmp_rm8_imm8,
        Code::Cmp_rm16_imm8,
        Code::Cmp_rm32_imm8,
        Code::Cmp_rm64_imm8,
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
        Code::Sub_rm16_imm8,
        Code::Sub_rm32_imm8,
        Code::Sub_rm64_imm8,
    ],
];

const VALUES: [i32; 12] = [
    0,
    1,
    -1,
    127,
    -128,
    128,
    255,
    0x7fff,
    -0x8000,
    0xffff,
    i32::MAX,
    i32::MIN,
];

/// Every instruction that has a recipe, over every register, with constants of every kind.
fn all() -> impl Iterator<Item = Instruction> {
    let numbers = || (0..16u8).flat_map(|a| (0..16u8).map(move |b| (a, b)));
    let of_pairs = PAIRS.into_iter().flat_map(move |codes| {
        (0..4).flat_map(move |n| {
            numbers().filter_map(move |(a, b)| {
                Instruction::with2(codes[n], sized(a, 1 << n), sized(b, 1 << n)).ok()
            })
        })
    });
    let of_constants = WITH_CONSTANTS.into_iter().flat_map(move |codes| {
        (0..4).flat_map(move |n| {
            (0..16).flat_map(move |a| {
                // Those that do not fit are no instructions.
                VALUES.into_iter().filter_map(move |value| {
                    Instruction::with2(codes[n], sized(a, 1 << n), value).ok()
                })
            })
        })
    });
    let steps = [
        Code::Inc_rm32,
        Code::Inc_rm64,
        Code::Dec_rm32,
        Code::Dec_rm64,
    ];
    let of_steps = steps.into_iter().enumerate().flat_map(|(n, code)| {
        (0..16).filter_map(move |a| Instruction::with1(code, sized(a, 4 << (n % 2))).ok())
    });
    of_pairs.chain(of_constants).chain(of_steps)
}
