//! Data on the same page as code: writing it costs the code nothing, and code is never stale.

#[path = "hostile_guest/guest_memory.rs"]
mod guest_memory;
mod hostile_guest;
#[path = "hostile_guest/long_mode.rs"]
mod long_mode;

use std::sync::atomic::{AtomicBool, Ordering};

use engine::{Engine, Entry, Exit, Vcpu};
use engine_soft::SoftEngine;
use engine_tests::{CODE, DATA};
use guest_memory::write;
use hostile_guest::{run_and_kick, table};
use long_mode::{memory, state};
use memory::{Gpa, GuestMemory};
use x86::CpuState;
use x86::register::gpr;

/// A page with code and data, and one more.
const MIXED: u64 = 0x1_2000;
/// Where the function is: `mov eax, n; ret`.
const FUNCTION: u64 = MIXED + 0x100;

fn write_function(memory: &GuestMemory, at: u64, answer: u32) {
    let [a, b, c, d] = answer.to_le_bytes();
    write(memory, at, &[0xb8, a, b, c, d, 0xc3]);
}

type Make = fn(GuestMemory) -> SoftEngine;

/// The engines, the translator one that translates what runs for the first time.
fn engines() -> [Make; 2] {
    [SoftEngine::new, |memory| {
        SoftEngine::translator_after(memory, 1)
    }]
}

fn vcpu(make: Make, memory: &GuestMemory) -> Box<dyn Vcpu> {
    let engine = make(memory.clone());
    engine.create_vcpu(0, &table()).expect("a vCPU")
}

fn run(vcpu: &mut dyn Vcpu, state: &CpuState) -> CpuState {
    vcpu.set_state(state).expect("a state");
    let exit = vcpu.run(Entry::Resume).expect("no host failure");
    assert_eq!(exit, Exit::Halted);
    vcpu.state().expect("a state")
}

fn generation(memory: &GuestMemory, at: u64) -> Option<u32> {
    let page = memory.host_page(Gpa(at)).expect("RAM");
    page.tracker.generation(page.index)
}

/// again: mov [rdi], rcx; call rsi; add ebx, eax; dec ecx; jnz again; hlt
const CALLS: [u8; 12] = [
    0x48, 0x89, 0x0f, 0xff, 0xd6, 0x01, 0xc3, 0xff, 0xc9, 0x75, 0xf5, 0xf4,
];

fn calls(data: u64) -> CpuState {
    let mut state = state();
    state.gpr[gpr::RSI] = FUNCTION;
    state.gpr[gpr::RDI] = data;
    state.gpr[gpr::RCX] = 40;
    state.gpr[gpr::RBX] = 0;
    state
}

#[test]
fn data_beside_code_kills_no_code() {
    for make in engines() {
        let memory = memory(&CALLS);
        write_function(&memory, FUNCTION, 7);
        let mut vcpu = vcpu(make, &memory);
        run(vcpu.as_mut(), &calls(MIXED));
        let before = generation(&memory, MIXED);
        for offset in [0, 1, 0x78, 0xf8, 0x180, 0x181, 0x1fc, 0xff8] {
            let after = run(vcpu.as_mut(), &calls(MIXED + offset));
            assert_eq!(after.gpr[gpr::RBX], 40 * 7, "at {offset:#x}");
            assert_eq!(generation(&memory, MIXED), before, "at {offset:#x}");
        }
        // In the code's own line.
        run(vcpu.as_mut(), &calls(MIXED + 0x178));
        assert_ne!(generation(&memory, MIXED), before);
    }
}

/// Devices write code, and data beside it.
#[test]
fn what_a_device_writes_beside_code_kills_none() {
    for make in engines() {
        let memory = memory(&CALLS);
        write_function(&memory, FUNCTION, 7);
        let mut vcpu = vcpu(make, &memory);
        let mut expected = 7u32;
        for round in 0..100 {
            let after = run(vcpu.as_mut(), &calls(MIXED));
            assert_eq!(after.gpr[gpr::RBX], 40 * u64::from(expected));
            let before = generation(&memory, MIXED);
            write(&memory, FUNCTION + 0x80, &[0xaa; 0x400]);
            write(&memory, MIXED - 0x100, &[0xaa; 0x200]);
            assert_eq!(generation(&memory, MIXED), before);
            expected = round;
            // From the middle of the line before into the code.
            let mut bytes = vec![0; 0x40];
            bytes.extend([0xb8]);
            bytes.extend(expected.to_le_bytes());
            write(&memory, FUNCTION - 0x40, &bytes);
            assert_ne!(generation(&memory, MIXED), before);
        }
    }
}

