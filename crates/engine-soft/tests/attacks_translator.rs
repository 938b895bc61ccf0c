//! Guests that attack the translator: what it runs in the guest's place must not become its host's
//! signal, every loop must hear a kick, and what comes out is what the interpreter does.

#[path = "hostile_guest/guest_memory.rs"]
mod guest_memory;
mod hostile_guest;
#[path = "hostile_guest/long_mode.rs"]
mod long_mode;
#[path = "hostile_guest/pair.rs"]
mod pair;

use engine::{Engine, Entry, Exit, Vcpu};
use engine_soft::SoftEngine;
use engine_tests::{CODE, DATA};
use guest_memory::write;
use hostile_guest::{run_and_kick, table};
use long_mode::state;
use memory::{Gpa, GuestMemory};
use pair::Both;
use x86::register::{cr4, gpr};

/// Tables of [`Image`].
const PML4: u64 = 0x1000;
const PD_LOW: u64 = 0x3000;
const PT: u64 = 0x4000;
/// Tables and page of our own: the last page of either half of the address space.
const LAST_TABLES: u64 = 0x3_0000;
const LAST_PAGE: u64 = 0x3_3000;
const END_OF_LOW_HALF: u64 = 0x7fff_ffff_f000;
const END_OF_ALL: u64 = 0xffff_ffff_ffff_f000;

/// Memory with `code`, and pages at the ends of the address space.
fn memory(code: &[u8]) -> GuestMemory {
    let memory = long_mode::memory(code);
    for top in [255, 511] {
        let entry = (LAST_TABLES | 7).to_le_bytes();
        write(&memory, PML4 + top * 8, &entry);
    }
    for level in 0..3 {
        let at = LAST_TABLES + level * 0x1000;
        write(&memory, at + 511 * 8, &((at + 0x1000) | 7).to_le_bytes());
    }
    memory
}

fn translator(memory: &GuestMemory) -> Box<dyn Vcpu> {
    let engine = SoftEngine::translator_after(memory.clone(), 1);
    engine.create_vcpu(0, &table()).expect("a vCPU")
}

/// Every opcode of the vector maps, and memory operands that are not aligned: a processor's #UD and
/// #GP must not be the host's SIGILL and SIGSEGV.
#[test]
fn no_opcode_becomes_a_signal() {
    let mut both = Both::new(|| memory(&[]));
    let mut opcodes = Vec::new();
    for opcode in 0..=255u8 {
        for prefix in [&[][..], &[0x66], &[0xf2], &[0xf3]] {
            // Near jumps may go round for ever, and RDTSC differs.
            if !matches!(opcode, 0x31 | 0x80..=0x8f) {
                opcodes.push([prefix, &[0x0f, opcode]].concat());
            }
            opcodes.push([prefix, &[0x0f, 0x38, opcode]].concat());
            opcodes.push([prefix, &[0x0f, 0x3a, opcode]].concat());
        }
        for last in 0..8 {
            opcodes.extend((1..=3).map(|map| vec![0xc4, 0xe0 | map, 0x78 | last, opcode]));
        }
        opcodes.extend((8..=10).map(|map| vec![0x8f, 0xe0 | map, 0x78, opcode]));
    }
    for opcode in opcodes {
        // lock or byte [rbx], 0, so that the TLB knows the page
        let mut code = vec![0xf0, 0x80, 0x0b, 0x00];
        code.extend(&opcode);
        code.extend([0x03, 0x02, 0x90, 0x90, 0x90, 0xf4, 0xf4, 0xf4, 0xf4]);
        both.write(CODE, &code);
        let mut state = state();
        state.gpr[gpr::RBX] = DATA + 0x41;
        both.run(&state, &format!("{opcode:02x?}"));
    }
}

