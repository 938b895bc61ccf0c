//! 32-bit code that attacks the translator: the end of 4 GiB, segments that are not flat or stop being
//! so, upper halves of registers, and every opcode there is. What comes out is what the interpreter
//! does.
#![allow(
    clippy::cast_possible_truncation,
    reason = "addresses are cut to 32 bits, which is what this is about"
)]

#[path = "hostile_guest/guest_memory.rs"]
mod guest_memory;
mod hostile_guest;
#[path = "hostile_guest/pair.rs"]
mod pair;

use engine::{Engine, Entry, Exit};
use engine_soft::SoftEngine;
use engine_tests::{CODE, DATA, Image, Mode, STACK};
use guest_memory::write;
use hostile_guest::{run_and_kick, table};
use memory::{Gpa, GuestMemory, RamRange};
use pair::Both;
use x86::register::{cr4, gpr, xcr0};
use x86::{CpuState, Segment};

const RAM: u64 = 0x3_0000;
/// The last two pages of 4 GiB, which are RAM too.
const LAST_PAGE: u64 = 0xffff_f000;
const END: u64 = 0x1_0000_0000;
/// Of the image's descriptors; selectors that the tests add come after them.
const GDT: u64 = 0x6000;
const TABLES: u64 = 0x2_8000;
const ROUNDS: u64 = 3;

fn image() -> Image {
    Image {
        mode: Mode::Protected32,
        code: Vec::new(),
    }
}

fn memory() -> GuestMemory {
    let low = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let high = RamRange {
        base: Gpa(LAST_PAGE - 0x1000),
        len: 0x2000,
    };
    let memory = GuestMemory::new(&[low, high]).expect("memory");
    image().load(&memory).expect("room");
    // All that is not written is HLT, the first page too, where code goes on after the last byte.
    write(&memory, 0, &[0xf4; 0x1000]);
    write(&memory, LAST_PAGE - 0x1000, &[0xf4; 0x2000]);
    memory
}

fn state() -> CpuState {
    let mut state = image().state();
    state.cr4 |= cr4::OSXSAVE;
    state.xcr0 = xcr0::X87 | xcr0::SSE | xcr0::AVX;
    state.gpr[gpr::RCX] = ROUNDS;
    state
}

/// Code in a page of HLT.
fn write_code(both: &Both, at: u64, code: &[u8]) {
    both.write(at & !0xfff, &[0xf4; 0x1000]);
    both.write(at, code);
}

#[test]
fn every_opcode_is_the_interpreters() {
    let mut both = Both::new(memory);
    let mut opcodes = Vec::new();
    for opcode in 0..=255u8 {
        for prefix in [
            &[][..],
            &[0x66],
            &[0x67],
            &[0xf2],
            &[0xf3],
            &[0x65],
            &[0x2e],
        ] {
            opcodes.push([prefix, &[opcode]].concat());
            // RDTSC differs.
            if opcode != 0x31 {
                opcodes.push([prefix, &[0x0f, opcode]].concat());
            }
        }
        for prefix in [&[][..], &[0x66], &[0xf2], &[0xf3]] {
            opcodes.push([prefix, &[0x0f, 0x38, opcode]].concat());
            opcodes.push([prefix, &[0x0f, 0x3a, opcode]].concat());
        }
        for last in 0..8 {
            opcodes.extend((1..=3).map(|map| vec![0xc4, 0xe0 | map, 0x78 | last, opcode]));
        }
    }
    // [edx], [esi + 8], ecx, esp with an immediate, [absolute]
    let operands: [&[u8]; 4] = [&[0x02], &[0x46, 8], &[0xc1], &[0x05, 8, 0, 2, 0]];
    for opcode in opcodes {
        for operand in operands {
            // lock or byte [edx], 0, so that the TLB knows the page
            let mut code = vec![0xf0, 0x80, 0x0a, 0x00];
            code.extend(&opcode);
            code.extend(operand);
            code.extend([0x90, 0x90, 0x90, 0xf4]);
            let what = format!("{opcode:02x?} {operand:02x?}");
            write_code(&both, CODE, &code);
            both.write(DATA, &[0x41; 64]);
            let mut state = state();
            state.gpr[gpr::RDX] = DATA + 0x11;
            state.gpr[gpr::RSI] = DATA + 0x20;
            state.gpr[gpr::RDI] = DATA + 0x80;
            state.gpr[gpr::RAX] = 0xffff_ffff_1234_5678;
            state.gpr[gpr::RBX] = 0x7_0000_00ff;
            both.run(&state, &what);
            both.same(DATA - 0x40, 0x100, &what);
            both.same(STACK - 0x100, 0x100, &what);
        }
    }
}