/// The dirty log hears of writes beside code as of all others.
#[test]
fn writes_beside_code_are_logged() {
    for make in engines() {
        let memory = memory(&CALLS);
        write_function(&memory, FUNCTION, 7);
        let mut vcpu = vcpu(make, &memory);
        run(vcpu.as_mut(), &calls(MIXED));
        memory.set_dirty_log(true);
        for _ in 0..3 {
            run(vcpu.as_mut(), &calls(MIXED + 0x800));
            assert!(memory.take_dirty_log().contains(&Gpa(MIXED)));
        }
        run(vcpu.as_mut(), &calls(DATA + 0x800));
        let _ = memory.take_dirty_log();
        run(vcpu.as_mut(), &calls(DATA + 0x800));
        assert!(!memory.take_dirty_log().contains(&Gpa(MIXED)));
    }
}

/// Writes that begin in data and end in code, by every kind of instruction that has a way of its own.
#[test]
fn writes_that_reach_into_code_are_seen() {
    // The source is 32 bytes at DATA; its last two become the function's first. RDX points two bytes
    // into the function, RDI 32 bytes before that.
    let writes: [(&str, &[u8]); 10] = [
        ("mov", &[0x48, 0x8b, 0x46, 24, 0x48, 0x89, 0x42, 0xf8]),
        ("xchg", &[0x48, 0x8b, 0x46, 24, 0x48, 0x87, 0x42, 0xf8]),
        ("movups", &[0x0f, 0x10, 0x46, 16, 0x0f, 0x11, 0x42, 0xf0]),
        (
            "vmovups",
            &[0xc5, 0xfc, 0x10, 0x06, 0xc5, 0xfc, 0x11, 0x42, 0xe0],
        ),
        ("rep movsb", &[0xb9, 32, 0, 0, 0, 0xf3, 0xa4]),
        ("rep movsq", &[0xb9, 4, 0, 0, 0, 0xf3, 0x48, 0xa5]),
        // mov rbp, rsp; mov rsp, rdx; push qword [rsi + 24]; mov rsp, rbp
        (
            "push",
            &[
                0x48, 0x89, 0xe5, 0x48, 0x89, 0xd4, 0xff, 0x76, 24, 0x48, 0x89, 0xec,
            ],
        ),
        // mov rax, [rsi + 24]; mov [rdx - 40h], rax; mov [rdx - 20h], rax; mov [rdx - 8], rax
        (
            "a group",
            &[
                0x48, 0x8b, 0x46, 24, 0x48, 0x89, 0x42, 0xc0, 0x48, 0x89, 0x42, 0xe0, 0x48, 0x89,
                0x42, 0xf8,
            ],
        ),
        // lea rcx, [rdi + 20h - 200h - 2]; fxsave [rcx], far from code; then movsb as above
        (
            "fxsave",
            &[
                0x48, 0x8d, 0x8a, 0x80, 0x00, 0, 0, 0x48, 0x83, 0xe1, 0xf0, 0x0f, 0xae, 0x01, 0xb9,
                32, 0, 0, 0, 0xf3, 0xa4,
            ],
        ),
        // mov al, [rsi + 31]; mov [rdx - 1], al
        ("a byte", &[0x8a, 0x46, 31, 0x88, 0x42, 0xff]),
    ];
    for make in engines() {
        for function in [FUNCTION, MIXED + 0x1000] {
            for (what, bytes) in writes {
                // push rsi; push rdi; mov [MIXED + 80h], rbx; call function; pop rdi; pop rsi
                let mut code = vec![0x56, 0x57, 0x48, 0x89, 0x1c, 0x25];
                let at = u32::try_from(function).expect("in 32 bits");
                code.extend(((at & !0xfff) + 0x800).to_le_bytes());
                code.extend([0x48, 0xc7, 0xc0]);
                code.extend(at.to_le_bytes());
                code.extend([0xff, 0xd0, 0x5f, 0x5e]);
                code.extend(bytes);
                // mov rbx, function; call rbx; hlt
                code.extend([0x48, 0xc7, 0xc3]);
                code.extend(at.to_le_bytes());
                code.extend([0xff, 0xd3, 0xf4]);
                let memory = memory(&code);
                write_function(&memory, function, 0);
                let mut vcpu = vcpu(make, &memory);
                for round in 1..20u8 {
                    let mut source = [0x11; 32];
                    source[30..].copy_from_slice(&[0xb8, round]);
                    write(&memory, DATA, &source);
                    let mut state = state();
                    state.gpr[gpr::RSI] = DATA;
                    state.gpr[gpr::RDX] = function + 2;
                    state.gpr[gpr::RDI] = function + 2 - 32;
                    let after = run(vcpu.as_mut(), &state);
                    let low = after.gpr[gpr::RAX] & 0xff;
                    assert_eq!(low, u64::from(round), "{what} at {function:#x}");
                }
            }
        }
    }
}