/// Branches out of the canonical halves and over the end of the address space.
#[test]
fn branches_at_the_ends_of_the_address_space_are_the_interpreters() {
    let mut both = Both::new(|| memory(&[]));
    both.write(0, &[0xf4; 0x1000]);
    let branches: [&[u8]; 12] = [
        // loop, jrcxz, jmp, jz, jnz, call forwards
        &[0xe2, 0x40],
        &[0xe3, 0x40],
        &[0xeb, 0x40],
        &[0x74, 0x40],
        &[0x75, 0x40],
        &[0xe8, 0x40, 0, 0, 0],
        // jmp, call rax; push rax, ret; push rax, ret 8; jmp, call [rbx]
        &[0xff, 0xe0],
        &[0xff, 0xd0],
        &[0x50, 0xc3],
        &[0x50, 0xc2, 8, 0],
        &[0xff, 0x23],
        &[0xff, 0x13],
    ];
    let targets = [0, 1, 1 << 47, u64::MAX, END_OF_ALL, (1 << 47) - 1, 1 << 63];
    for page in [END_OF_LOW_HALF, END_OF_ALL] {
        for branch in branches {
            let from = 0x1000 - branch.len();
            for offset in [from, from - 1, from + 1] {
                // What does not fit goes on in page 0, which does not follow the lower half.
                let mut bytes = vec![0xf4; 0x1000];
                let room = (0x1000 - offset).min(branch.len());
                bytes[offset..][..room].copy_from_slice(&branch[..room]);
                both.write(LAST_PAGE, &bytes);
                for target in targets {
                    let mut state = state();
                    state.rip = page + offset as u64;
                    state.gpr[gpr::RCX] = 2;
                    state.gpr[gpr::RAX] = target;
                    state.gpr[gpr::RBX] = DATA;
                    both.write(DATA, &target.to_le_bytes());
                    both.run(&state, &format!("{branch:02x?} at {page:#x} + {offset:#x}"));
                }
            }
        }
    }
}

/// The farthest branches that can be written, from the ends of a page.
#[test]
fn branches_as_far_as_they_go_are_the_interpreters() {
    let mut both = Both::new(|| memory(&[]));
    // jmp, call, jz, jnz; the last is taken
    let branches: [&[u8]; 4] = [&[0xe9], &[0xe8], &[0x0f, 0x84], &[0x0f, 0x85]];
    for offset in [0, 0xff0u64] {
        for branch in branches {
            for distance in [i32::MAX, i32::MIN] {
                both.write(CODE, &[0xf4; 0x1000]);
                let code = [branch, &distance.to_le_bytes()].concat();
                both.write(CODE + offset, &code);
                let mut state = state();
                state.rip = CODE + offset;
                state.rflags &= !0x40;
                both.run(
                    &state,
                    &format!("{branch:02x?} by {distance:#x} from {offset:#x}"),
                );
            }
        }
    }
}

/// Accesses that share a check, over the ends of the address space and over pages of several kinds.
#[test]
fn groups_over_borders_fault_as_single_accesses_do() {
    let mut both = Both::new(|| memory(&[]));
    // No page, a page that may be read only, a device's.
    both.write(PT + (DATA / 0x1000 + 1) * 8, &[0; 8]);
    both.write(
        PT + (DATA / 0x1000 + 2) * 8,
        &((DATA + 0x2000) | 5).to_le_bytes(),
    );
    both.write(PT + (DATA / 0x1000 + 4) * 8, &0x8000_0007u64.to_le_bytes());
    // mov ebp, 3; again: mov rdx, [rbx]; mov [rbx + 8], rdx; add rbx, 8; movups xmm0, [rbx + 9];
    // mov [rbx - 8], rcx; push rdx; dec ebp; jnz again; hlt
    let code = [
        0xbd, 3, 0, 0, 0, 0x48, 0x8b, 0x13, 0x48, 0x89, 0x53, 8, 0x48, 0x83, 0xc3, 8, 0x0f, 0x10,
        0x43, 9, 0x48, 0x89, 0x4b, 0xf8, 0x52, 0xff, 0xcd, 0x75, 0xe8, 0xf4,
    ];
    both.write(CODE, &code);
    let borders = [
        0,
        1 << 47,
        u64::MAX << 47,
        DATA,
        DATA + 0x1000,
        DATA + 0x2000,
    ];
    let more = [DATA + 0x3000, DATA + 0x4000, DATA + 0x5000, 0x20_0000];
    for border in borders.into_iter().chain(more) {
        for distance in [0u64, 1, 7, 8, 9, 16, 24, 25, 33, 41] {
            let mut state = state();
            state.gpr[gpr::RBX] = border.wrapping_sub(distance);
            both.run(&state, &format!("{distance} before {border:#x}"));
        }
    }
}

