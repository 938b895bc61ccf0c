use std::fs::File;
use std::os::unix::fs::FileExt;

use engine::{Entry, Exit};
use engine_tests::{Image, Mode};
use memory::{Gpa, GuestMemory, RamRange};
use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};
use x86::CpuState;
use x86::cpuid::{self, CpuidTable, HostCpuid, VcpuParams};
use x86::register::{cr4, gpr};

use crate::cpu::Cpu;
use crate::interp::run::Interpreter;
use crate::translate::{Translator, is_of_kin};

const ROOM: usize = 8 << 20;
/// Where the program is.
const CODE: u64 = 0x8000;

/// mov ecx, 100; L: add eax, 3; paddd xmm0, xmm0; call F; dec ecx; jnz L; hlt; F: inc edx; ret
const PROGRAM: &[u8] = &[
    0xb9, 100, 0, 0, 0, 0x83, 0xc0, 3, 0x66, 0x0f, 0xfe, 0xc0, 0xe8, 5, 0, 0, 0, 0xff, 0xc9, 0x75,
    0xf0, 0xf4, 0xff, 0xc2, 0xc3,
];
const RAM: usize = 0x8_0000;
/// Where it has its 3.
const THREE: u64 = 7;

fn file() -> File {
    File::from(memfd_create("code", MemfdFlags::CLOEXEC).expect("a file"))
}

fn memory() -> (GuestMemory, CpuState) {
    let ram = RamRange {
        base: Gpa(0),
        len: RAM as u64,
    };
    let memory = GuestMemory::new(&[ram]).expect("RAM");
    let image = Image {
        mode: Mode::Protected32,
        code: PROGRAM.to_vec(),
    };
    image.load(&memory).expect("room");
    let mut state = image.state();
    state.gpr[gpr::RSP] = 0x4_0000;
    (state.gpr[gpr::RAX], state.gpr[gpr::RDX]) = (0, 0);
    state.cr4 |= cr4::OSFXSR;
    (memory, state)
}

/// The same memory, as another process begins with it.
fn copy(memory: &GuestMemory) -> GuestMemory {
    let mut bytes = vec![0; RAM];
    let read = memory.ram().read_slice(&mut bytes, GuestAddress(0));
    read.expect("inside");
    let (copy, _) = self::memory();
    let written = copy.ram().write_slice(&bytes, GuestAddress(0));
    written.expect("inside");
    copy
}

fn table() -> CpuidTable {
    let params = VcpuParams {
        id: 0,
        count: 1,
        tsc_khz: 1_000_000,
    };
    let model = cpuid::model("host").expect("a model");
    cpuid::table(model, &HostCpuid::read(), &params)
}

/// One that translates what runs for the `warm`-th time.
fn processor(memory: &GuestMemory, state: &CpuState, warm: u8) -> Interpreter {
    let mut cpu = Cpu::new(0, table(), memory.clone());
    cpu.mmu.map(memory);
    let translator = Translator::new(warm, false, ROOM).expect("a translator");
    let mut made = Interpreter::new(cpu, Some(translator)).expect("memory");
    made.cpu.restore(state);
    made
}

fn units(processor: &Interpreter) -> u64 {
    let translator = processor.translator.as_ref().expect("a translator");
    translator.counters.units
}

/// A file of what a processor has translated that has run the program, and gone.
fn written(memory: &GuestMemory, state: &CpuState, warm: u8) -> (File, u64) {
    let mut first = processor(memory, state, warm);
    assert_eq!(first.run(Entry::Resume), Exit::Halted);
    let file = file();
    first.complete_code();
    let len = first.write_code(&file, 0).expect("room");
    assert!(units(&first) > 0);
    (file, len)
}

fn run(processor: &mut Interpreter) -> (u64, u64) {
    assert_eq!(processor.run(Entry::Resume), Exit::Halted);
    (processor.cpu.gpr[gpr::RAX], processor.cpu.gpr[gpr::RDX])
}

