use engine::{Engine, Entry, Exit};
use engine_tests::{Image, Mode};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::{CpuidEntry, CpuidTable};
use x86::register::gpr;
use x86::{CpuState, Segment};

use super::{LEAST_ROOM, SoftEngine};
use crate::cpu::Cpu;
use crate::interp::run::Interpreter;
use crate::translate::Translator;

/// Runs 16-bit code at 0:0x1000 until its first exit; answers exit and state.
fn run_real(code: &[u8]) -> (Exit, CpuState) {
    run_real_on(&CpuidTable::default(), code)
}

fn run_real_on(cpuid: &CpuidTable, code: &[u8]) -> (Exit, CpuState) {
    let memory = GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: 0x20000,
    }])
    .expect("RAM");
    memory
        .ram()
        .write_slice(code, GuestAddress(0x1000))
        .expect("inside");
    let engine = SoftEngine::new(memory);
    let mut vcpu = engine.create_vcpu(0, cpuid).expect("a vCPU");
    let mut state = CpuState::at_reset();
    state.segments[1] = Segment {
        base: 0,
        selector: 0,
        ..state.segments[1]
    };
    state.rip = 0x1000;
    vcpu.set_state(&state).expect("valid");
    let exit = vcpu.run(Entry::Resume).expect("no host failure");
    (exit, vcpu.state().expect("a state"))
}

#[test]
fn mmio_is_read_and_written_by_one_instruction() {
    // mov ax, 0x3000; mov ds, ax; add byte [0], 5 (0x30000 is no RAM)
    let code = [0xb8, 0x00, 0x30, 0x8e, 0xd8, 0x80, 0x06, 0x00, 0x00, 0x05];
    let memory = GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: 0x20000,
    }])
    .expect("RAM");
    memory
        .ram()
        .write_slice(&code, GuestAddress(0x1000))
        .expect("inside");
    let mut vcpu = SoftEngine::new(memory)
        .create_vcpu(0, &CpuidTable::default())
        .expect("a vCPU");
    let mut state = CpuState::at_reset();
    state.segments[1] = Segment {
        base: 0,
        selector: 0,
        ..state.segments[1]
    };
    state.rip = 0x1000;
    vcpu.set_state(&state).expect("valid");
    let exit = vcpu.run(Entry::Resume).expect("runs");
    assert_eq!(
        exit,
        Exit::MmioRead {
            gpa: Gpa(0x30000),
            size: 1
        }
    );
    let exit = vcpu.run(Entry::CompleteRead(7)).expect("runs");
    assert_eq!(
        exit,
        Exit::MmioWrite {
            gpa: Gpa(0x30000),
            size: 1,
            value: 12
        }
    );
}

#[test]
fn a_loop_with_memory_traffic_sums() {
    // xor ax,ax; mov cx,100; l: mov [0x500],cx; add ax,[0x500]; loop l; hlt
    let code = [
        0x31, 0xc0, 0xb9, 0x64, 0x00, 0x89, 0x0e, 0x00, 0x05, 0x03, 0x06, 0x00, 0x05, 0xe2, 0xf6,
        0xf4,
    ];
    let (exit, state) = run_real(&code);
    assert_eq!(exit, Exit::Halted);
    assert_eq!(state.gpr[0] & 0xffff, 5050);
}

#[test]
fn code_that_changes_itself_runs_changed() {
    // mov byte [0x1006], 0x42 (inc dx instead of nop); nop; hlt
    let code = [0xc6, 0x06, 0x05, 0x10, 0x42, 0x90, 0xf4];
    let (exit, state) = run_real(&code);
    assert_eq!(exit, Exit::Halted);
    assert_eq!(state.gpr[2] & 0xffff, 1);
}