/// Reads of every length over the border of two pages that do not lie side by side, before and after
/// the second is mapped to something else.
#[test]
fn reads_over_two_pages_find_both_halves() {
    const SECOND: u64 = DATA + 0x8000;
    let entry = PT + (DATA / 0x1000 + 1) * 8;
    // mov ecx, 3; again: mov rax, [rbx]; mov esi, [rbx]; movzx edi, word [rbx]; movups xmm0, [rbx];
    // vmovups ymm1, [rbx]; add r8, [rbx]; xor [rbx], ecx; mov rsp, rbx; pop r11; dec ecx; jnz again;
    let mut code = vec![
        0xb9, 3, 0, 0, 0, 0x48, 0x8b, 0x03, 0x8b, 0x33, 0x0f, 0xb7, 0x3b, 0x0f, 0x10, 0x03, 0xc5,
        0xfc, 0x10, 0x0b, 0x4c, 0x03, 0x03, 0x31, 0x0b, 0x48, 0x89, 0xdc, 0x41, 0x5b, 0xff, 0xc9,
        0x75, 0xe3,
    ];
    // mov rdx, entry of another page; mov [its place], rdx; invlpg [DATA + 1000h]; mov r9, [rbx];
    // movups xmm2, [rbx]; mov rbp, [r10 + rbx]; hlt
    code.extend([0x48, 0xc7, 0xc2]);
    let low = |word: u64| u32::try_from(word).expect("in 32 bits").to_le_bytes();
    code.extend(low((SECOND + 0x1000) | 7));
    code.extend([0x48, 0x89, 0x14, 0x25]);
    code.extend(low(entry));
    code.extend([0x0f, 0x01, 0x3c, 0x25]);
    code.extend(low(DATA + 0x1000));
    code.extend([
        0x4c, 0x8b, 0x0b, 0x0f, 0x10, 0x13, 0x49, 0x8b, 0x2c, 0x1a, 0xf4,
    ]);
    let mut both = Both::new(|| memory(&[]));
    both.write(CODE, &code);
    for distance in 1..=32 {
        both.write(entry, &(SECOND | 7).to_le_bytes());
        both.write(DATA + 0x1000 - 32, &[0x11; 32]);
        both.write(SECOND, &[0x22; 32]);
        both.write(SECOND + 0x1000, &[0x33; 32]);
        let mut state = state();
        state.gpr[gpr::RBX] = DATA + 0x1000 - distance;
        state.gpr[10] = 0;
        let run = both.run(&state, &format!("{distance} before the border"));
        let expected = if distance < 8 { 0x33 } else { 0x11 };
        assert_eq!(run.state.gpr[9] >> 56, expected, "{distance}");
        let expected = if distance < 8 { 0x22 } else { 0x11 };
        assert_eq!(run.state.gpr[11] >> 56, expected, "{distance}");
    }
}

/// Nor is it where a jump inside its page led to what it was, and where it was made anew since.
#[test]
fn jumps_to_an_instruction_over_a_page_end_find_the_new_one() {
    const LAST: u64 = 0x4_0000;
    let mut both = Both::new(|| memory(&[]));
    // mov esi, LAST + 0ffdh; mov edx, LAST + 0f80h; call rdx; call rdx; call rdx;
    // mov byte [LAST + 1000h], 5; call rsi; call rsi; mov ebx, eax; call rdx; mov edi, eax; hlt
    let code = [
        0xbe, 0xfd, 0x0f, 4, 0, 0xba, 0x80, 0x0f, 4, 0, 0xff, 0xd2, 0xff, 0xd2, 0xff, 0xd2, 0xc6,
        4, 0x25, 0, 0x10, 4, 0, 5, 0xff, 0xd6, 0xff, 0xd6, 0x89, 0xc3, 0xff, 0xd2, 0x89, 0xc7,
        0xf4,
    ];
    both.write(CODE, &code);
    // jmp LAST + 0ffdh
    both.write(LAST + 0xf80, &[0xeb, 0x7b]);
    // mov eax, 1; ret
    both.write(LAST + 0xffd, &[0xb8, 1, 0, 0, 0, 0xc3]);
    let run = both.run(&state(), "a jump to an instruction over a page's end");
    let results = [run.state.gpr[gpr::RBX], run.state.gpr[gpr::RDI]];
    assert_eq!(results, [0x5_0001, 0x5_0001]);
}

