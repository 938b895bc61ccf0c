//! A guest in one of the processor's modes, with descriptor tables, page tables, task states, stacks
//! and code where they belong, and then damaged as the input says.

use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::register::{cr0, cr4, efer, rflags};
use x86::{CpuState, DescriptorTable, Segment, SegmentRegister};

use super::guard_raw::Guards;
use super::{code, state};
use crate::Input;

const LOW: u64 = 0x4_0000;
const HIGH: u64 = 0x10_0000;
const HIGH_LEN: u64 = 0x4000;

const GDT: u64 = 0x1000;
const LDT: u64 = 0x1800;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const STACK: u64 = 0x5000;
const CODE: u64 = 0x6000;
const CODE_LEN: usize = 0x1000;
const HANDLERS: u64 = 0x8000;
const USER_STACK: u64 = 0xa000;
const DATA: u64 = 0xb000;
const PML4: u64 = 0x2_0000;
const PDPT: u64 = 0x2_1000;
const PD: u64 = 0x2_2000;
const PT: u64 = 0x2_3000;
const NARROW_PD: u64 = 0x2_4000;
const NARROW_PT: u64 = 0x2_5000;

/// Selectors of the GDT below.
const CODE32: u16 = 0x08;
const DATA32: u16 = 0x10;
const CODE64: u16 = 0x18;
const USER_CODE32: u16 = 0x20;
const USER_DATA: u16 = 0x28;
const USER_CODE64: u16 = 0x30;
const CODE16: u16 = 0x38;
const DATA16: u16 = 0x40;
const TASK: u16 = 0x48;

const GDT_ENTRIES: [u64; 22] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0x0000_9b00_0000_ffff,
    0x0000_9300_0000_ffff,
    // TSS in use, and its upper half in long mode.
    0x0000_8b00_3000_01ff,
    0,
    // Two TSSs to switch to, of 32 and 16 bits.
    0x0000_8900_3200_01ff,
    0x0000_8100_3400_00ff,
    // LDT.
    0x0000_8200_1800_00ff,
    0,
    // Call gate to 32-bit code with three parameters; in long mode its upper half follows.
    0x0000_ec03_0008_8000,
    0,
    // Task gate.
    0x0000_e500_0058_0000,
    // Conforming code; expand-down data; not present; 64-bit call gate.
    0x00cf_9f00_0000_ffff,
    0x00cf_9700_0000_0fff,
    0x00cf_1300_0000_ffff,
    0x0000_ec00_0018_8000,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Real,
    Unreal,
    Protected16,
    Protected32,
    Paged32,
    Pae,
    Virtual8086,
    Long,
    Compatibility,
}

const MODES: [Mode; 9] = [
    Mode::Real,
    Mode::Unreal,
    Mode::Protected16,
    Mode::Protected32,
    Mode::Paged32,
    Mode::Pae,
    Mode::Virtual8086,
    Mode::Long,
    Mode::Compatibility,
];

impl Mode {
    fn bitness(self) -> u32 {
        match self {
            Mode::Real | Mode::Protected16 | Mode::Virtual8086 => 16,
            Mode::Long => 64,
            _ => 32,
        }
    }

    fn is_long(self) -> bool {
        matches!(self, Mode::Long | Mode::Compatibility)
    }
}

/// A guest's memory and the state of its processors.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) memory: GuestMemory,
    pub(super) state: CpuState,
    _guards: Guards,
}

/// RAM with a hole, and nothing behind its end.
pub(super) fn memory() -> GuestMemory {
    let range = |base, len| RamRange {
        base: Gpa(base),
        len,
    };
    GuestMemory::new(&[range(0, LOW), range(HIGH, HIGH_LEN)]).expect("memory")
}

fn write(memory: &GuestMemory, at: u64, bytes: &[u8]) {
    // What does not fit is not written.
    let _ = memory.ram().write(bytes, GuestAddress(at));
}