/// A breakpoint on the instruction behind a load of SS: Intel's processors pass it, AMD's stop.
#[test]
fn a_load_of_ss_holds_off_breakpoints_by_vendor() {
    let code = [
        &[0xc7, 0x06, 0x04, 0x00, 0x28, 0x10][..], // mov word [4], 1028h: the handler of #DB
        &[0xc7, 0x06, 0x06, 0x00, 0x00, 0x00],     // mov word [6], 0
        &[0xbc, 0x00, 0x08],                       // mov sp, 800h
        &[0x66, 0xb8, 0x25, 0x10, 0x00, 0x00],     // mov eax, 1025h: behind the load
        &[0x0f, 0x23, 0xc0],                       // mov dr0, eax
        &[0x66, 0xb8, 0x02, 0x04, 0x00, 0x00],     // mov eax, 402h
        &[0x0f, 0x23, 0xf8],                       // mov dr7, eax
        &[0x31, 0xc9],                             // xor cx, cx
        &[0x8e, 0xd1],                             // mov ss, cx
        &[0x41, 0xf4, 0x90],                       // inc cx; hlt; nop
        &[0xf4],                                   // hlt: the handler
    ]
    .concat();
    let vendor = |name: &[u8; 4]| CpuidTable {
        entries: vec![CpuidEntry {
            leaf: 0,
            subleaf: 0,
            indexed: false,
            eax: 0,
            ebx: u32::from_le_bytes(*name),
            ecx: 0,
            edx: 0,
        }],
    };
    for (name, count, rip) in [(b"Genu", 1, 0x1027), (b"Auth", 0, 0x1029)] {
        let (exit, state) = run_real_on(&vendor(name), &code);
        assert_eq!(exit, Exit::Halted);
        assert_eq!((state.gpr[1], state.rip), (count, rip));
    }
}

#[test]
fn a_state_brings_no_mxcsr_that_a_processor_refuses() {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x1000,
    };
    let engine = SoftEngine::new(GuestMemory::new(&[ram]).expect("RAM"));
    let table = CpuidTable::default();
    let mut vcpu = engine.create_vcpu(0, &table).expect("a vCPU");
    let mut state = CpuState::at_reset();
    state.fpu.mxcsr = 0xffff_1f80;
    vcpu.set_state(&state).expect("taken");
    assert_eq!(vcpu.state().expect("a state").fpu.mxcsr, 0x1f80);
}

/// What is tried and not made costs nothing that stays: an instruction that goes on where no RAM is.
#[test]
fn code_that_cannot_be_translated_leaves_nothing() {
    const END: u64 = 0x8_0000;
    let ram = RamRange {
        base: Gpa(0),
        len: END,
    };
    let memory = GuestMemory::new(&[ram]).expect("RAM");
    // mov esp, 10000h; push 8000h; dec ecx; jz over the next; jmp 7ffffh; hlt
    let code = [
        0xbc, 0, 0, 1, 0, 0x68, 0, 0x80, 0, 0, 0x49, 0x74, 5, 0xe9, 0xed, 0x7f, 7, 0, 0xf4,
    ];
    let image = Image {
        mode: Mode::Protected32,
        code: code.to_vec(),
    };
    image.load(&memory).expect("room");
    // ret 0ffffh, since nothing is read as ones.
    let last = memory.ram().write_slice(&[0xc2], GuestAddress(END - 1));
    last.expect("inside");
    let mut state = image.state();
    state.gpr[gpr::RCX] = 5000;
    let mut cpu = Cpu::new(0, CpuidTable::default(), memory.clone());
    cpu.mmu.map(&memory);
    let translator = Translator::new(1, false, LEAST_ROOM).expect("a translator");
    let mut interpreter = Interpreter::new(cpu, Some(translator)).expect("memory");
    interpreter.cpu.restore(&state);
    assert_eq!(interpreter.run(Entry::Resume), Exit::Halted);
    assert_eq!(interpreter.cpu.gpr[gpr::RCX], 0);
    let translator = interpreter.translator.as_ref().expect("a translator");
    assert!(translator.counters.units > 0);
    assert!(translator.sites() <= 1024, "{}", translator.sites());
}