/// A bit string that is reached by 32 bits begins again at zero, and not above 4 GiB or below zero.
#[test]
fn bit_strings_at_short_addresses_stay_below_four_gib() {
    let mut both = Both::new(|| memory(&[]));
    // lock or byte [rbx], 0, so that the TLB knows the page; bts [eax], ecx; hlt
    both.write(CODE, &[0xf0, 0x80, 0x0b, 0, 0x67, 0x0f, 0xab, 0x08, 0xf4]);
    let mut state = state();
    state.gpr[gpr::RBX] = END_OF_ALL + 0xf90;
    (state.gpr[gpr::RAX], state.gpr[gpr::RCX]) = (0x10, 0xffff_fc00);
    let run = both.run(&state, "bts [eax], ecx");
    let gpa = Gpa(0xffff_ff90);
    assert_eq!(run.exits[0], Exit::MmioRead { gpa, size: 4 });
}

/// STAC and CLAC lead to code that is known for other accesses, and perhaps for another mode.
#[test]
fn opened_accesses_run_no_code_of_another_mode() {
    const FUNCTION: u64 = CODE + 0x1000;
    let mut both = Both::new(|| memory(&[]));
    // again: clts; stac; call rbx; clac; dec ebp; jnz again
    let often = [
        0x0f, 0x06, 0x0f, 0x01, 0xcb, 0xff, 0xd3, 0x0f, 0x01, 0xca, 0xff, 0xcd, 0x75, 0xf2,
    ];
    // mov rax, cr0; or eax, 8; mov cr0, rax
    let switch = [0x0f, 0x20, 0xc0, 0x83, 0xc8, 0x08, 0x0f, 0x22, 0xc0];
    // stac; call rbx; hlt
    let last = [0x0f, 0x01, 0xcb, 0xff, 0xd3, 0xf4];
    both.write(CODE, &[&often[..], &switch, &last].concat());
    // pxor xmm0, xmm0; ret
    both.write(FUNCTION, &[0x66, 0x0f, 0xef, 0xc0, 0xc3]);
    let mut state = state();
    state.cr4 |= cr4::SMAP;
    (state.gpr[gpr::RBX], state.gpr[gpr::RBP]) = (FUNCTION, 20);
    let run = both.run(&state, "SSE where it may not be used");
    let found = (run.state.gpr[gpr::RBP], run.state.rip);
    assert_eq!(run.exits, [Exit::TripleFault]);
    assert_eq!(found, (0, FUNCTION));
}

/// What was no memory, and is, is executed as it is.
#[test]
fn code_that_appears_where_nothing_was_is_found() {
    const PLACE: u64 = 0x100_0000;
    for make in [SoftEngine::new, SoftEngine::translator] {
        let memory = memory(&[]);
        // The large page of 0 to 200000h leads there.
        write(&memory, PD_LOW + 8, &(PLACE | 0x87).to_le_bytes());
        let mut vcpu = make(memory.clone())
            .create_vcpu(0, &table())
            .expect("a vCPU");
        let mut state = state();
        state.rip = 0x20_0000;
        vcpu.set_state(&state).expect("a state");
        let exit = vcpu.run(Entry::Resume).expect("no host failure");
        // The handler of #UD says so.
        assert!(matches!(exit, Exit::PortWrite { value: 6, .. }), "{exit:?}");
        let device = memory.add_device_memory(0x20_0000).expect("memory");
        device.place(Some(Gpa(PLACE)));
        device.write(0, &[0xf4]);
        vcpu.set_state(&state).expect("a state");
        let exit = vcpu.run(Entry::Resume).expect("no host failure");
        assert_eq!(exit, Exit::Halted);
    }
}

