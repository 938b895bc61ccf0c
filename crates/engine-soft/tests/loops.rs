//! Loops over memory, on the interpreter and on the translator: random bodies with pointers that move evenly or
//! not, over pages that end, that are no RAM, and that hold the loop's own code.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "random bits are cut to whatever width is needed"
)]

#[path = "hostile_guest/guest_memory.rs"]
mod guest_memory;
mod hostile_guest;
#[path = "hostile_guest/long_mode.rs"]
mod long_mode;
#[path = "hostile_guest/pair.rs"]
mod pair;

use engine_tests::CODE;
use engine_tests::lockstep::Choices;
use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};
use long_mode::{memory, state};
use pair::Both;
use x86::register::{cr0, gpr};

const BODIES: u64 = 1500;
/// Where RAM ends, in `long_mode`.
const END: u64 = 0x60_0000;
const PAGE: u64 = 0x1000;

/// Pages whose order in linear memory is not that in RAM, some of which may not be written or are not there.
const SCATTERED: u64 = 0x4000_0000;
const PAGES: u64 = 32;
const MISSING: u64 = 13;
const READ_ONLY: u64 = 22;
/// Where they are, and the tables for them.
const FRAMES: u64 = 0x20_0000;
const TABLES: u64 = 0x50_0000;

const POINTERS: [Register; 4] = [Register::RSI, Register::RDI, Register::R8, Register::R14];
const INDICES: [Register; 2] = [Register::RCX, Register::R10];
const VALUES: [Register; 5] = [
    Register::RAX,
    Register::RDX,
    Register::R9,
    Register::R11,
    Register::R12,
];
const COUNTER: Register = Register::R13;

fn pick<T: Copy>(choices: &mut Choices, all: &[T]) -> T {
    all[choices.below(all.len() as u64) as usize]
}

/// A memory operand near a pointer, perhaps with an index.
fn operand(choices: &mut Choices) -> MemoryOperand {
    let base = pick(choices, &POINTERS);
    let disp = choices.below(0x120) as i64 - 0x60;
    let disp = if choices.below(3) == 0 { 0 } else { disp & !7 };
    if choices.below(3) > 0 {
        return MemoryOperand::with_base_displ(base, disp);
    }
    let scale = pick(choices, &[1, 2, 4, 8]);
    MemoryOperand::with_base_index_scale_displ_size(base, pick(choices, &INDICES), scale, disp, 1)
}

fn access(choices: &mut Choices) -> Instruction {
    let (value, at) = (pick(choices, &VALUES), operand(choices));
    let low = value.full_register32();
    let insn = match choices.below(13) {
        0 => Instruction::with2(Code::Mov_r64_rm64, value, at),
        1 => Instruction::with2(Code::Mov_rm64_r64, at, value),
        2 => Instruction::with2(Code::Add_r64_rm64, value, at),
        3 => Instruction::with2(Code::Adc_r64_rm64, value, at),
        4 => Instruction::with2(Code::Add_rm32_r32, at, low),
        5 => Instruction::with2(Code::Adc_rm64_imm8, at, 3),
        6 => Instruction::with2(Code::Movzx_r32_rm8, low, at),
        7 => Instruction::with2(Code::Cmp_rm8_imm8, at, 0x41),
        8 => Instruction::with2(Code::Movups_xmm_xmmm128, Register::XMM3, at),
        9 => Instruction::with2(Code::Movups_xmmm128_xmm, at, Register::XMM3),
        10 => Instruction::with2(Code::Movaps_xmm_xmmm128, Register::XMM4, at),
        11 => Instruction::with3(Code::VEX_Mulx_r64_r64_rm64, value, Register::RBX, at),
        _ => Instruction::with2(Code::Adcx_r64_rm64, value, at),
    };
    insn.expect("an instruction")
}

/// Something that moves a pointer or an index, mostly by a constant.
fn step(choices: &mut Choices) -> Instruction {
    let all = [POINTERS.as_slice(), &INDICES].concat();
    let register = pick(choices, &all);
    let by = pick(choices, &[1, 2, 4, 8, 16, 24, 32, 64, 100]);
    let insn = match choices.below(6) {
        0 => Instruction::with2(Code::Sub_rm64_imm8, register, by),
        1 => Instruction::with1(Code::Inc_rm64, register),
        2 => Instruction::with1(Code::Dec_rm64, register),
        3 => {
            let at = MemoryOperand::with_base_displ(register, i64::from(by));
            Instruction::with2(Code::Lea_r64_m, register, at)
        }
        4 => Instruction::with2(Code::And_rm64_imm8, register, -8),
        _ => Instruction::with2(Code::Add_rm64_imm8, register, by),
    };
    insn.expect("an instruction")
}

