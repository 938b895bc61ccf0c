//! Where instruction bytes come from: linear addresses of code, the pages behind them, and whether
//! those still hold what was decoded.

use std::sync::Arc;

use iced_x86::{Code, DecoderError, Instruction};
use memory::{Lines, PageTracker};

use super::decode;
use super::op::Stop;
use crate::cpu::{CodeSize, Cpu};
use crate::mmu::walk::{Access, walk};
use crate::mmu::{FetchKind, PAGE_MASK};

pub(crate) const LONGEST_INSTRUCTION: usize = 15;

/// A page of RAM that code was decoded from, and its generation at that time.
#[derive(Debug)]
pub(crate) struct CodePage {
    /// Guest-physical.
    pub(crate) page: u64,
    tracker: Arc<PageTracker>,
    index: usize,
    pub(crate) generation: u32,
}

impl CodePage {
    /// Marks `lines` of the page at `gpa` as decoded from, before their bytes are read for the last
    /// time. `None` where there is no RAM.
    pub(crate) fn note(cpu: &mut Cpu, gpa: u64, lines: Lines) -> Option<CodePage> {
        let (tracker, index) = cpu.mmu.tracker(gpa)?;
        let tracker = Arc::clone(tracker);
        let generation = tracker.note_code(index, lines, &cpu.bell);
        cpu.mmu.drop_writes_to(gpa);
        Some(CodePage {
            page: gpa & PAGE_MASK,
            tracker,
            index,
            generation,
        })
    }

    /// The page at `gpa`, whose code was decoded when its generation was this one.
    pub(crate) fn of_generation(cpu: &Cpu, gpa: u64, generation: u32) -> Option<CodePage> {
        let (tracker, index) = cpu.mmu.tracker(gpa)?;
        Some(CodePage {
            page: gpa & PAGE_MASK,
            tracker: Arc::clone(tracker),
            index,
            generation,
        })
    }

    /// What code was decoded from, of this generation.
    pub(crate) fn lines(&self) -> Lines {
        self.tracker.code_lines(self.index)
    }

    /// Is all code that was decoded from it then alive?
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.tracker.generation(self.index) == Some(self.generation)
    }
}

/// Linear address of the next instruction.
pub(crate) fn linear_rip(cpu: &Cpu) -> u64 {
    if cpu.code_size == CodeSize::Bits64 {
        return cpu.rip;
    }
    cpu.segment_bases[1].wrapping_add(cpu.rip) & 0xffff_ffff
}

pub(crate) fn next_page(cpu: &Cpu, gla: u64) -> u64 {
    let next = (gla & PAGE_MASK).wrapping_add(0x1000);
    if cpu.code_size == CodeSize::Bits64 {
        next
    } else {
        next & 0xffff_ffff
    }
}

/// Guest-physical page that instruction bytes at `gla` come from.
///
/// # Errors
/// When they cannot be fetched; the exception is the guest's.
#[inline]
pub(crate) fn fetched_page(cpu: &mut Cpu, gla: u64) -> Result<u64, Stop> {
    match cpu.mmu.fetch_page(gla) {
        Some(page) => Ok(page),
        None => fetch_translate(cpu, gla),
    }
}

/// Fills the fetch TLB for `gla`; answers its guest-physical page.
#[cold]
fn fetch_translate(cpu: &mut Cpu, gla: u64) -> Result<u64, Stop> {
    if !Cpu::canonical(gla) {
        return cpu.gp(0);
    }
    let access = Access {
        write: false,
        fetch: true,
        user: cpu.cpl == 3,
        open: false,
    };
    match walk(cpu, gla, access) {
        Ok(mapping) => {
            let kind = FetchKind {
                global: mapping.is_global(),
                large: mapping.is_large() || mapping.is_huge(),
            };
            if kind.large {
                cpu.mmu.note_large(gla, mapping.is_huge());
            }
            cpu.mmu.fill_fetch(gla, mapping.gpa(), kind);
            Ok(mapping.gpa())
        }
        Err(exception) => cpu.raise(exception),
    }
}

/// Does even the first instruction need bytes of the next page?
pub(crate) fn needs_more(bytes: &[u8], code: CodeSize) -> bool {
    if bytes.len() >= LONGEST_INSTRUCTION {
        return false;
    }
    let mut decoder = decode::decoder(bytes, code);
    let mut insn = Instruction::default();
    decoder.decode_out(&mut insn);
    insn.code() == Code::INVALID && decoder.last_error() == DecoderError::NoMoreBytes
}