/// Runs for ever, until another vCPU is done.
fn run_beside(mut vcpu: Box<dyn Vcpu>, done: impl FnOnce()) {
    let kick = vcpu.kick();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let runs = scope.spawn(move || {
            while !over.load(Ordering::Acquire) {
                let exit = vcpu.run(Entry::Resume).expect("no host failure");
                assert_eq!(exit, Exit::Interrupted);
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(done));
        over.store(true, Ordering::Release);
        // It may be on its way in at the first.
        while !runs.is_finished() {
            kick.kick();
            std::thread::yield_now();
        }
        done.expect("the other vCPU comes on");
    });
}

/// One vCPU writes functions into the lines of a page, and data beside them, while another calls each
/// as it comes: first writes of data to a line, then code there, which the other decodes while the
/// first may still think the line to be data.
#[test]
fn code_that_appears_beside_data_is_never_stale() {
    // wait: pause; mov ecx, [DATA]; cmp ecx, edx; jz wait; mov edx, ecx; and ecx, 31; shl ecx, 7;
    // add ecx, MIXED; call rcx; mov [DATA + 80h], eax; jmp wait
    let caller = [
        0xf3, 0x90, 0x8b, 0x0c, 0x25, 0, 0, 2, 0, 0x39, 0xd1, 0x74, 0xf3, 0x89, 0xca, 0x83, 0xe1,
        31, 0xc1, 0xe1, 7, 0x81, 0xc1, 0, 0x20, 1, 0, 0xff, 0xd1, 0x89, 0x04, 0x25, 0x80, 0, 2, 0,
        0xeb, 0xda,
    ];
    // again: mov edx, ecx; and edx, 31; shl edx, 7; mov [rdx + MIXED + 1], ecx;
    // mov [rdx + MIXED + 40h], rcx; lea eax, [rdx + 880h]; and eax, 0fffh; mov [rax + MIXED + 40h], rcx;
    // mov [DATA], ecx; wait: pause; cmp [DATA + 80h], ecx; jnz wait; dec ecx; jnz again; hlt
    let writer = [
        0x89, 0xca, 0x83, 0xe2, 31, 0xc1, 0xe2, 7, 0x89, 0x8a, 0x01, 0x20, 1, 0, 0x48, 0x89, 0x8a,
        0x40, 0x20, 1, 0, 0x8d, 0x82, 0x80, 0x08, 0, 0, 0x25, 0xff, 0x0f, 0, 0, 0x48, 0x89, 0x88,
        0x40, 0x20, 1, 0, 0x89, 0x0c, 0x25, 0, 0, 2, 0, 0xf3, 0x90, 0x39, 0x0c, 0x25, 0x80, 0, 2,
        0, 0x75, 0xf5, 0xff, 0xc9, 0x75, 0xc3, 0xf4,
    ];
    for [calls, writes] in [[0, 0], [0, 1], [1, 0], [1, 1]] {
        let memory = memory(&caller);
        write(&memory, CODE + 0x1000, &writer);
        for line in 0..32 {
            write_function(&memory, MIXED + line * 0x80, 0);
        }
        let calls = vcpu(engines()[calls], &memory);
        let mut writes = vcpu(engines()[writes], &memory);
        let mut caller = calls;
        caller.set_state(&state()).expect("a state");
        let mut state = state();
        state.rip = CODE + 0x1000;
        state.gpr[gpr::RCX] = 1000;
        writes.set_state(&state).expect("a state");
        run_beside(caller, || {
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
}
