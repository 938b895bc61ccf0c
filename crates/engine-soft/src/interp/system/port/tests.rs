use engine::{Entry, Exit};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::CpuidTable;
use x86::register::gpr::{RCX, RDI, RDX};
use x86::{CpuState, Segment};

use crate::cpu::Cpu;
use crate::interp::run::Interpreter;

/// A vCPU in real mode about to run `code`, with DI at `di` and CX, DX set.
fn guest(code: &[u8], di: u64) -> Interpreter {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x4000,
    };
    let memory = GuestMemory::new(&[ram]).expect("RAM");
    memory
        .ram()
        .write_slice(code, GuestAddress(0x1000))
        .expect("inside");
    let mut cpu = Cpu::new(0, CpuidTable::default(), memory.clone());
    cpu.mmu.map(&memory);
    let mut state = CpuState::at_reset();
    state.segments = [Segment::real(0); 6];
    state.rip = 0x1000;
    state.gpr[RDI] = di;
    state.gpr[RCX] = 2;
    state.gpr[RDX] = 0x1f0;
    cpu.restore(&state);
    Interpreter::new(cpu, None).expect("memory")
}

const READ: Exit = Exit::PortRead {
    port: 0x1f0,
    size: 2,
};

#[test]
fn rep_insw_asks_once_for_each_element() {
    // rep insw; hlt
    let mut guest = guest(&[0xf3, 0x6d, 0xf4], 0x2000);
    assert_eq!(guest.run(Entry::Resume), READ);
    assert_eq!(guest.run(Entry::CompleteRead(0x1122)), READ);
    assert_eq!(guest.cpu.gpr[RCX], 1);
    assert_eq!(guest.run(Entry::CompleteRead(0x3344)), Exit::Halted);
    assert_eq!((guest.cpu.gpr[RCX], guest.cpu.gpr[RDI]), (0, 0x2004));
    let stored: u32 = guest
        .cpu
        .memory
        .ram()
        .read_obj(GuestAddress(0x2000))
        .expect("inside");
    assert_eq!(stored, 0x3344_1122);
}

#[test]
fn a_destination_that_faults_costs_the_device_nothing() {
    // insw with DI at FFFFh: beyond the limit. The handler of #GP, at 0:3000h, halts.
    let mut guest = guest(&[0x6d], 0xffff);
    let memory = guest.cpu.memory.clone();
    let put = |at, bytes: &[u8]| {
        let written = memory.ram().write_slice(bytes, GuestAddress(at));
        written.expect("inside");
    };
    put(13 * 4, &[0x00, 0x30, 0, 0]);
    put(0x3000, &[0xf4]);
    assert_eq!(guest.run(Entry::Resume), Exit::Halted);
    assert_eq!(guest.cpu.rip, 0x3001);
}
