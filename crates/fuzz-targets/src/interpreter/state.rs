//! A CPU state of nothing but the input's bytes.

use x86::{Activity, CpuState, DescriptorTable, Events, Fpu, Segment};

use crate::Input;

/// MSRs that mean something to an engine, and two that do not.
const MSRS: [u32; 12] = [
    0x10,
    0x1b,
    0x174,
    0x175,
    0x176,
    0x277,
    0xc000_0080,
    0xc000_0081,
    0xc000_0102,
    0xc000_0103,
    0xda0,
    0x1234_5678,
];

pub(super) fn segment(input: &mut Input<'_>) -> Segment {
    Segment {
        selector: input.u16(),
        base: input.number(),
        limit: input.u32(),
        rights: input.u16(),
        unusable: input.bool(),
    }
}

fn table(input: &mut Input<'_>) -> DescriptorTable {
    DescriptorTable {
        base: input.number(),
        limit: input.u16(),
    }
}

pub(super) fn fpu(input: &mut Input<'_>) -> Fpu {
    let mut fpu = Fpu {
        control: input.u16(),
        status: input.u16(),
        tag: input.byte(),
        opcode: input.u16(),
        instruction_pointer: input.number(),
        data_pointer: input.number(),
        mxcsr: input.u32(),
        ..Fpu::default()
    };
    for register in &mut fpu.st {
        let bytes = input.take(10);
        register[..bytes.len()].copy_from_slice(bytes);
    }
    for register in &mut fpu.ymm {
        let bytes = input.take(32);
        register[..bytes.len()].copy_from_slice(bytes);
    }
    fpu
}

pub(super) fn arbitrary(input: &mut Input<'_>) -> CpuState {
    let mut state = CpuState::at_reset();
    state.cr0 = u64::from(input.u32());
    state.cr4 = u64::from(input.u32());
    state.efer = u64::from(input.u16());
    state.rflags = u64::from(input.u32());
    state.rip = input.number();
    state.cr2 = input.number();
    state.cr3 = input.number();
    state.cr8 = input.number();
    for register in &mut state.segments {
        *register = segment(input);
    }
    (state.ldtr, state.tr) = (segment(input), segment(input));
    (state.gdtr, state.idtr) = (table(input), table(input));
    for register in state.gpr.iter_mut().chain(&mut state.dr) {
        *register = input.number();
    }
    state.xcr0 = input.number();
    state.pkru = input.u32();
    state.tsc = input.number();
    for _ in 0..input.byte() & 15 {
        let index = input.choose(&MSRS);
        state.msrs.insert(index, input.number());
    }
    let events = input.byte();
    state.events = Events {
        interrupt_shadow: events & 1 != 0,
        nmi_pending: events & 2 != 0,
        nmi_masked: events & 4 != 0,
        injected: None,
    };
    state.activity = if events & 0x70 == 0x70 {
        Activity::Halted
    } else {
        Activity::Running
    };
    if events & 8 != 0 {
        state.fpu = fpu(input);
    }
    state
}