#[test]
fn code_of_another_runs_as_its_own() {
    let (memory, state) = memory();
    for warm in [1, 200] {
        // With 200 nothing of it was worth the time before others were to have it.
        let (file, len) = written(&memory, &state, warm);
        let memory = copy(&memory);
        let mut second = processor(&memory, &state, 200);
        assert_eq!(second.adopt_code(&file, 0), Some(len));
        assert_eq!(run(&mut second), (300, 100));
        assert_eq!((units(&second), second.cache.counters.decoded), (0, 0));
        // And so on, of what it has not looked at itself.
        let mut state = state.clone();
        state.rip = CODE + 21;
        let mut third = None;
        for _ in 0..2 {
            let next = self::file();
            second.complete_code();
            let len = second.write_code(&next, 0).expect("room");
            drop((third.take(), second));
            let memory = copy(&memory);
            second = processor(&memory, &state, 200);
            assert_eq!(second.adopt_code(&next, 0), Some(len));
            third = Some(next);
        }
        second.cpu.rip = CODE;
        assert_eq!(run(&mut second), (300, 100));
        assert_eq!((units(&second), second.cache.counters.decoded), (0, 0));
    }
}

#[test]
fn code_that_is_written_over_dies_there_as_well() {
    let (memory, state) = memory();
    let (file, _) = written(&memory, &state, 1);
    let memory = copy(&memory);
    let mut second = processor(&memory, &state, 1);
    second.adopt_code(&file, 0).expect("code");
    let write = |value| {
        let at = GuestAddress(CODE + THREE);
        memory.ram().write_slice(&[value], at).expect("inside");
    };
    write(5);
    assert_eq!(run(&mut second).0, 500);
    drop(second);
    // What died before it was written is not written; what was other then is nothing new.
    let (file, _) = written(&memory, &state, 1);
    let memory = copy(&memory);
    let mut third = processor(&memory, &state, 200);
    third.adopt_code(&file, 0).expect("code");
    assert_eq!((run(&mut third).0, units(&third)), (500, 0));
}

#[test]
fn code_of_others_is_not_run() {
    let (memory, state) = memory();
    let (file, len) = written(&memory, &state, 1);
    let mut whole = vec![0; usize::try_from(len).expect("small")];
    file.read_exact_at(&mut whole, 0).expect("all of it");
    let changed = |at: usize, by: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= by;
        let file = self::file();
        file.write_all_at(&bytes, 0).expect("room");
        file
    };
    let adopt = |file: &File| {
        let mut second = processor(&memory, &state, 1);
        let adopted = second.adopt_code(file, 0);
        assert_eq!(run(&mut second), (300, 100));
        (adopted, units(&second) > 0)
    };
    assert_eq!(adopt(&changed(0, 0)), (Some(len), false));
    // No such file; one of another build, for another processor, with other room for code; stubs that are not as
    // they are here.
    assert_eq!(adopt(&changed(0, 1)), (None, true));
    for at in [32, 88, 96, 4096 + 7] {
        assert_eq!(adopt(&changed(at, 1)), (Some(len), true), "{at}");
    }
    // Whose it is, is the caller's to ask.
    assert!(is_of_kin(&changed(0, 0)) && !is_of_kin(&self::file()));
    for at in [16, 24] {
        let of_others = changed(at, 1);
        assert!(!is_of_kin(&of_others));
        assert_eq!(adopt(&of_others), (Some(len), false), "{at}");
    }
    let short = changed(0, 0);
    short.set_len(len - 1).expect("a file");
    assert_eq!(adopt(&short), (None, true));
    assert_eq!(adopt(&self::file()), (None, true));
}

#[test]
fn where_something_is_already_there_is_no_code() {
    let (memory, state) = memory();
    let mut first = processor(&memory, &state, 1);
    run(&mut first);
    let file = file();
    first.complete_code();
    let len = first.write_code(&file, 0).expect("room");
    // It is still there.
    let mut second = processor(&memory, &state, 1);
    assert_eq!(second.adopt_code(&file, 0), Some(len));
    assert_eq!(run(&mut second), (300, 100));
    assert!(units(&second) > 0);
}
