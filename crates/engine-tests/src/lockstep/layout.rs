//! The guest that programs run in: where everything lies, and how it is mapped.
//!
//! System pages (tables, handlers and what these write) are mapped where they lie in RAM, for the
//! supervisor. Everything that programs use lies in one region of 2 MiB, which is mapped in the low
//! half, in the high half and in its last 2 GiB, so that code runs wherever kernels and processes
//! do; for 32-bit code in its last GiB. A large page maps all of RAM once more.

/// RAM from address 0, in bytes.
pub(crate) const RAM: u64 = 0x2_8000;
pub(crate) const PAGE: u64 = 0x1000;

pub(crate) const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
const PT_SYSTEM: u64 = 0x4000;
/// Maps the region: entry n is page n of it.
pub(crate) const PT: u64 = 0x5000;
pub(crate) const GDT: u64 = 0x6000;
pub(crate) const TSS: u64 = 0x6800;
pub(crate) const IDT: u64 = 0x7000;
/// Handlers push and log in these pages.
pub(crate) const HANDLER_STACK: u64 = 0x9000;
/// What interrupts at moments of the host's choosing write: never compared.
pub(crate) const INTERRUPT_PAGE: u64 = 0x9000;
pub(crate) const INTERRUPT_STACK: u64 = 0x9f00;
pub(crate) const DOUBLE_FAULT_STACK: u64 = 0xa800;
pub(crate) const LOG: u64 = 0xb000;
/// Where handlers count, and where they find how to go on.
pub(crate) const KEPT: u64 = 0xc000;
pub(crate) const HANDLERS: u64 = 0xd000;
const CODE_AT: u64 = 0x1_0000;
pub(crate) const CODE_PAGES: u64 = 4;
const DATA_AT: u64 = 0x1_4000;
const STACK_AT: u64 = 0x2_0000;

/// Offset of the region in each of its places.
pub(crate) const REGION: u64 = 0x40_0000;
/// Offset of the large page over all of RAM.
const LARGE: u64 = 0x60_0000;
/// Linear addresses that the region's offset is added to.
pub(crate) const PLACES_32: [u64; 2] = [0, 0xc000_0000];
pub(crate) const PLACES: [u64; 3] = [0, 0xffff_8000_0000_0000, 0xffff_ffff_8000_0000];
/// No RAM: accesses leave the engine.
const DEVICE: u64 = 0xd000_0000;

/// What a page of the region is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    ReadOnly,
    Absent,
    /// Not the program's: supervisor's for a user, user's for a supervisor.
    Foreign,
    Device,
    /// Becomes present when it is touched.
    Lazy,
    /// Becomes writable when it is written.
    CopyOnWrite,
    Code,
    /// Another page's RAM, writable.
    Alias,
    Stack,
}

/// Pages of the region from its start: kind and the RAM behind it.
pub(crate) const PAGES: [(Kind, u64); 32] = {
    let mut pages = [(Kind::Absent, 0); 32];
    let mut n = 0;
    while n < CODE_PAGES {
        pages[n as usize] = (Kind::Code, CODE_AT + n * PAGE);
        pages[8 + n as usize] = (Kind::Alias, CODE_AT + n * PAGE);
        n += 1;
    }
    let data = [
        Kind::Plain,
        Kind::Plain,
        Kind::Plain,
        Kind::ReadOnly,
        Kind::Plain,
        Kind::Absent,
        Kind::Foreign,
        Kind::Plain,
        Kind::Device,
        Kind::Device,
        Kind::Lazy,
        Kind::CopyOnWrite,
        Kind::Plain,
    ];
    let mut n = 0;
    let mut at = DATA_AT;
    while n < data.len() {
        let behind = match data[n] {
            Kind::Device => DEVICE + (n as u64) * PAGE,
            Kind::Absent => 0,
            _ => {
                at += PAGE;
                at - PAGE
            }
        };
        pages[14 + n] = (data[n], behind);
        n += 1;
    }
    pages[29] = (Kind::Stack, STACK_AT);
    pages[30] = (Kind::Stack, STACK_AT + PAGE);
    pages
};

/// Index of the first data page.
pub(crate) const FIRST_DATA: u64 = 14;
pub(crate) const DATA_PAGES: u64 = 13;
/// Offset of the stack's top in a place.
pub(crate) const STACK_TOP: u64 = REGION + 31 * PAGE;

/// Offset in a place of byte `at` of the RAM behind page `n`, by way of the large page.
pub(crate) fn through_large(n: u64, at: u64) -> u64 {
    LARGE + PAGES[n as usize].1 % RAM + at
}

/// What of the mapping a program chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) user: bool,
    /// Pages keep their TLB entries over loads of CR3.
    pub(crate) global: bool,
    /// Accessed and dirty bits are set before.
    pub(crate) used: bool,
}

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const USED: u64 = 0x60;
const GLOBAL: u64 = 0x100;
const NO_EXECUTE: u64 = 1 << 63;

/// Writes all page tables into `ram`.
pub(crate) fn write_tables(ram: &mut [u8], mapping: Mapping) {
    let link = PRESENT | WRITE | USER | USED;
    for slot in [0, 256, 511] {
        put(ram, PML4 + slot * 8, PDPT | link);
    }
    for slot in [0, 3, 510] {
        put(ram, PDPT + slot * 8, PD | link);
    }
    put(ram, PD, PT_SYSTEM | link);
    put(ram, PD + (REGION >> 21) * 8, PT | link);
    let own = if mapping.user { USER } else { 0 };
    let used = if mapping.used { USED } else { 0 };
    let large = 0x80 | PRESENT | WRITE | own | used | NO_EXECUTE;
    put(ram, PD + (LARGE >> 21) * 8, large);
    for page in 0..RAM / PAGE {
        // A program gone wild must not run page tables: what they become need not reach the TLB.
        let execute = page == HANDLERS / PAGE || page == HANDLERS / PAGE + 1;
        let execute = if execute { 0 } else { NO_EXECUTE };
        let entry = (page * PAGE) | PRESENT | WRITE | USED | execute;
        put(ram, PT_SYSTEM + page * 8, entry);
    }
    for (n, (kind, behind)) in PAGES.iter().enumerate() {
        let global = if mapping.global { GLOBAL } else { 0 };
        let base = behind | own | used | global;
        let entry = match kind {
            Kind::Plain | Kind::Device | Kind::Alias | Kind::Stack => {
                base | PRESENT | WRITE | NO_EXECUTE
            }
            Kind::ReadOnly | Kind::CopyOnWrite => base | PRESENT | NO_EXECUTE,
            Kind::Foreign => (base | PRESENT | WRITE | NO_EXECUTE) ^ USER,
            Kind::Code => base | PRESENT | WRITE,
            Kind::Lazy => base & !PRESENT,
            Kind::Absent => 0,
        };
        put(ram, PT + n as u64 * 8, entry);
    }
}

/// Stores 64 bits.
pub(crate) fn put(ram: &mut [u8], at: u64, value: u64) {
    let at = at as usize;
    ram[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Where in RAM byte `offset` of the code pages lies.
pub(crate) fn code_at(offset: u64) -> usize {
    (CODE_AT + offset) as usize
}

/// RAM of the data pages and the stack, for filling.
pub(crate) fn data_range() -> std::ops::Range<usize> {
    DATA_AT as usize..RAM as usize
}
