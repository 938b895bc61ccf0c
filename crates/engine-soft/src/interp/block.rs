//! Decoded blocks and the cache that finds them by guest-physical address and code size.
//!
//! A block is a run of instructions inside one page (or one instruction that crosses into the
//! next), ended by a control transfer. It is alive while the generations of its pages are what they
//! were when it was decoded (see `memory::PageTracker`). The cache is direct-mapped and bounded; a
//! block that another displaces is decoded again when it comes back. Being keyed by physical
//! address, it survives every change of address space.
//!
//! The ops of all blocks lie in one vector, one behind the other as they were first met: memory of its
//! own for each cost more than decoding it. What a larger block leaves unused there is had again
//! when the vector is full, and all blocks are forgotten.

use iced_x86::{DecoderError, Instruction};
use memory::Lines;

use super::decode::{self, Context};
use super::fetch::{
    CodePage, LONGEST_INSTRUCTION, fetched_page, linear_rip, needs_more, next_page,
};
use super::op::{Op, Stop};
use crate::cpu::Cpu;
use crate::mmu::PAGE_MASK;
use crate::mmu::access_raw::fetch_bytes;
use crate::translate::mode::Mode;

/// Slots of the cache: a kernel boot has 82 thousand blocks.
const SLOT_BITS: u32 = 16;
const MOST_OPS: usize = 32;
/// Ops of all blocks at most, 48 bytes each.
const MOST_KEPT: usize = 1 << 20;
/// A block's bytes at most, and those of one instruction more.
const LONGEST_BLOCK: usize = (MOST_OPS + 1) * LONGEST_INSTRUCTION;

/// Guest-physical base of a block's second page, and that page if it is RAM.
type Second = (u64, Option<CodePage>);

#[derive(Debug)]
struct Block {
    key: u64,
    /// Where its ops are, how many, and for how many there is room.
    first: u32,
    count: u16,
    room: u16,
    /// Length in bytes of all instructions.
    bytes: u32,
    /// How often it was asked after, as far as anybody wants to know.
    runs: u8,
    /// What a translation of it would take for granted, where there can be one.
    mode: Option<Mode>,
    /// `None` where code was fetched from outside RAM.
    page: Option<CodePage>,
    /// For an instruction that crosses a page: guest-physical base of the second page.
    second: Option<Box<Second>>,
}

/// A block to run.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) ops: &'a [Op],
    /// Length in bytes of all instructions.
    pub(crate) bytes: u32,
}

/// How often a block ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heat {
    /// There is none that can be seen at once.
    Unknown,
    Cold,
    Warm,
}

/// What the cache did, for people.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct BlockCounters {
    pub(crate) decoded: u64,
    pub(crate) instructions: u64,
}

#[derive(Debug)]
pub(crate) struct BlockCache {
    /// One more than the number of the slot's block, or zero.
    slots: Box<[u32]>,
    blocks: Vec<Block>,
    ops: Vec<Op>,
    /// Where a block's ops are until it is known how many.
    decoded: Vec<Op>,
    pub(crate) counters: BlockCounters,
}

impl BlockCache {
    pub(crate) fn new() -> BlockCache {
        BlockCache {
            slots: vec![0; 1 << SLOT_BITS].into_boxed_slice(),
            blocks: Vec::new(),
            ops: Vec::new(),
            decoded: Vec::with_capacity(MOST_OPS),
            counters: BlockCounters::default(),
        }
    }