/// CMPXCHG8B and CMPXCHG16B that succeed, fail, are not aligned, and lie over a page's end.
#[test]
fn wide_exchanges_are_the_interpreters() {
    let mut both = Both::new(|| memory(&[]));
    // again: lock cmpxchg16b [rdi]; setz r8b; mov r9, [rdi]; mov r10, [rdi + 8]; cmpxchg8b [rdi + 4];
    // setz r11b; mov r12, [rdi]; mov r13, [rdi + 8]; dec ebp; jnz again; hlt
    let code = [
        0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0x41, 0x0f, 0x94, 0xc0, 0x4c, 0x8b, 0x0f, 0x4c, 0x8b, 0x57,
        0x08, 0x0f, 0xc7, 0x4f, 0x04, 0x41, 0x0f, 0x94, 0xc3, 0x4c, 0x8b, 0x27, 0x4c, 0x8b, 0x6f,
        0x08, 0xff, 0xcd, 0x75, 0xdd, 0xf4,
    ];
    both.write(CODE, &code);
    for offset in [0, 16, 8, 4, 0xff0, 0xff4, 0xff8, 0xffc] {
        for (low, high) in [(1, 2), (1 << 32 | 1, 2), (0, 0)] {
            let mut state = state();
            both.write(DATA + offset, &[low, high].map(u64::to_le_bytes).concat());
            state.gpr[gpr::RDI] = DATA + offset;
            state.gpr[gpr::RBP] = 3;
            (state.gpr[gpr::RAX], state.gpr[gpr::RDX]) = (1, 2);
            (state.gpr[gpr::RBX], state.gpr[gpr::RCX]) = (0x1122_3344_5566_7788, u64::MAX);
            both.run(&state, &format!("{low:#x} and {high:#x} at {offset:#x}"));
        }
    }
}

/// INVLPG of any address in a large page forgets all of it, though only code was run there.
#[test]
fn a_large_page_of_code_is_flushed_as_a_whole() {
    let mut both = Both::new(|| memory(&[]));
    // mov esi, 200100h; call rsi; mov ebx, eax; mov dword [PD_LOW + 8], 400087h; invlpg [3ff000h];
    // call rsi; hlt
    let code = [
        0xbe, 0x00, 0x01, 0x20, 0, 0xff, 0xd6, 0x89, 0xc3, 0xc7, 0x04, 0x25, 0x08, 0x30, 0, 0,
        0x87, 0, 0x40, 0, 0x0f, 0x01, 0x3c, 0x25, 0, 0xf0, 0x3f, 0, 0xff, 0xd6, 0xf4,
    ];
    both.write(CODE, &code);
    both.write(PD_LOW + 8, &0x20_0087u64.to_le_bytes());
    // mov eax, n; ret
    both.write(0x20_0100, &[0xb8, 1, 0, 0, 0, 0xc3]);
    both.write(0x40_0100, &[0xb8, 2, 0, 0, 0, 0xc3]);
    let run = both.run(&state(), "a large page");
    assert_eq!([run.state.gpr[gpr::RBX], run.state.gpr[gpr::RAX]], [1, 2]);
}

