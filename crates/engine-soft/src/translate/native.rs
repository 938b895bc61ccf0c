//! What translated code finds in the vCPU beside its registers.

use std::any::Any;
use std::mem::offset_of;
use std::sync::Arc;

use engine::Whereabouts;
use x86::Segment;

use super::calls::Calls;
use super::crossings::Crossings;
use super::jumps_raw::{Entry as Jump, Jumps, Table};
use super::placed_raw::Placed;
use super::reached::SLOTS;
use super::x87_state::X87;
use crate::cpu::Cpu;
use crate::cpu::features::Features;
use crate::interp::op::Stop;
use crate::mmu::beside::Beside;
use crate::mmu::marks::Marks;
use crate::mmu::spaces::Spaces;
use crate::mmu::{self, Entry, Mmu, Way, second_raw};
use crate::msrs::Msrs;

/// MXCSR with every exception masked and nothing else set.
pub(super) const MXCSR_MASKED: u32 = 0x1f80;

/// Reads of so many bytes that cross into the next page may be done without a handler.
pub(super) const LONGEST_SPLIT: u32 = 32;
const CROSSING_BYTES: usize = 2 * LONGEST_SPLIT as usize;

/// Reached by translated code from the vCPU's address, which GS holds.
#[repr(C)]
pub(crate) struct Native {
    /// Linear address of the page that the running code is in.
    pub(crate) page_base: u64,
    /// The vCPU's own address.
    pub(crate) cpu: u64,
    /// Where to go after the registers are loaded.
    pub(crate) entry: u64,
    /// Target of an indirect call, while the return address is pushed.
    pub(crate) target: u64,
    /// Address of the bell's word.
    pub(crate) bell: u64,
    /// The `Site` or `Link` that translated code was left at.
    pub(crate) left_at: u64,
    /// The end of a page and the beginning of the next, for a read that crosses.
    pub(crate) crossing: [u8; CROSSING_BYTES],
    /// Guest vector registers and MXCSR are in the host's registers.
    pub(crate) vectors_loaded: u8,
    /// The host's MXCSR, and where the guest's goes on its way.
    pub(crate) host_mxcsr: u32,
    /// Of groups and streams: see `super::reached`.
    pub(crate) pointers: [u64; SLOTS],
    /// Rounds that a loop may go, and what the register that counts them is after those.
    pub(crate) rounds: u64,
    pub(crate) last_round: u64,
    pub(crate) x87: X87,
    pub(crate) jumps: Jumps,
    pub(crate) calls: Calls,
    /// Why the handler at `left_at` did not simply finish.
    pub(crate) stop: Option<Stop>,
    /// A panic of ours on its way past translated code.
    pub(crate) panic: Option<Box<dyn Any + Send>>,
    /// Counted by translated code: accesses that the first level of the TLB did not have, and those
    /// of them that the second did not have either.
    pub(crate) first_misses: u64,
    pub(crate) second_misses: u64,
    pub(crate) whereabouts: Arc<Whereabouts>,
    pub(crate) fast_calls: FastCalls,
    /// The function that runs the handler at a site.
    pub(crate) run_site: u64,
}

/// What SYSCALL and SYSRET load, when that is the same each time.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct FastCalls {
    /// Zero while it is not known; otherwise [`FastCalls::ready`] of the kernel's set.
    pub(crate) ready: u8,
    /// Flags that SYSCALL keeps, of those that are not status flags.
    pub(crate) kept: u64,
    /// CS and SS of the kernel, then of user mode.
    pub(crate) segments: [Segment; 4],
}