    /// The block at the CPU's instruction pointer, decoded if need be.
    #[inline(always)]
    pub(crate) fn at_rip(&mut self, cpu: &mut Cpu) -> Result<Found<'_>, Stop> {
        let gla = linear_rip(cpu);
        let page = fetched_page(cpu, gla)?;
        let gpa = page | gla & !PAGE_MASK;
        let (key, slot) = place(gpa, cpu);
        if !self.is_usable(slot, key, cpu, gla)? {
            self.decode(slot, key, cpu, gla, gpa)?;
        }
        let block = self.block(slot).ok_or(Stop::Repeat)?;
        let (first, count) = (block.first as usize, usize::from(block.count));
        Ok(Found {
            ops: self.ops.get(first..first + count).ok_or(Stop::Repeat)?,
            bytes: block.bytes,
        })
    }

    /// Has the block at the CPU's instruction pointer been asked after as often as `warm` says, with
    /// this time?
    #[inline(always)]
    pub(crate) fn heat(&mut self, cpu: &mut Cpu, warm: u8) -> Heat {
        let gla = linear_rip(cpu);
        let Some(page) = cpu.mmu.fetch_page(gla) else {
            return Heat::Unknown;
        };
        let (key, slot) = place(page | gla & !PAGE_MASK, cpu);
        let number = self.slots[slot].wrapping_sub(1) as usize;
        let Some(block) = self.blocks.get_mut(number) else {
            return Heat::Unknown;
        };
        let alive = block.page.as_ref().is_some_and(CodePage::is_current);
        if block.key != key || !alive || block.second.is_some() {
            return Heat::Unknown;
        }
        block.runs = block.runs.saturating_add(1);
        if block.runs < warm {
            Heat::Cold
        } else {
            Heat::Warm
        }
    }

    #[inline(always)]
    fn block(&self, slot: usize) -> Option<&Block> {
        let number = self.slots[slot].checked_sub(1)?;
        self.blocks.get(number as usize)
    }

    #[inline(always)]
    fn is_usable(&self, slot: usize, key: u64, cpu: &mut Cpu, gla: u64) -> Result<bool, Stop> {
        let Some(block) = self.block(slot) else {
            return Ok(false);
        };
        if block.key != key || !is_same(block.page.as_ref(), key >> 2, cpu) {
            return Ok(false);
        }
        let Some((gpa, page)) = block.second.as_deref() else {
            return Ok(true);
        };
        let next = next_page(cpu, gla);
        let mapped = fetched_page(cpu, next)?;
        Ok(mapped == *gpa && is_same(page.as_ref(), mapped, cpu))
    }

    fn decode(
        &mut self,
        slot: usize,
        key: u64,
        cpu: &mut Cpu,
        gla: u64,
        gpa: u64,
    ) -> Result<(), Stop> {
        let decoded = decode(cpu, gla, gpa, &mut self.decoded)?;
        self.counters.decoded += 1;
        self.counters.instructions += self.decoded.len() as u64;
        self.keep(slot, key, decoded, Mode::of(cpu));
        Ok(())
    }

    /// Puts the block that was just decoded in its slot, in the room of the one that was there where
    /// that is enough.
    fn keep(&mut self, slot: usize, key: u64, decoded: Decoded, mode: Option<Mode>) {
        let count = self.decoded.len();
        let ends = |op: &Op| u32::from(op.start) + u32::from(op.len);
        let mut block = Block {
            key,
            first: 0,
            // At most 32.
            count: count as u16,
            room: count as u16,
            bytes: self.decoded.last().map_or(0, ends),
            // It is about to.
            runs: 1,
            mode,
            page: decoded.first,
            second: decoded.second.map(Box::new),
        };
        let enough = |old: &&mut Block| old.room >= block.count;
        let number = self.slots[slot].wrapping_sub(1) as usize;
        if let Some(old) = self.blocks.get_mut(number).filter(enough) {
            (block.first, block.room) = (old.first, old.room);
            let first = block.first as usize;
            self.ops[first..first + count].copy_from_slice(&self.decoded);
            *old = block;
            return;
        }
        if self.ops.len() + count > MOST_KEPT {
            self.clear();
        }
        block.first = self.ops.len() as u32;
        self.ops.extend_from_slice(&self.decoded);
        match self.blocks.get_mut(number) {
            Some(old) => *old = block,
            None => {
                self.blocks.push(block);
                self.slots[slot] = self.blocks.len() as u32;
            }
        }
    }

    /// Where blocks are that can be translated as they are, and in which mode they ran.
    pub(crate) fn translatable(&self) -> Vec<(u64, Mode)> {
        let alive = |page: &Option<CodePage>| page.as_ref().is_some_and(CodePage::is_current);
        let blocks = self.blocks.iter();
        let whole = blocks.filter(|block| block.second.is_none() && alive(&block.page));
        whole
            .filter_map(|block| Some((block.key >> 2, block.mode?)))
            .collect()
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.blocks.clear();
        self.ops.clear();
    }
}

/// Is at `gpa` what was there when a block was decoded: the same code, or still no RAM?
#[inline(always)]
fn is_same(page: Option<&CodePage>, gpa: u64, cpu: &Cpu) -> bool {
    match page {
        Some(page) => page.is_current(),
        None => cpu.mmu.tracker(gpa).is_none(),
    }
}