/// Straight code, instructions and branches over the last byte.
#[test]
fn code_goes_over_the_end_as_the_interpreter_does() {
    let mut both = Both::new(memory);
    // inc eax; dec ecx; jnz back; then whatever lies there
    let first = [0x40, 0x49, 0x0f, 0x85];
    let branches: [&[u8]; 12] = [
        // nop; mov eax, imm; jmp, jz, jnz, loop, jecxz, call forwards, and near
        &[0x90],
        &[0xb8, 1, 2, 3, 4],
        &[0xeb, 0x40],
        &[0x74, 0x40],
        &[0x75, 0x40],
        &[0xe2, 0x40],
        &[0xe3, 0x40],
        &[0xe8, 0x40, 0, 0, 0],
        &[0xe9, 0x40, 0, 0, 0],
        // jmp, call eax; push eax, ret
        &[0xff, 0xe0],
        &[0xff, 0xd0],
        &[0x50, 0xc3],
    ];
    for branch in branches {
        for missing in [0, 1, 2, 16] {
            let at = END - branch.len() as u64 + missing.min(branch.len() as u64 - 1);
            let at = if missing == 16 { at - 16 } else { at };
            for far in [false, true] {
                both.write(0, &[0xf4; 0x1000]);
                write_code(&both, LAST_PAGE, &[]);
                // Page 0 goes back to the last page, so that both are warm: jmp at
                let back = (at as u32).wrapping_sub(8).wrapping_sub(0x105);
                both.write(0x100, &[&[0xe9][..], &back.to_le_bytes()].concat());
                let room = branch.len().min((END - at) as usize);
                both.write(at, &branch[..room]);
                both.write(0, &branch[room..]);
                both.write(at - 8, &[&first[..2], &[0x90; 6]].concat());
                let mut state = state();
                state.rip = if far { 0x100 } else { at - 8 };
                state.gpr[gpr::RAX] = 0x8000;
                both.run(&state, &format!("{branch:02x?} at {at:#x}, {far}"));
            }
        }
    }
}

/// Branches as far as they go, from either end.
#[test]
fn far_branches_wrap_as_the_interpreters_do() {
    let mut both = Both::new(memory);
    let branches: [&[u8]; 4] = [&[0xe9], &[0xe8], &[0x0f, 0x84], &[0x0f, 0x85]];
    for from in [CODE, CODE + 0xff0, LAST_PAGE, LAST_PAGE + 0xff0] {
        for branch in branches {
            for target in [
                0u64,
                1,
                CODE - 1,
                CODE + 0x20,
                LAST_PAGE + 0x80,
                END - 1,
                1 << 31,
            ] {
                let distance = (target.wrapping_sub(from) as u32)
                    .wrapping_sub(branch.len() as u32 + 4)
                    .to_le_bytes();
                write_code(&both, from, &[branch, &distance].concat());
                let mut state = state();
                state.rip = from;
                state.rflags &= !0x40;
                both.run(
                    &state,
                    &format!("{branch:02x?} from {from:#x} to {target:#x}"),
                );
                both.same(STACK - 0x40, 0x40, "the stack");
            }
        }
    }
}