/// Fills low memory with the input, over and over.
pub(super) fn fill(memory: &GuestMemory, input: &mut Input<'_>) {
    let len = usize::from(input.byte()) * 8 + 1;
    let pattern = input.take(len);
    if pattern.is_empty() {
        return;
    }
    let bytes: Vec<u8> = pattern.iter().copied().cycle().take(0x4000).collect();
    for at in (0..LOW).step_by(0x4000) {
        write(memory, at, &bytes);
    }
    write(memory, HIGH, &bytes);
}

impl Guest {
    pub(super) fn new(input: &mut Input<'_>) -> Guest {
        let mode = input.choose(&MODES);
        let user = input.bool();
        let memory = memory();
        write_tables(&memory, mode, input);
        let mut state = CpuState::at_reset();
        modes(&mut state, mode);
        segments(&mut state, mode, user);
        registers(&mut state, input);
        for _ in 0..input.byte() & 7 {
            tweak(&mut state, input);
        }
        for _ in 0..input.byte() & 15 {
            poke(&memory, input);
        }
        let handler = code::generate(input, mode.bitness(), 0x800);
        write(&memory, HANDLERS, &handler);
        let code = code::generate(input, mode.bitness(), CODE_LEN);
        // Sometimes the code crosses a page.
        state.rip = CODE + if input.bool() { 0xff0 } else { 0 };
        write(&memory, state.rip, &code);
        Guest {
            _guards: Guards::new(&memory),
            memory,
            state,
        }
    }
}

fn modes(state: &mut CpuState, mode: Mode) {
    state.cr0 = cr0::ET | cr0::NE | cr0::MP;
    state.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::DE | cr4::PGE | cr4::FSGSBASE;
    state.xcr0 = 7;
    state.rflags = rflags::FIXED | rflags::IF;
    if !matches!(mode, Mode::Real | Mode::Unreal) {
        state.cr0 |= cr0::PE;
    }
    match mode {
        Mode::Paged32 => {
            state.cr0 |= cr0::PG | cr0::WP;
            state.cr4 |= cr4::PSE;
            state.cr3 = NARROW_PD;
        }
        Mode::Pae => {
            state.cr0 |= cr0::PG;
            state.cr4 |= cr4::PAE;
            state.cr3 = PDPT;
        }
        Mode::Virtual8086 => {
            state.rflags |= rflags::VM | rflags::IOPL;
            state.cr4 |= cr4::VME;
        }
        Mode::Long | Mode::Compatibility => {
            state.cr0 |= cr0::PG | cr0::WP;
            state.cr4 |= cr4::PAE | cr4::PKE;
            state.efer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
            state.cr3 = PML4;
        }
        _ => {}
    }
    let real = matches!(mode, Mode::Real | Mode::Unreal);
    state.gdtr = DescriptorTable {
        base: GDT,
        limit: 0x1ff,
    };
    state.idtr = DescriptorTable {
        base: if real { 0 } else { IDT },
        limit: if real { 0x3ff } else { 0xfff },
    };
    state.msrs.insert(x86::msr::STAR, 0x0023_0008_0000_8000);
    state.msrs.insert(x86::msr::LSTAR, HANDLERS);
    state.msrs.insert(x86::msr::SYSENTER_CS, u64::from(CODE32));
    state.msrs.insert(x86::msr::SYSENTER_EIP, HANDLERS);
    state.msrs.insert(x86::msr::SYSENTER_ESP, STACK);
}

fn load(selector: u16) -> Segment {
    let entry = GDT_ENTRIES.get(usize::from(selector >> 3));
    Segment::from_descriptor(selector, entry.copied().unwrap_or(0))
}