impl FastCalls {
    /// `set` is how the kernel's accesses begin.
    pub(crate) const fn ready(set: usize) -> u8 {
        set as u8 + 1
    }
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Native(page {:#x})", self.page_base)
    }
}

impl Native {
    pub(crate) fn new(bell: u64) -> Native {
        Native {
            page_base: 0,
            cpu: 0,
            entry: 0,
            target: 0,
            bell,
            left_at: 0,
            crossing: [0; CROSSING_BYTES],
            vectors_loaded: 0,
            host_mxcsr: MXCSR_MASKED,
            pointers: [0; SLOTS],
            rounds: 0,
            last_round: 0,
            x87: X87::new(),
            jumps: Jumps::new(),
            calls: Calls::default(),
            stop: None,
            panic: None,
            first_misses: 0,
            second_misses: 0,
            whereabouts: Arc::default(),
            fast_calls: FastCalls::default(),
            run_site: 0,
        }
    }
}

const NATIVE: usize = offset_of!(Cpu, native);

pub(super) const PAGE_BASE: u32 = (NATIVE + offset_of!(Native, page_base)) as u32;
pub(super) const RUN_SITE: u32 = (NATIVE + offset_of!(Native, run_site)) as u32;
pub(super) const CPU: u32 = (NATIVE + offset_of!(Native, cpu)) as u32;
pub(super) const ENTRY: u32 = (NATIVE + offset_of!(Native, entry)) as u32;
pub(super) const TARGET: u32 = (NATIVE + offset_of!(Native, target)) as u32;
pub(super) const BELL: u32 = (NATIVE + offset_of!(Native, bell)) as u32;
pub(super) const LEFT_AT: u32 = (NATIVE + offset_of!(Native, left_at)) as u32;
pub(super) const CROSSING: u32 = (NATIVE + offset_of!(Native, crossing)) as u32;
pub(super) const ROUNDS: u32 = (NATIVE + offset_of!(Native, rounds)) as u32;
pub(super) const LAST_ROUND: u32 = (NATIVE + offset_of!(Native, last_round)) as u32;
pub(super) const VECTORS_LOADED: u32 = (NATIVE + offset_of!(Native, vectors_loaded)) as u32;
pub(super) const HOST_MXCSR: u32 = (NATIVE + offset_of!(Native, host_mxcsr)) as u32;
pub(super) const FIRST_MISSES: u32 = (NATIVE + offset_of!(Native, first_misses)) as u32;
pub(super) const SECOND_MISSES: u32 = (NATIVE + offset_of!(Native, second_misses)) as u32;
pub(super) const RIP: u32 = offset_of!(Cpu, rip) as u32;
pub(super) const RFLAGS: u32 = offset_of!(Cpu, rflags) as u32;
pub(super) const ATTENTION: u32 = offset_of!(Cpu, attention) as u32;
pub(super) const STATUS: u32 = offset_of!(Cpu, status) as u32;
const GPR: u32 = offset_of!(Cpu, gpr) as u32;
const SEGMENT_BASES: u32 = offset_of!(Cpu, segment_bases) as u32;
pub(super) const OPEN_SEGMENTS: u32 = offset_of!(Cpu, open_segments) as u32;
pub(super) const CR4: u32 = offset_of!(Cpu, cr4) as u32;
pub(super) const PKRU: u32 = offset_of!(Cpu, pkru) as u32;
pub(super) const FEATURES: u32 = (offset_of!(Cpu, features) + offset_of!(Features, flags)) as u32;
pub(super) const CPL: u32 = offset_of!(Cpu, cpl) as u32;
pub(super) const LSTAR: u32 = msr(offset_of!(Msrs, lstar));
pub(super) const TSC_OFFSET: u32 = msr(offset_of!(Msrs, tsc_offset));
pub(super) const TSC_AUX: u32 = msr(offset_of!(Msrs, tsc_aux));
pub(super) const KERNEL_GS_BASE: u32 = msr(offset_of!(Msrs, kernel_gs_base));
/// Which TLB set data accesses use.
pub(super) const CURRENT_SET: u32 = (offset_of!(Cpu, mmu) + offset_of!(Mmu, current)) as u32;
pub(super) const FETCH_CURRENT: u32 =
    (offset_of!(Cpu, mmu) + offset_of!(Mmu, fetch_current)) as u32;
pub(super) const CR0: u32 = offset_of!(Cpu, cr0) as u32;
pub(super) const CR2: u32 = offset_of!(Cpu, cr2) as u32;
pub(super) const CR3: u32 = offset_of!(Cpu, cr3) as u32;
const TLB: usize = offset_of!(Cpu, mmu) + offset_of!(Mmu, entries);

/// A guest register's place in the register file.
pub(super) const fn gpr(number: u8) -> u32 {
    GPR + number as u32 * 8
}

/// Where a pointer is kept.
pub(super) const fn pointer(number: usize) -> u32 {
    (NATIVE + offset_of!(Native, pointers) + number * 8) as u32
}

/// Base of the segment with this index.
pub(super) const fn segment_base(index: u8) -> u32 {
    SEGMENT_BASES + index as u32 * 8
}

const fn msr(offset: usize) -> u32 {
    (offset_of!(Cpu, msrs) + offset) as u32
}

/// The segment register with this index.
pub(super) const fn segment(index: u8) -> u32 {
    (offset_of!(Cpu, segments) + index as usize * size_of::<Segment>()) as u32
}

const FAST: usize = NATIVE + offset_of!(Native, fast_calls);
pub(super) const FAST_READY: u32 = (FAST + offset_of!(FastCalls, ready)) as u32;
pub(super) const FAST_KEPT: u32 = (FAST + offset_of!(FastCalls, kept)) as u32;

/// CS (0) or SS (1) of privilege `level` as the two instructions load them.
pub(super) const fn fast_segment(level: u8, register: u32) -> u32 {
    let first = if level == 0 { 0 } else { 2 };
    let segments = FAST + offset_of!(FastCalls, segments);
    segments as u32 + (first + register) * size_of::<Segment>() as u32
}

/// Which mode the jump table of a set is filled for.
pub(super) const fn jump_mode(set: usize) -> u32 {
    let jumps = NATIVE + offset_of!(Native, jumps);
    (jumps + offset_of!(Jumps, modes) + set * size_of::<u16>()) as u32
}

/// Selector of the segment register with this index.
pub(super) const fn selector(index: u8) -> u32 {
    segment(index) + offset_of!(Segment, selector) as u32
}

/// Its base as it is saved, which [`segment_base`] repeats.
pub(super) const fn hidden_base(index: u8) -> u32 {
    segment(index) + offset_of!(Segment, base) as u32
}

/// Offset of the first entry in TLB set `set`.
pub(super) const fn first(way: Way, set: usize) -> u32 {
    (TLB + mmu::first(way, set) * size_of::<Entry>()) as u32
}

pub(super) const fn tlb_tag(way: Way, set: usize) -> u32 {
    first(way, set) + TAG_AT
}

pub(super) const fn tlb_distance(way: Way, set: usize) -> u32 {
    first(way, set) + DISTANCE_AT
}

/// The same in the second level.
pub(super) const fn second(way: Way, set: usize) -> u32 {
    (Placed::SECOND_AT + second_raw::first_at(way, set)) as u32
}

/// Where the first level's entries of a kind are marked: those of local or those of global pages. A bit for
/// each slot.
pub(super) const fn marks(way: Way, set: usize, global: bool) -> u32 {
    let marks = offset_of!(Cpu, mmu) + offset_of!(Mmu, marks);
    let which = if global {
        offset_of!(Marks, global)
    } else {
        offset_of!(Marks, local)
    };
    (marks + which + mmu::first(way, set) / 8) as u32
}

/// The number of the current address space.
pub(super) const SPACE: u32 =
    (offset_of!(Cpu, mmu) + offset_of!(Mmu, spaces) + offset_of!(Spaces, number)) as u32;

/// What hashes for the jump table of user mode begin with.
pub(super) const SALT: u32 = (NATIVE + offset_of!(Native, jumps) + offset_of!(Jumps, salt)) as u32;

/// Where a set of the entries for pages that hold code begins.
pub(super) const fn beside(set: usize) -> u32 {
    (offset_of!(Cpu, mmu) + offset_of!(Mmu, beside) + Beside::set_at(set)) as u32
}

/// Of the fields in an entry of the first level, and in one of the second.
pub(super) const TAG_AT: u32 = offset_of!(Entry, tag) as u32;
pub(super) const DISTANCE_AT: u32 = offset_of!(Entry, distance) as u32;
pub(super) const SECOND_TAG_AT: u32 = offset_of!(second_raw::Entry, tag) as u32;
pub(super) const SECOND_HOST_AT: u32 = offset_of!(second_raw::Entry, host) as u32;

/// The place of slot `slot` of the crossings.
pub(super) const fn crossing(slot: usize) -> u32 {
    let crossings = offset_of!(Native, jumps) + offset_of!(Jumps, crossings);
    (NATIVE + crossings + Crossings::offset(slot)) as u32
}

/// Offsets of the first entry's fields in jump table `set`.
pub(super) const fn jump_tag(set: usize) -> u32 {
    (Placed::TABLES_AT + set * size_of::<Table>() + offset_of!(Jump, tag)) as u32
}

pub(super) const fn jump_code(set: usize) -> u32 {
    (Placed::TABLES_AT + set * size_of::<Table>() + offset_of!(Jump, code)) as u32
}

/// The guest's vector registers and MXCSR.
pub(super) const fn vector(number: usize) -> u32 {
    (offset_of!(Cpu, fpu) + offset_of!(x86::Fpu, ymm) + number * 32) as u32
}

pub(super) const MXCSR: u32 = (offset_of!(Cpu, fpu) + offset_of!(x86::Fpu, mxcsr)) as u32;

/// A field of the x87 state's beside `Cpu::fpu`.
pub(super) const fn x87(offset: usize) -> u32 {
    (NATIVE + offset_of!(Native, x87) + offset) as u32
}

/// A field of `Cpu::fpu`.
pub(super) const fn fpu(offset: usize) -> u32 {
    (offset_of!(Cpu, fpu) + offset) as u32
}