/// Accesses, alone and in groups, over the end, and stack pointers that wrap.
#[test]
fn accesses_over_the_end_fault_as_the_interpreters_do() {
    let mut both = Both::new(memory);
    let codes: [&[u8]; 7] = [
        // again: mov edx, [ebx]; mov [ebx + 4], edx; add ebx, 4; movups xmm0, [ebx + 8]; loop; hlt
        &[
            0x8b, 0x13, 0x89, 0x53, 4, 0x83, 0xc3, 4, 0x0f, 0x10, 0x43, 8, 0xe2, 0xf2, 0xf4,
        ],
        // mov esp, ebx; again: push eax; push 5; pop edx; pop edx; loop; hlt
        &[0x89, 0xdc, 0x50, 0x6a, 5, 0x5a, 0x5a, 0xe2, 0xf9, 0xf4],
        // mov esp, ebx; again: pop eax; pop edx; loop; hlt
        &[0x89, 0xdc, 0x58, 0x5a, 0xe2, 0xfc, 0xf4],
        // mov ebp, ebx; again: leave; mov ebp, ebx; loop; hlt
        &[0x89, 0xdd, 0xc9, 0x89, 0xdd, 0xe2, 0xfb, 0xf4],
        // again: mov edx, [ebx + esi * 8 + 7ffffff0h]; mov eax, [ebx - 80000000h]; loop; hlt
        &[
            0x8b, 0x94, 0xf3, 0xf0, 0xff, 0xff, 0x7f, 0x8b, 0x83, 0, 0, 0, 0x80, 0xe2, 0xf1, 0xf4,
        ],
        // again: lea eax, [ebx + esi * 8 + 7fffffffh]; lea edx, [ebx - 1]; inc ebx; loop; hlt
        &[
            0x8d, 0x84, 0xf3, 0xff, 0xff, 0xff, 0x7f, 0x8d, 0x53, 0xff, 0x43, 0xe2, 0xf3, 0xf4,
        ],
        // again: mov eax, [0fffffffch]; mov [0fffffffeh], ax; mov edx, [gs:esi]; loop; hlt
        &[
            0xa1, 0xfc, 0xff, 0xff, 0xff, 0x66, 0xa3, 0xfe, 0xff, 0xff, 0xff, 0x65, 0x8b, 0x16,
            0xe2, 0xf0, 0xf4,
        ],
    ];
    for code in codes {
        write_code(&both, CODE, code);
        for border in [0u64, END - 0x100, 0x8000_0000] {
            for distance in [0u64, 1, 3, 4, 5, 8, 12, 16, 20] {
                for (scaled, base) in [(0, 0), (0x1000_0001, LAST_PAGE + 0xff4), (0xffff_fff0, 9)] {
                    let mut state = state();
                    state.gpr[gpr::RBX] = border.wrapping_sub(distance) & 0xffff_ffff;
                    state.gpr[gpr::RSI] = scaled;
                    state.segments[5].base = base;
                    both.run(
                        &state,
                        &format!("{code:02x?}: {distance} before {border:#x}"),
                    );
                    both.same(LAST_PAGE, 0x1000, "the last page");
                    both.same(0, 0x1000, "the first page");
                }
            }
        }
    }
}

/// Segments as a loop loads them, one of each kind between two that are flat.
#[test]
fn segments_that_are_not_flat_are_the_interpreters() {
    // Limit of one page, base of 16 bytes, expand-down, read only, code, 16-bit data, not present.
    let descriptors = [
        0x00cf_9300_0000_ffffu64,
        0x0040_9300_0000_0fff,
        0x00cf_9300_0010_ffff,
        0x00cf_9700_0000_0020,
        0x00cf_9100_0000_ffff,
        0x00cf_9b00_0000_ffff,
        0x008f_9300_0000_ffff,
        0x00cf_1300_0000_ffff,
        0x00cf_9300_0000_fffe,
    ];
    let mut both = Both::new(memory);
    both.write(GDT + 0x48, &descriptors.map(u64::to_le_bytes).concat());
    // Loads of ES, SS, DS, FS, GS from EAX; then accesses through each.
    for register in [0xc0u8, 0xd0, 0xd8, 0xe0, 0xe8] {
        for n in 0..descriptors.len() as u8 {
            // again: mov eax, selector; mov sreg, eax; mov edx, [ebx]; mov [ebx + 8], edx;
            // es mov edx, [ebx]; fs mov [ebx], edx; gs mov edx, [ebx + 4]; push edx; pop esi;
            // mov eax, 10h; mov sreg, eax; mov edx, [ebx + 4]; loop again; hlt
            let selector = 0x48 + n * 8;
            let code = [
                0xb8, selector, 0, 0, 0, 0x8e, register, 0x8b, 0x13, 0x89, 0x53, 8, 0x26, 0x8b,
                0x13, 0x64, 0x89, 0x13, 0x65, 0x8b, 0x53, 4, 0x52, 0x5e, 0xb8, 0x10, 0, 0, 0, 0x8e,
                register, 0x8b, 0x53, 4, 0xe2, 0xdc, 0xf4,
            ];
            write_code(&both, CODE, &code);
            for at in [DATA, 0x10, 0x1008, END - 8] {
                both.write(TABLES, &[0; 64]);
                let mut state = state();
                state.gpr[gpr::RBX] = at;
                let table = state.gdtr;
                state.gdtr.limit = 0xff;
                assert_eq!(table.base, GDT);
                both.run(
                    &state,
                    &format!("descriptor {n} in {register:#x} at {at:#x}"),
                );
                both.same(0, RAM, "memory");
            }
        }
    }
}