/// An instruction whose last bytes lie in the next page is made of what is there now, whoever wrote or
/// mapped it, and faults where nothing is.
#[test]
fn an_instruction_over_a_page_end_is_never_stale() {
    const LAST: u64 = 0x4_0000;
    let mut both = Both::new(|| memory(&[]));
    // mov esi, LAST + 0ffdh; call rsi; call rsi; mov ebx, eax;
    let twice = [0xbe, 0xfd, 0x0f, 4, 0, 0xff, 0xd6, 0xff, 0xd6, 0x89, 0xc3];
    // mov byte [LAST + 1000h], 5; call rsi; mov edi, eax;
    let written = [0xc6, 4, 0x25, 0, 0x10, 4, 0, 5, 0xff, 0xd6, 0x89, 0xc7];
    // mov dword [PT + 208h], LAST + 2007h; invlpg [LAST + 1000h]; call rsi; mov ebp, eax;
    let mapped = [
        0xc7, 4, 0x25, 8, 0x42, 0, 0, 7, 0x20, 4, 0, 0x0f, 1, 0x3c, 0x25, 0, 0x10, 4, 0, 0xff,
        0xd6, 0x89, 0xc5,
    ];
    // mov edx, LAST + 0f00h; call rdx; mov edx, eax;
    let from_before = [0xba, 0, 0x0f, 4, 0, 0xff, 0xd2, 0x89, 0xc2];
    // mov dword [PT + 208h], 0; invlpg [LAST + 1000h]; call rsi; hlt
    let gone = [
        0xc7, 4, 0x25, 8, 0x42, 0, 0, 0, 0, 0, 0, 0x0f, 1, 0x3c, 0x25, 0, 0x10, 4, 0, 0xff, 0xd6,
        0xf4,
    ];
    let code = [&twice[..], &written, &mapped, &from_before, &gone].concat();
    both.write(CODE, &code);
    // mov eax, 1; ret, and the same of another page: mov eax, 70001h; ret
    both.write(LAST + 0xffd, &[0xb8, 1, 0, 0, 0, 0xc3]);
    both.write(LAST + 0x2000, &[7, 0, 0xc3]);
    // mov byte [LAST + 1000h], 9; jmp LAST + 0ffdh
    let before = [0xc6, 4, 0x25, 0, 0x10, 4, 0, 9, 0xe9, 0xf0, 0, 0, 0];
    both.write(LAST + 0xf00, &before);
    let run = both.run(&state(), "an instruction over a page's end");
    let of = |register: usize| run.state.gpr[register];
    let results = [of(gpr::RBX), of(gpr::RDI), of(gpr::RBP), of(gpr::RDX)];
    assert_eq!(results, [1, 0x5_0001, 0x7_0001, 0x9_0001]);
    let page_fault = |exit: &Exit| matches!(exit, Exit::PortWrite { value: 14, .. });
    assert!(run.exits.iter().all(page_fault), "{:?}", run.exits);
}

/// Loops of every kind hear a kick.
#[test]
fn every_loop_answers_a_kick() {
    let loops: [&[u8]; 11] = [
        // jmp $; jmp rsi; push rsi, ret; call rsi
        &[0xeb, 0xfe],
        &[0xff, 0xe6],
        &[0x56, 0xc3],
        &[0x48, 0x89, 0xfc, 0xff, 0xd6],
        // jz $ - 1 (never), jmp over, jmp back
        &[0xeb, 2, 0xeb, 0xfc, 0xeb, 0xfc],
        // sti, cli, jmp; pushf, popf, jmp; loop $, jmp
        &[0xfb, 0xfa, 0xeb, 0xfc],
        &[0x9c, 0x9d, 0xeb, 0xfc],
        &[0xe2, 0xfe, 0xeb, 0xfc],
        // mov esi, CODE; mov ecx, 4000h; rep lodsb; jmp
        &[
            0xbe, 0, 0x80, 0, 0, 0xb9, 0, 0x40, 0, 0, 0xf3, 0xac, 0xeb, 0xf2,
        ],
        // jmp to the next page, from where this is jumped to again
        &[0xe9, 0xfb, 0x0f, 0, 0],
        // push ss, rflags, cs …: iretq to itself (rsi)
        &[0x6a, 0x10, 0x57, 0x9c, 0x6a, 0x08, 0x56, 0x48, 0xcf],
    ];
    for code in loops {
        let memory = memory(code);
        // jmp CODE
        write(&memory, CODE + 0x1000, &[0xe9, 0xfb, 0xef, 0xff, 0xff]);
        let mut vcpu = translator(&memory);
        let mut state = state();
        state.gpr[gpr::RSI] = CODE;
        state.gpr[gpr::RDI] = state.gpr[gpr::RSP];
        vcpu.set_state(&state).expect("a state");
        let exit = run_and_kick(vcpu.as_mut(), Entry::Resume);
        assert_eq!(exit, Exit::Interrupted, "{code:02x?}");
    }
}

/// Runs for ever, until another vCPU is done.
fn run_beside(mut vcpu: Box<dyn Vcpu>, done: impl FnOnce()) {
    let kick = vcpu.kick();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let runs = scope.spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Acquire) {
                let exit = vcpu.run(Entry::Resume).expect("no host failure");
                let expected = matches!(exit, Exit::Interrupted | Exit::PortWrite { .. });
                assert!(expected, "{exit:?}");
            }
        });
        done();
        over.store(true, std::sync::atomic::Ordering::Release);
        // It may be on its way in at the first.
        while !runs.is_finished() {
            kick.kick();
            std::thread::yield_now();
        }
    });
}