fn segments(state: &mut CpuState, mode: Mode, user: bool) {
    let (code, data) = match (mode, user) {
        (Mode::Real | Mode::Unreal | Mode::Virtual8086, _) => (0, 0),
        (Mode::Protected16, _) => (CODE16, DATA16),
        (Mode::Long, false) => (CODE64, DATA32),
        (Mode::Long, true) => (USER_CODE64 | 3, USER_DATA | 3),
        (_, false) => (CODE32, DATA32),
        (_, true) => (USER_CODE32 | 3, USER_DATA | 3),
    };
    let legacy = code == 0;
    state.segments = [if legacy { Segment::real(0) } else { load(data) }; 6];
    if !legacy {
        state.segments[SegmentRegister::Cs as usize] = load(code);
    }
    for segment in &mut state.segments {
        match mode {
            Mode::Unreal => {
                segment.limit = u32::MAX;
                segment.rights |= Segment::BIG;
            }
            Mode::Virtual8086 => segment.rights |= 0x60,
            _ => {}
        }
    }
    state.tr = load(TASK);
    state.ldtr = load(0x68);
}

fn registers(state: &mut CpuState, input: &mut Input<'_>) {
    const PLACES: [u64; 16] = [
        DATA,
        DATA + 0xff8,
        DATA + 0xfff,
        LOW - 8,
        LOW - 1,
        LOW,
        HIGH,
        HIGH + HIGH_LEN - 32,
        CODE,
        CODE + 0xff0,
        GDT,
        PT,
        TSS,
        0xfee0_0000,
        0x0000_7fff_ffff_fff8,
        0xffff_8000_0000_0000,
    ];
    for register in &mut state.gpr {
        *register = match input.byte() {
            kind @ 0..=0x9f => PLACES[usize::from(kind & 15)],
            _ => input.number(),
        };
    }
    state.gpr[4] = input.choose(&[STACK, STACK - 4, STACK - 0xffe, USER_STACK, LOW, 2, 0, HIGH]);
    if input.bool() {
        state.fpu = state::fpu(input);
    }
}

/// Changes one thing that guests do change.
fn tweak(state: &mut CpuState, input: &mut Input<'_>) {
    let what = input.byte();
    let bit = 1u64 << (input.byte() & 31);
    let n = usize::from(what >> 4);
    match what & 15 {
        0 => state.cr0 ^= bit,
        1 => state.cr4 ^= bit,
        2 => state.efer ^= bit & 0xfff,
        3 | 4 => state.rflags ^= bit & 0x3f_ffff,
        5 => state.cr3 = input.number(),
        6 => state.dr[n % 4] = input.choose(&[CODE, DATA, STACK - 8, DATA + 0xffc]),
        7 => state.dr[5] = u64::from(input.u32()),
        8 => state.segments[n % 6] = state::segment(input),
        9 => state.segments[n % 6].base = input.number(),
        10 => state.segments[n % 6].limit = input.u32(),
        11 => state.segments[n % 6].rights ^= input.u16(),
        12 => state.tr = state::segment(input),
        13 => state.idtr.limit = input.u16(),
        14 => state.pkru = input.u32(),
        _ => state.xcr0 ^= bit & 0x207,
    }
}

/// Writes a number into one of the tables, or anywhere.
fn poke(memory: &GuestMemory, input: &mut Input<'_>) {
    let place = input.choose(&[
        0, GDT, LDT, IDT, TSS, STACK, CODE, DATA, PML4, PDPT, PD, PT, NARROW_PD, NARROW_PT,
    ]);
    let offset = u64::from(input.u16() & 0xfff);
    let value = input.number().to_le_bytes();
    let len = usize::from(input.byte() & 7) + 1;
    write(memory, place + offset, &value[..len]);
}

fn write_all(memory: &GuestMemory, at: u64, entries: impl Iterator<Item = u64>) {
    let bytes: Vec<u8> = entries.flat_map(u64::to_le_bytes).collect();
    write(memory, at, &bytes);
}

fn write_tables(memory: &GuestMemory, mode: Mode, input: &mut Input<'_>) {
    write_all(memory, GDT, GDT_ENTRIES.into_iter());
    write_all(memory, LDT, GDT_ENTRIES.into_iter());
    let vectors: Vec<u8> = [0x00, 0x80, 0x00, 0x00].repeat(256);
    write(memory, 0, &vectors);
    write_gates(memory, mode, input);
    write_tasks(memory);
    write_page_tables(memory);
}

