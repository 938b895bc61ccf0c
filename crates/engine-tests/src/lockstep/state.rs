//! Registers that programs start with.

use x86::register::{cr0, cr4, efer, xcr0};
use x86::{CpuState, DescriptorTable, Fpu, Segment, msr};

use super::choices::Choices;
use super::handlers::{Told, selector};
use super::layout::{GDT, IDT, PML4, TSS};
use super::operands::Roles;

fn flat(selector: u16, rights: u16) -> Segment {
    Segment {
        selector,
        base: 0,
        limit: !0,
        rights,
        unusable: false,
    }
}

pub(crate) fn at_start(
    choices: &mut Choices<'_>,
    roles: &Roles,
    told: &Told,
    user: bool,
    interrupted: bool,
) -> CpuState {
    let mut state = CpuState::at_reset();
    segments(choices, &mut state, user);
    if roles.narrow {
        segments_32(choices, &mut state, user);
    }
    state.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::MP | cr0::AM | cr0::WP;
    state.cr3 = PML4;
    state.cr4 = cr4::PAE | cr4::OSXMMEXCPT | cr4::FSGSBASE | cr4::PGE;
    if !choices.chance(32) {
        state.cr4 |= cr4::OSFXSR;
    }
    if !choices.chance(32) {
        state.cr4 |= cr4::OSXSAVE;
    }
    if choices.chance(2) {
        state.cr4 |= cr4::SMAP;
    }
    if choices.chance(32) {
        state.cr0 |= cr0::TS;
    }
    state.efer = efer::LME | efer::LMA | efer::NXE | efer::SCE;
    state.xcr0 = xcr0::X87 | xcr0::SSE | xcr0::AVX;
    for value in &mut state.gpr {
        *value = choices.integer();
    }
    let number = |register: iced_x86::Register| register.full_register().number();
    for &pointer in &roles.pointers {
        state.gpr[number(pointer)] = roles.target(choices);
    }
    state.gpr[number(roles.index)] = choices.below(64);
    state.gpr[number(roles.counter)] = 1 + choices.below(120);
    state.gpr[4] = told.stack_top;
    state.rip = told.recovery[0];
    state.rflags = 2 | choices.next() & 0x8d5;
    if interrupted {
        state.rflags |= 0x200;
    }
    // SYSRET's selectors begin eight bytes before the user's data.
    let selectors =
        u64::from(selector::USER_DATA - 8) << 48 | u64::from(selector::KERNEL_CODE) << 32;
    state.msrs.insert(msr::STAR, selectors);
    state.msrs.insert(msr::FMASK, 0x700);
    fpu(choices, &mut state.fpu);
    state
}

fn segments(choices: &mut Choices<'_>, state: &mut CpuState, user: bool) {
    let null = Segment {
        unusable: true,
        ..Segment::default()
    };
    state.segments = [null; 6];
    if user {
        state.segments[1] = flat(selector::USER_CODE, 0xa0fb);
        state.segments[2] = flat(selector::USER_DATA, 0xc0f3);
    } else {
        state.segments[1] = flat(selector::KERNEL_CODE, 0xa09b);
        state.segments[2] = flat(selector::KERNEL_DATA, 0xc093);
    }
    state.segments[4].base = choices.pick(&[0, 0x40, 0x1000]);
    state.segments[5].base = choices.pick(&[0, 0x80u64.wrapping_neg(), 8]);
    state.tr = Segment {
        selector: selector::TSS,
        base: TSS,
        limit: 0x67,
        rights: 0x8b,
        unusable: false,
    };
    state.gdtr = DescriptorTable {
        base: GDT,
        limit: 0x7f,
    };
    state.idtr = DescriptorTable {
        base: IDT,
        limit: 0xfff,
    };
}

/// Everything flat but, sometimes, FS and GS.
fn segments_32(choices: &mut Choices<'_>, state: &mut CpuState, user: bool) {
    let (code, data) = if user {
        (selector::USER_CODE_32, flat(selector::USER_DATA, 0xc0f3))
    } else {
        (
            selector::KERNEL_CODE_32,
            flat(selector::KERNEL_DATA, 0xc093),
        )
    };
    let rights = if user { 0xc0fb } else { 0xc09b };
    state.segments[1] = flat(code, rights);
    for n in [0, 2, 3] {
        state.segments[n] = data;
    }
    for n in [4, 5] {
        let base = state.segments[n].base;
        state.segments[n] = Segment { base, ..data };
        if choices.chance(8) {
            state.segments[n].limit = 0x0041_3fff;
        }
    }
}

fn fpu(choices: &mut Choices<'_>, fpu: &mut Fpu) {
    *fpu = Fpu::default();
    for register in &mut fpu.ymm {
        for lane in register.chunks_exact_mut(8) {
            lane.copy_from_slice(&choices.lane().to_le_bytes());
        }
    }
    if choices.chance(4) {
        fpu.mxcsr |= choices.next() as u32 & 0xe07f;
    }
    if choices.chance(16) {
        fpu.mxcsr &= choices.next() as u32 | 0xe07f;
    }
    if choices.chance(4) {
        fpu.control = fpu.control & !0xc00 | choices.next() as u16 & 0xc00;
        fpu.tag = choices.next() as u8;
        for register in &mut fpu.st {
            let mantissa = 1 << 63 | choices.lane();
            register[..8].copy_from_slice(&mantissa.to_le_bytes());
            register[8..10].copy_from_slice(&(0x3ff0 + choices.below(32) as u16).to_le_bytes());
        }
    }
}