/// One vCPU writes the code that another runs, and waits for its effect each time.
#[test]
fn code_that_another_vcpu_writes_is_never_stale() {
    const CALLED: u64 = 0x1_2000;
    // mov esi, CALLED; again: call rsi; mov [DATA], eax; pause; jmp again
    let caller = [
        0xbe, 0, 0x20, 1, 0, 0xff, 0xd6, 0x89, 0x04, 0x25, 0, 0, 2, 0, 0xf3, 0x90, 0xeb, 0xf3,
    ];
    let memory = memory(&caller);
    write(&memory, CALLED, &[0xb8, 0, 0, 0, 0, 0xc3]);
    // mov ecx, ROUNDS; again: mov [CALLED + 1], ecx; wait: pause; cmp [DATA], ecx; jnz wait;
    // dec ecx; jnz again; hlt
    let writer = [
        0xb9, 0x2c, 0x01, 0, 0, 0x89, 0x0c, 0x25, 1, 0x20, 1, 0, 0xf3, 0x90, 0x39, 0x0c, 0x25, 0,
        0, 2, 0, 0x75, 0xf5, 0xff, 0xc9, 0x75, 0xea, 0xf4,
    ];
    write(&memory, CODE + 0x1000, &writer);
    let [mut runs, mut writes] = [translator(&memory), translator(&memory)];
    runs.set_state(&state()).expect("a state");
    let mut state = state();
    state.rip = CODE + 0x1000;
    writes.set_state(&state).expect("a state");
    run_beside(runs, || {
        // Two vCPUs on one busy processor take long, but they come on.
        let (mut rounds, mut kicks) = (u64::MAX, 0);
        while run_and_kick(writes.as_mut(), Entry::Resume) == Exit::Interrupted {
            let left = writes.state().expect("a state").gpr[gpr::RCX];
            kicks = if left == rounds { kicks + 1 } else { 0 };
            rounds = left;
            assert!(kicks < 200, "{rounds} rounds are left");
        }
    });
}

/// One vCPU loads MXCSR from memory that another writes: with exceptions unmasked and with bits that
/// must not be set.
#[test]
fn a_race_for_mxcsr_unmasks_nothing_in_the_host() {
    // again: ldmxcsr [DATA]; divps xmm0, xmm0; fxsave [DATA + 40h]; jmp again
    let code = [
        0x0f, 0xae, 0x14, 0x25, 0, 0, 2, 0, 0x0f, 0x5e, 0xc0, 0x0f, 0xae, 0x04, 0x25, 0x40, 0, 2,
        0, 0xeb, 0xeb,
    ];
    let memory = memory(&code);
    write(&memory, DATA, &0x1f80u32.to_le_bytes());
    // mov ecx, ROUNDS; again: mov dword [DATA], 1f80h; mov dword [DATA], 0; mov dword [DATA], 1f80h;
    // mov dword [DATA], 11f80h; dec ecx; jnz again; hlt
    let mut writer = vec![0xb9, 0x80, 0x84, 0x1e, 0];
    for value in [0x1f80u32, 0, 0x1f80, 0x1_1f80] {
        writer.extend([0xc7, 0x04, 0x25, 0, 0, 2, 0]);
        writer.extend(value.to_le_bytes());
    }
    writer.extend([0xff, 0xc9, 0x75, 0xd0, 0xf4]);
    write(&memory, CODE + 0x1000, &writer);
    let [mut loads, mut writes] = [translator(&memory), translator(&memory)];
    loads.set_state(&state()).expect("a state");
    let mut state = state();
    state.rip = CODE + 0x1000;
    writes.set_state(&state).expect("a state");
    run_beside(loads, || {
        let mut exit = Exit::Interrupted;
        while exit == Exit::Interrupted {
            exit = writes.run(Entry::Resume).expect("no host failure");
        }
        assert_eq!(exit, Exit::Halted);
    });
}
