//! Decoded blocks and the cache that finds them by guest-physical address and code size.
//!
//! A block is a run of instructions inside one page (or one instruction that crosses into the
//! next), ended by a control transfer. It is alive while the code words of its pages are what they
//! were when it was decoded (see `memory::PageTracker`). The cache is direct-mapped and bounded; a
//! block that another displaces is decoded again when it comes back. Being keyed by physical
//! address, it survives every change of address space.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use iced_x86::{Code, DecoderError, Instruction};
use memory::PageTracker;

use super::decode::{self, Context};
use super::op::{Op, Stop};
use crate::cpu::{CodeSize, Cpu};
use crate::mmu::access_raw::fetch_bytes;
use crate::mmu::walk::{Access, walk};
use crate::mmu::{FetchKind, PAGE_MASK};

/// Slots of the cache: 2^16 blocks of at most [`MOST_OPS`] ops bound it to some 100 MiB, and a
/// kernel boot with 82 thousand blocks to about 20.
const SLOT_BITS: u32 = 16;
const MOST_OPS: usize = 32;
pub(crate) const LONGEST_INSTRUCTION: usize = 15;

/// A page that a block was decoded from, and its code word at that time.
#[derive(Debug)]
struct Page {
    tracker: Arc<PageTracker>,
    index: usize,
    word: u32,
}

impl Page {
    fn is_current(&self) -> bool {
        self.tracker
            .code_word(self.index)
            .is_some_and(|w| w.load(Ordering::Acquire) == self.word)
    }
}

#[derive(Debug)]
pub(crate) struct Block {
    key: u64,
    pub(crate) ops: Box<[Op]>,
    /// Length in bytes of all instructions.
    pub(crate) bytes: u32,
    /// `None` where code was fetched from outside RAM.
    first: Option<Page>,
    /// For an instruction that crosses a page: guest-physical base of the second page.
    second: Option<(u64, Option<Page>)>,
}

/// What the cache did, for people.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct BlockCounters {
    pub(crate) decoded: u64,
    pub(crate) instructions: u64,
}

#[derive(Debug)]
pub(crate) struct BlockCache {
    slots: Box<[Option<Box<Block>>]>,
    pub(crate) counters: BlockCounters,
}

impl BlockCache {
    pub(crate) fn new() -> BlockCache {
        let slots = (0..1usize << SLOT_BITS).map(|_| None).collect();
        BlockCache {
            slots,
            counters: BlockCounters::default(),
        }
    }

    /// The block at the CPU's instruction pointer, decoded if need be.
    #[inline(always)]
    pub(crate) fn at_rip(&mut self, cpu: &mut Cpu) -> Result<&Block, Stop> {
        let gla = linear_rip(cpu);
        let page = match cpu.mmu.fetch_page(gla) {
            Some(page) => page,
            None => fetch_translate(cpu, gla)?,
        };
        let gpa = page | gla & !PAGE_MASK;
        let key = gpa << 2 | cpu.code_size as u64;
        let slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize;
        if !self.is_usable(slot, key, cpu, gla)? {
            let block = decode_block(cpu, gla, gpa, key)?;
            self.counters.decoded += 1;
            self.counters.instructions += block.ops.len() as u64;
            self.slots[slot] = Some(Box::new(block));
        }
        match &self.slots[slot] {
            Some(block) => Ok(block),
            None => Err(Stop::Repeat),
        }
    }

    #[inline(always)]
    fn is_usable(&self, slot: usize, key: u64, cpu: &mut Cpu, gla: u64) -> Result<bool, Stop> {
        let Some(block) = &self.slots[slot] else {
            return Ok(false);
        };
        if block.key != key || block.first.as_ref().is_some_and(|page| !page.is_current()) {
            return Ok(false);
        }
        let Some((gpa, page)) = &block.second else {
            return Ok(true);
        };
        let next = next_page(cpu, gla);
        let mapped = match cpu.mmu.fetch_page(next) {
            Some(page) => page,
            None => fetch_translate(cpu, next)?,
        };
        Ok(mapped == *gpa && page.as_ref().is_none_or(Page::is_current))
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

/// Fills the fetch TLB for `gla`; answers its guest-physical page.
#[cold]
pub(crate) fn fetch_translate(cpu: &mut Cpu, gla: u64) -> Result<u64, Stop> {
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
            cpu.mmu.fill_fetch(gla, mapping.gpa(), kind);
            Ok(mapping.gpa())
        }
        Err(exception) => cpu.raise(exception),
    }
}

/// Marks the page at `gpa` as decoded from, before its bytes are read.
fn note(cpu: &mut Cpu, gpa: u64) -> Option<Page> {
    let (tracker, index) = cpu.mmu.tracker(gpa)?;
    let tracker = Arc::clone(tracker);
    let was_plain = tracker.is_plain(index);
    let word = tracker.note_code(index, &cpu.bell);
    if was_plain {
        cpu.mmu.drop_writes_to(gpa);
    }
    Some(Page {
        tracker,
        index,
        word,
    })
}

fn decode_block(cpu: &mut Cpu, gla: u64, gpa: u64, key: u64) -> Result<Block, Stop> {
    let first = note(cpu, gpa);
    let mut bytes = [0u8; 0x1000 + LONGEST_INSTRUCTION];
    let longest = MOST_OPS * LONGEST_INSTRUCTION;
    let mut have = fetch_bytes(cpu, gpa, &mut bytes[..longest.min(0x1000)]);
    let mut second = None;
    if needs_more(&bytes[..have], cpu.code_size) {
        let next = next_page(cpu, gla);
        let next_gpa = match cpu.mmu.fetch_page(next) {
            Some(page) => page,
            None => fetch_translate(cpu, next)?,
        };
        second = Some((next_gpa, note(cpu, next_gpa)));
        have += fetch_bytes(cpu, next_gpa, &mut bytes[have..have + LONGEST_INSTRUCTION]);
    }
    let context = Context::of(cpu);
    let ops = lower_all(&bytes[..have], context, second.is_some());
    let bytes = ops
        .last()
        .map_or(0, |op| u32::from(op.start) + u32::from(op.len));
    Ok(Block {
        key,
        ops,
        bytes,
        first,
        second,
    })
}

/// Does even the first instruction need bytes of the next page?
fn needs_more(bytes: &[u8], code: CodeSize) -> bool {
    if bytes.len() >= LONGEST_INSTRUCTION {
        return false;
    }
    let mut decoder = decode::decoder(bytes, code);
    let mut insn = Instruction::default();
    decoder.decode_out(&mut insn);
    insn.code() == Code::INVALID && decoder.last_error() == DecoderError::NoMoreBytes
}

fn lower_all(bytes: &[u8], context: Context, only_one: bool) -> Box<[Op]> {
    let most = if only_one { 1 } else { MOST_OPS };
    let mut decoder = decode::decoder(bytes, context.code);
    let mut insn = Instruction::default();
    let mut ops = Vec::with_capacity(8);
    while ops.len() < most && decoder.can_decode() {
        decoder.decode_out(&mut insn);
        let cut = decoder.last_error() == DecoderError::NoMoreBytes;
        if cut && !ops.is_empty() {
            break;
        }
        let lowered = decode::lower(&insn, context);
        ops.push(lowered.op);
        if lowered.ends_block {
            break;
        }
    }
    ops.into_boxed_slice()
}
