//! A guest in long mode that may use all of AVX.

use engine_tests::{Image, Mode};
use memory::{Gpa, GuestMemory, RamRange};
use x86::CpuState;
use x86::register::{cr4, xcr0};

const RAM: u64 = 0x60_0000;

pub(crate) fn state() -> CpuState {
    let image = Image {
        mode: Mode::Long64,
        code: Vec::new(),
    };
    let mut state = image.state();
    state.cr4 |= cr4::OSXSAVE;
    state.xcr0 = xcr0::X87 | xcr0::SSE | xcr0::AVX;
    state
}

/// Memory with tables for long mode, and `code`.
pub(crate) fn memory(code: &[u8]) -> GuestMemory {
    let memory = GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: RAM,
    }]);
    let memory = memory.expect("memory");
    let image = Image {
        mode: Mode::Long64,
        code: code.to_vec(),
    };
    image.load(&memory).expect("room");
    memory
}