/// The key of a block at `gpa`, and its slot. Those of neighbours are neighbours, so that the host's cache
/// has them when it has one.
#[inline(always)]
fn place(gpa: u64, cpu: &Cpu) -> (u64, usize) {
    let key = gpa << 2 | cpu.code_size as u64;
    let page = (gpa >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS);
    (key, (page ^ (gpa & !PAGE_MASK) >> 1) as usize)
}

/// Bytes to decode from, and where the second half of an instruction that crosses into the next page is.
struct Source {
    bytes: [u8; LONGEST_BLOCK],
    have: usize,
    /// How many of them are the first page's.
    here: usize,
    second: Option<u64>,
}

impl Source {
    fn read(cpu: &mut Cpu, gla: u64, gpa: u64) -> Result<Source, Stop> {
        let mut bytes = [0u8; LONGEST_BLOCK];
        let here = fetch_bytes(cpu, gpa, &mut bytes);
        let mut source = Source {
            bytes,
            have: here,
            here,
            second: None,
        };
        if needs_more(&source.bytes[..here], cpu.code_size) {
            let next = next_page(cpu, gla);
            let next_gpa = fetched_page(cpu, next)?;
            source.second = Some(next_gpa);
            let more = &mut source.bytes[here..here + LONGEST_INSTRUCTION];
            source.have += fetch_bytes(cpu, next_gpa, more);
        }
        Ok(source)
    }

    /// Lowers into `ops`, and answers on how many bytes they depend.
    fn lower(&self, context: Context, ops: &mut Vec<Op>) -> usize {
        let only_one = self.second.is_some();
        lower_all(&self.bytes[..self.have], context, only_one, ops)
    }

    /// Marks the first `len` bytes' lines as decoded from.
    fn note(&self, cpu: &mut Cpu, gpa: u64, len: usize) -> (Option<CodePage>, Option<Second>) {
        let first = CodePage::note(cpu, gpa, Lines::of(gpa, len.min(self.here) as u64));
        let second = self.second.map(|next| {
            let rest = len.saturating_sub(self.here) as u64;
            (next, CodePage::note(cpu, next, Lines::of(next, rest)))
        });
        (first, second)
    }

    /// Have the first `len` bytes, or the mapping of the second page, changed since?
    fn has_changed(&self, cpu: &Cpu, gpa: u64, len: usize) -> bool {
        let mut now = [0; LONGEST_BLOCK];
        let here = fetch_bytes(cpu, gpa, &mut now[..len.min(self.here)]);
        if let Some(next) = self.second.filter(|_| len > here) {
            fetch_bytes(cpu, next, &mut now[here..len]);
        }
        now[..len] != self.bytes[..len]
    }
}

/// What a block was decoded from.
struct Decoded {
    first: Option<CodePage>,
    second: Option<Second>,
}

/// Decodes the block at `gla` into `ops`.
fn decode(cpu: &mut Cpu, gla: u64, gpa: u64, ops: &mut Vec<Op>) -> Result<Decoded, Stop> {
    const TRIES: u32 = 8;
    let context = Context::of(cpu);
    let mut tries = 0;
    loop {
        let source = Source::read(cpu, gla, gpa)?;
        let depends_on = source.lower(context, ops);
        // Which lines these are is known only now, and what was written meanwhile was not told.
        let (mut first, second) = source.note(cpu, gpa, depends_on);
        let changed = source.has_changed(cpu, gpa, depends_on);
        tries += 1;
        if changed && tries < TRIES {
            continue;
        }
        if let Some(page) = first.as_mut().filter(|_| changed) {
            // Good for this once.
            page.generation = page.generation.wrapping_sub(1);
        }
        return Ok(Decoded { first, second });
    }
}

fn lower_all(bytes: &[u8], context: Context, only_one: bool, ops: &mut Vec<Op>) -> usize {
    let most = if only_one { 1 } else { MOST_OPS };
    let mut decoder = decode::decoder(bytes, context.code);
    let mut insn = Instruction::default();
    ops.clear();
    let mut end = 0;
    while ops.len() < most && decoder.can_decode() {
        decoder.decode_out(&mut insn);
        let cut = decoder.last_error() == DecoderError::NoMoreBytes;
        if cut && !ops.is_empty() {
            break;
        }
        end = insn.ip() as usize + decode::depends_on(&insn);
        ops.push(Op::NONE);
        let Some(op) = ops.last_mut() else { break };
        if decode::lower_into(&insn, context, op) {
            break;
        }
    }
    end.min(bytes.len())
}

#[cfg(test)]
mod tests;
