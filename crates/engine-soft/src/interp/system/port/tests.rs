use engine::{Entry, Exit};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::CpuidTable;
use x86::register::gpr::{RCX, RDI, RDX, RSI};
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

#[test]
fn many_elements_are_one_exit_where_the_machine_takes_strings() {
    // rep insw; rep outsw; hlt
    let mut guest = guest(&[0xf3, 0x6d, 0xf3, 0x6f, 0xf4], 0x2ffc);
    guest.cpu.takes_strings = true;
    guest.cpu.gpr[RCX] = 5;
    let reads = Exit::PortReadString {
        port: 0x1f0,
        size: 2,
    };
    // Up to the end of the page, and from there on.
    assert_eq!(guest.run(Entry::Resume), reads);
    assert_eq!(guest.cpu.string, [0; 4]);
    guest.cpu.string.copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(guest.run(Entry::Resume), reads);
    assert_eq!((guest.cpu.gpr[RCX], guest.cpu.gpr[RDI]), (3, 0x3000));
    guest.cpu.string.copy_from_slice(&[5, 6, 7, 8, 9, 10]);
    // Nothing is left to be written: its count is zero.
    assert_eq!(guest.run(Entry::Resume), Exit::Halted);
    let mut stored = [0; 10];
    let memory = guest.cpu.memory.clone();
    let read = memory.ram().read_slice(&mut stored, GuestAddress(0x2ffc));
    read.expect("inside");
    assert_eq!(stored, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!((guest.cpu.gpr[RCX], guest.cpu.gpr[RDI]), (0, 0x3006));
}

#[test]
fn a_string_is_written_in_one_exit_and_a_single_element_in_its_own() {
    // rep outsw; outsw; hlt
    let mut guest = guest(&[0xf3, 0x6f, 0x6f, 0xf4], 0);
    guest.cpu.takes_strings = true;
    guest.cpu.gpr[RSI] = 0x2000;
    guest.cpu.gpr[RCX] = 3;
    let memory = guest.cpu.memory.clone();
    let written = memory.ram().write_slice(b"abcdefgh", GuestAddress(0x2000));
    written.expect("inside");
    let port = 0x1f0;
    let exit = Exit::PortWriteString { port, size: 2 };
    assert_eq!(guest.run(Entry::Resume), exit);
    assert_eq!(guest.cpu.string, b"abcdef");
    let (size, value) = (2, 0x6867);
    assert_eq!(
        guest.run(Entry::Resume),
        Exit::PortWrite { port, size, value }
    );
    assert_eq!(guest.run(Entry::Resume), Exit::Halted);
    assert_eq!(guest.cpu.gpr[RSI], 0x2008);
}

#[test]
fn a_string_does_not_leave_its_segment() {
    // rep insw, with DI where two elements are left before the limit.
    let mut guest = guest(&[0xf3, 0x6d, 0xf4], 0xfffc);
    guest.cpu.takes_strings = true;
    guest.cpu.gpr[RCX] = 9;
    assert_eq!(guest.run(Entry::Resume), READ, "there is no RAM");
}
