//! That a wrong translation is noticed, and named.

use engine::{Entry, Exit};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::{self, HostCpuid, VcpuParams};
use x86::register::{cr0, cr4, efer};
use x86::{CpuState, Segment};

use crate::cpu::Cpu;
use crate::interp::block::BlockCache;
use crate::interp::run::Interpreter;
use crate::mmu::access_raw::physical_write;
use crate::translate::Translator;

const CODE: u64 = 0x5000;

/// A vCPU in 64-bit mode over one large page, its translations checked.
fn interpreter(code: &[u8]) -> Interpreter {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x20_0000,
    };
    let memory = GuestMemory::new(&[ram]).expect("2 MiB");
    let write = |at: u64, value: u64| {
        let ram = memory.ram();
        ram.write_obj(value, GuestAddress(at)).expect("inside RAM");
    };
    write(0x1000, 0x2067);
    write(0x2000, 0x3067);
    write(0x3000, 0xe7);
    let whole = memory.ram();
    whole
        .write_slice(code, GuestAddress(CODE))
        .expect("inside RAM");
    let params = VcpuParams {
        id: 0,
        count: 1,
        tsc_khz: 1_000_000,
    };
    let model = cpuid::model("host").expect("the model");
    let table = cpuid::table(model, &HostCpuid::read(), &params);
    let mut cpu = Cpu::new(0, table, memory.clone());
    cpu.mmu.map(&memory);
    let mut state = CpuState::at_reset();
    state.segments[1] = Segment {
        selector: 8,
        base: 0,
        limit: !0,
        rights: 0xa09b,
        unusable: false,
    };
    state.cr0 = cr0::PE | cr0::PG | cr0::ET;
    state.cr3 = 0x1000;
    state.cr4 = cr4::PAE;
    state.efer = efer::LME | efer::LMA;
    state.rip = CODE;
    state.gpr = [0; 16];
    state.gpr[3] = 0x8000;
    cpu.restore(&state);
    let translator = Translator::new(1, false, 48 << 20)
        .expect("code memory")
        .checked();
    Interpreter::new(cpu, Some(translator)).expect("memory")
}

fn assemble(immediate: u8) -> [u8; 9] {
    // mov ecx, eax; add byte [rbx], immediate; add eax, ecx; hlt
    [0x89, 0xc1, 0x80, 0x03, immediate, 0x01, 0xc8, 0xf4, 0x90]
}

#[test]
fn what_is_translated_right_goes_on() {
    let mut interpreter = interpreter(&assemble(5));
    assert_eq!(interpreter.run(Entry::Resume), Exit::Halted);
    assert_eq!(interpreter.compared.units, 1);
    assert_eq!(interpreter.compared.instructions, 3);
    assert_eq!(interpreter.compared.pages, 1);
}

#[test]
fn a_unit_that_ran_before_is_still_taken_back() {
    let mut interpreter = interpreter(&assemble(5));
    for _ in 0..3 {
        assert_eq!(interpreter.run(Entry::Resume), Exit::Halted);
        interpreter.halted = false;
        interpreter.cpu.rip = CODE;
    }
    let mut byte = [0];
    let ram = interpreter.cpu.memory.ram();
    ram.read_slice(&mut byte, GuestAddress(0x8000))
        .expect("inside RAM");
    assert_eq!(byte, [15]);
    assert_eq!(interpreter.compared.pages, 3);
    assert_eq!(interpreter.compared.flushed, 0);
}

#[test]
fn a_stale_translation_is_named() {
    let mut interpreter = interpreter(&assemble(5));
    assert_eq!(interpreter.run(Entry::Resume), Exit::Halted);
    // Behind everybody's back, and only the interpreter decodes anew.
    physical_write(&interpreter.cpu, CODE + 4, 1, 7);
    interpreter.cache = BlockCache::new();
    interpreter.halted = false;
    interpreter.cpu.rip = CODE;
    let Exit::Failed { what } = interpreter.run(Entry::Resume) else {
        panic!("nothing noticed");
    };
    assert!(what.contains("translated code at 0x5000"), "{what}");
    assert!(what.contains("byte at 0x8000: 0xa / 0xc"), "{what}");
    assert!(what.contains("5002  add byte [rbx]"), "{what}");
    // Memory and registers are as before the unit.
    assert_eq!(interpreter.cpu.rip, CODE);
    let mut byte = [0];
    let ram = interpreter.cpu.memory.ram();
    ram.read_slice(&mut byte, GuestAddress(0x8000))
        .expect("inside RAM");
    assert_eq!(byte, [5]);
}