/// A loop that ends after COUNTER rounds, and HLT.
fn body(choices: &mut Choices) -> Option<Vec<u8>> {
    let mut insns = Vec::new();
    for _ in 0..1 + choices.below(7) {
        insns.push(match choices.below(3) {
            0 => step(choices),
            _ => access(choices),
        });
    }
    insns.push(match choices.below(2) {
        0 => Instruction::with1(Code::Dec_rm64, COUNTER).expect("an instruction"),
        _ => Instruction::with2(Code::Sub_rm64_imm8, COUNTER, 1).expect("an instruction"),
    });
    insns.push(Instruction::with_branch(Code::Jne_rel32_64, CODE).expect("a branch"));
    let mut encoder = Encoder::new(64);
    let mut at = CODE;
    for insn in &insns {
        at += encoder.encode(insn, at).ok()? as u64;
    }
    let mut code = encoder.take_buffer();
    code.push(0xf4);
    Some(code)
}

/// Maps the scattered pages.
fn scatter(both: &Both, cr3: u64) {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    let all = PRESENT | WRITABLE;
    // The second GiB is the second entry of the table that the first entry of the top one leads to.
    let second_level = both.read_word(cr3) & !0xfff;
    both.write(second_level + 8, &(TABLES | all).to_le_bytes());
    both.write(TABLES, &((TABLES + PAGE) | all).to_le_bytes());
    for page in 0..PAGES {
        let frame = FRAMES + page * 7 % PAGES * PAGE;
        let entry = match page {
            MISSING => 0,
            READ_ONLY => frame | PRESENT,
            _ => frame | all,
        };
        both.write(TABLES + PAGE + page * 8, &entry.to_le_bytes());
    }
}

#[test]
fn loops_end_the_same() {
    let mut ran = 0;
    for case in 0..BODIES {
        let choices = &mut Choices::of_case(20_261_126, case);
        let Some(code) = body(choices) else { continue };
        let mut both = Both::new(|| memory(&code));
        let mut before = state();
        before.cr0 |= cr0::WP;
        scatter(&both, before.cr3);
        before.gpr[3] = 0;
        before.gpr[13] = 1 + choices.below(if case % 3 == 0 { 700 } else { 60 });
        for register in POINTERS {
            before.gpr[register.number()] = match choices.below(8) {
                0 => END - choices.below(0x300),
                // Beside the code.
                1 => CODE + 0x400 + choices.below(0x100) * 8,
                _ => SCATTERED + choices.below(PAGES) * PAGE + choices.below(0x200) * 8,
            };
        }
        for register in INDICES {
            before.gpr[register.number()] = choices.below(64);
        }
        let what = format!("case {case}: {code:02x?}");
        both.write(FRAMES, &[0x5a; (PAGES * PAGE) as usize]);
        both.run(&before, &what);
        both.same(CODE & !0xfff, 2 * PAGE, &what);
        both.same(FRAMES, PAGES * PAGE, &what);
        both.same(END - 0x8000, 0x8000, &what);
        ran += 1;
    }
    assert!(ran > BODIES / 2, "{ran} loops");
}

/// A loop writes beside a function first, and then over it.
#[test]
fn a_loop_that_reaches_code_is_noticed() {
    const FUNCTION: u64 = 0x1_2100;
    // call rdi; again: mov [rsi], rbx; sub rsi, 8; dec rcx; jnz again; call rdi; hlt
    let code = [
        0xff, 0xd7, 0x48, 0x89, 0x1e, 0x48, 0x83, 0xee, 0x08, 0x48, 0xff, 0xc9, 0x75, 0xf4, 0xff,
        0xd7, 0xf4,
    ];
    let function = |answer| [0xb8, answer, 0, 0, 0, 0xc3, 0x90, 0x90];
    let mut both = Both::new(|| memory(&code));
    for answer in 1..20u8 {
        both.write(FUNCTION, &function(0xff));
        let mut before = state();
        before.gpr[gpr::RDI] = FUNCTION;
        before.gpr[gpr::RSI] = FUNCTION + 0x600;
        before.gpr[gpr::RCX] = 0x600 / 8 + 1;
        before.gpr[gpr::RBX] = u64::from_le_bytes(function(answer));
        let run = both.run(&before, "over a function");
        assert_eq!(run.state.gpr[gpr::RAX], u64::from(answer));
    }
}