fn write_gates(memory: &GuestMemory, mode: Mode, input: &mut Input<'_>) {
    // Interrupt, trap and task gates, by vector.
    let kinds = [0xee, 0xef, 0xe5, 0x8e, 0xe6, 0xe7].map(|kind: u64| kind << 40);
    let variety = input.byte();
    let selector = u64::from(if mode.is_long() { CODE64 } else { CODE32 });
    let gate = |vector: u8| {
        let kind = kinds[usize::from(vector & variety) % if mode.is_long() { 2 } else { 6 }];
        let target = if kind == kinds[2] { 0x58 } else { selector };
        kind | target << 16 | HANDLERS & 0xffff
    };
    let halves = |vector| {
        let high = mode.is_long().then_some(0);
        std::iter::once(gate(vector)).chain(high)
    };
    write_all(memory, IDT, (0..=255).flat_map(halves));
}

fn write_tasks(memory: &GuestMemory) {
    // Stacks of the inner levels, and of the interrupt stack table.
    for offset in [4, 12, 20, 36, 44] {
        write(memory, TSS + offset, &STACK.to_le_bytes());
    }
    for (offset, value) in [
        (0x08, u32::from(DATA32)),
        (0x66, 0x0068),
        (0x200, 0x48),
        (0x204, 0x5000),
        (0x208, 0x10),
        (0x21c, 0x2_4000),
        (0x220, 0x8000),
        (0x224, 2),
        (0x238, 0x5000),
        (0x248, 0x10),
        (0x24c, 0x08),
        (0x250, 0x10),
        (0x254, 0x10),
        (0x258, 0x10),
        (0x25c, 0x10),
        (0x264, 1),
        (0x40e, 0x8000),
        (0x422, 0x0038_0010),
        (0x426, 0x0010_0040),
    ] {
        write(memory, TSS + offset, &value.to_le_bytes());
    }
}

/// The first 2 MiB page by page, then large pages: RAM again, devices, and the tables themselves.
fn write_page_tables(memory: &GuestMemory) {
    const FLAGS: u64 = 7;
    const LARGE: u64 = 0x80;
    const GLOBAL: u64 = 0x100;
    let pages = (0..512).map(|page| {
        let key = (page & 3) << 59;
        let global = if page & 4 != 0 { GLOBAL } else { 0 };
        page << 12 | FLAGS | key | global
    });
    write_all(memory, PT, pages);
    let directory = [
        PT | FLAGS,
        LARGE | FLAGS | GLOBAL,
        0xfee0_0000 | LARGE | FLAGS,
        PD | FLAGS,
        0x20_0000 | LARGE | FLAGS,
        LARGE | 3,
        LARGE | 5,
    ];
    write_all(memory, PD, directory.into_iter());
    let pointers =
        [PD, PD, LARGE, PDPT].map(|entry| entry | 1 | ((entry >> 12 != 0x21) as u64 * 6));
    // Entries of PAE paging have no writable and user bits; those of long mode do.
    write_all(memory, PDPT, pointers.into_iter());
    let roots = (0..512).map(|n| match n {
        0 | 256 | 511 => PDPT | FLAGS,
        1 => PML4 | FLAGS,
        _ => 0,
    });
    write_all(memory, PML4, roots);
    let narrow = |page: u32| (page << 12 | 7).to_le_bytes();
    let table: Vec<u8> = (0..1024).flat_map(narrow).collect();
    write(memory, NARROW_PT, &table);
    let roots = [NARROW_PT | 7, 0x87, 0xfec0_0087, NARROW_PD | 7, 0x1_0083];
    let roots = roots.map(|root: u64| u32::try_from(root).unwrap_or(0));
    let bytes: Vec<u8> = roots.iter().flat_map(|root| root.to_le_bytes()).collect();
    write(memory, NARROW_PD, &bytes);
}
