//! Guests that once hung or killed their host process.

mod hostile_guest;

use engine::{Engine, Entry, Exit, Vcpu};
use engine_soft::SoftEngine;
use hostile_guest::{run_and_kick, table};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::register::cr0;
use x86::{CpuState, DescriptorTable, Segment};

const CODE: u64 = 0x1000;
const IDT: u64 = 0x4000;
const GDT: u64 = 0x3000;
const DATA: u64 = 0x5000;
const FLAT_CODE: u64 = 0x00cf_9b00_0000_ffff;
const FLAT_DATA: u64 = 0x00cf_9300_0000_ffff;
/// Based at 1 MiB, and with a 16-bit stack pointer: what is pushed for ever goes round in 64 KiB.
const ROUND_STACK: u64 = 0x008f_9310_0000_ffff;

struct Guest {
    memory: GuestMemory,
    vcpu: Box<dyn Vcpu>,
}

fn write(memory: &GuestMemory, at: u64, bytes: &[u8]) {
    let written = memory.ram().write_slice(bytes, GuestAddress(at));
    written.expect("inside RAM");
}

/// Code at [`CODE`] with memory around it, in the state that `state` leaves.
fn guest(code: &[u8], state: CpuState) -> Guest {
    let memory = GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: 0x2_0000,
    }]);
    let memory = memory.expect("memory");
    write(&memory, CODE, code);
    let made = SoftEngine::new(memory.clone()).create_vcpu(0, &table());
    let mut vcpu = made.expect("a vCPU");
    vcpu.set_state(&state).expect("a state");
    Guest { memory, vcpu }
}

/// Flat 32-bit protected mode.
fn protected() -> CpuState {
    let mut state = CpuState::at_reset();
    state.segments = [Segment::from_descriptor(0x10, FLAT_DATA); 6];
    state.segments[1] = Segment::from_descriptor(0x08, FLAT_CODE);
    state.cr0 = cr0::PE | cr0::ET | cr0::NE;
    state.rip = CODE;
    state.gpr[4] = DATA;
    state.gdtr = DescriptorTable {
        base: GDT,
        limit: 0xff,
    };
    state.idtr = DescriptorTable {
        base: IDT,
        limit: 0x7ff,
    };
    state
}

/// Without CR0.NE an x87 instruction runs although an exception waits. The host's own x87 must not
/// take that exception for its own, which is SIGFPE.
#[test]
fn an_exception_that_nobody_waits_for_stays_the_guests() {
    // fld1; fldz; fadd; hlt
    let code = [0xd9, 0xe8, 0xd9, 0xee, 0xd8, 0xc1, 0xf4];
    let mut state = protected();
    state.cr0 &= !cr0::NE;
    state.fpu.control = 0x340;
    state.fpu.status = 0x8081;
    let mut guest = guest(&code, state);
    assert_eq!(
        run_and_kick(guest.vcpu.as_mut(), Entry::Resume),
        Exit::Halted
    );
    let fpu = guest.vcpu.state().expect("a state").fpu;
    assert_eq!(fpu.status & 0x8081, 0x8081, "the exception waits on");
}

/// A load waits for a device's answer. Meanwhile another processor makes it a longer one, which
/// reaches into a page that is not there, as the page fault's handler is not. The load is over: what
/// follows is a loop of page faults like any other.
#[test]
fn an_access_that_never_ends_because_its_code_changed_answers_a_kick() {
    const DIRECTORY: u64 = 0x8000;
    const PAGES: u64 = 0x9000;
    let mut state = protected();
    state.cr0 |= cr0::PG;
    state.cr3 = DIRECTORY;
    state.rip = CODE + 0xffe;
    state.gpr[3] = 0x3_0000;
    // No RAM: the frames of the faults go nowhere, however many there are before the kick.
    state.segments[2] = Segment::from_descriptor(0x18, ROUND_STACK);
    let mut guest = guest(&[], state);
    let entry = |page: u32| (page << 12 | 3).to_le_bytes();
    let table: Vec<u8> = (0..1024).flat_map(entry).collect();
    write(&guest.memory, PAGES, &table);
    write(
        &guest.memory,
        DIRECTORY,
        &entry(u32::try_from(PAGES >> 12).expect("a 32-bit frame")),
    );
    for page in [(CODE >> 12) + 1, 7] {
        write(&guest.memory, PAGES + page * 4, &[0; 4]);
    }
    write(&guest.memory, GDT + 8, &FLAT_CODE.to_le_bytes());
    let gates = 0x0000_8e00_0008_7000u64.to_le_bytes().repeat(256);
    write(&guest.memory, IDT, &gates);

    // mov eax, [ebx]
    write(&guest.memory, CODE + 0xffe, &[0x8b, 0x03]);
    let exit = run_and_kick(guest.vcpu.as_mut(), Entry::Resume);
    assert!(matches!(exit, Exit::MmioRead { .. }), "{exit:?}");
    // mov eax, [ebx + …]
    write(&guest.memory, CODE + 0xffe, &[0x8b, 0x83]);
    let exit = run_and_kick(guest.vcpu.as_mut(), Entry::CompleteRead(7));
    assert_eq!(exit, Exit::Interrupted);
}