/// What code starts with: segments of other kinds, rings that nobody uses, instruction pointers beyond.
#[test]
fn states_that_are_not_flat_are_the_interpreters() {
    let mut both = Both::new(memory);
    // again: mov edx, [ebx]; mov [ebx], edx; push edx; call next; pop edi; inc eax; loop again; hlt
    let code = [
        0x8b, 0x13, 0x89, 0x13, 0x52, 0xe8, 0, 0, 0, 0, 0x5f, 0x40, 0xe2, 0xf2, 0xf4,
    ];
    write_code(&both, CODE, &code);
    let changes: [fn(&mut CpuState); 12] = [
        |_| (),
        |state| state.rip |= 1 << 32,
        |state| state.rip |= u64::MAX << 32,
        |state| state.segments[1].limit = CODE as u32 + 6,
        |state| state.segments[1].base = 0x1000,
        |state| state.segments[1].base = 0xffff_f000,
        |state| state.segments[1].rights &= !Segment::BIG,
        |state| state.segments[2].rights &= !Segment::BIG,
        |state| state.segments[2].base = 16,
        |state| state.segments[3].unusable = true,
        |state| state.segments[3].limit = 0xfff,
        |state| {
            for segment in &mut state.segments {
                segment.rights |= 1 << 5;
            }
        },
    ];
    for (n, change) in changes.into_iter().enumerate() {
        // The other page is where a stack pointer of 32 bits points after one of 16 went round.
        for (upper, data) in [(0, DATA), (0xdead_beef_0000_0000u64, DATA), (0, 0x1_f800)] {
            let mut state = state();
            for register in &mut state.gpr {
                *register |= upper;
            }
            state.gpr[gpr::RBX] = data | upper;
            change(&mut state);
            both.run(&state, &format!("change {n} with {upper:#x}, {data:#x}"));
            both.same(0, RAM, "memory");
        }
    }
}

/// Upper halves of registers, which 32-bit code can neither see nor, but by writing all 32 bits, change.
#[test]
fn upper_halves_are_what_the_interpreter_makes_of_them() {
    let mut both = Both::new(memory);
    let codes: [&[u8]; 17] = [
        // mov al, bl; mov ah, bh; add ax, bx; xchg ax, bx; bswap eax; cwde; cdq; inc ax; dec eax
        &[0x88, 0xd8],
        &[0x88, 0xfc],
        &[0x66, 0x01, 0xd8],
        &[0x66, 0x93],
        &[0x0f, 0xc8],
        &[0x98],
        &[0x99],
        &[0x66, 0x40],
        &[0x48],
        // xchg eax, ebx; nop; xchg eax, eax; cmovz eax, ebx; shl eax, 0; lea ax, [ebx]; mov esp, esp
        &[0x93],
        &[0x90],
        &[0x87, 0xc0],
        &[0x0f, 0x44, 0xc3],
        &[0xc1, 0xe0, 0],
        &[0x66, 0x8d, 0x03],
        // lea eax, [ebx]; jmp over; jecxz over
        &[0x8d, 0x03],
        &[0xeb, 0, 0xe3, 0],
    ];
    for code in codes {
        write_code(
            &both,
            CODE,
            &[code, &[0xe2, 0xfe - code.len() as u8, 0xf4]].concat(),
        );
        for upper in [1 << 32, u64::MAX << 32, 0x8000_0000_0000_0000] {
            let mut state = state();
            for register in &mut state.gpr {
                *register |= upper;
            }
            state.gpr[gpr::RBX] = 0x8765_4321 | upper;
            both.run(&state, &format!("{code:02x?} with {upper:#x}"));
        }
    }
}

/// Loops that never leave translated code by themselves.
#[test]
fn every_loop_answers_a_kick() {
    let loops: [&[u8]; 6] = [
        // jmp self; jecxz self; jz self; jmp ebx; push ebx, ret; mov ecx, 2, loop self
        &[0xeb, 0xfe],
        &[0x31, 0xc9, 0xe3, 0xfc],
        &[0x31, 0xc0, 0x74, 0xfc],
        &[0xff, 0xe3],
        &[0x53, 0xc3],
        &[0xb9, 2, 0, 0, 0, 0xe2, 0xf9],
    ];
    for code in loops {
        let memory = memory();
        write(&memory, CODE, code);
        let engine = SoftEngine::translator_after(memory, 1);
        let mut vcpu = engine.create_vcpu(0, &table()).expect("a vCPU");
        let mut state = state();
        state.gpr[gpr::RBX] = CODE;
        vcpu.set_state(&state).expect("a state");
        let exit = run_and_kick(vcpu.as_mut(), Entry::Resume);
        assert_eq!(exit, Exit::Interrupted, "{code:02x?}");
    }
}
