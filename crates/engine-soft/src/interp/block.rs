//! Decoded blocks and the cache that finds them by guest-physical address and code size.
//!
//! A block is a run of instructions inside one page (or one instruction that crosses into the
//! next), ended by a control transfer. It is alive while the generations of its pages are what they
//! were when it was decoded (see `memory::PageTracker`). The cache is direct-mapped and bounded; a
//! block that another displaces is decoded again when it comes back. Being keyed by physical
//! address, it survives every change of address space.

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

/// Slots of the cache: 2^16 blocks of at most [`MOST_OPS`] ops bound it to some 100 MiB, and a
/// kernel boot with 82 thousand blocks to about 20.
const SLOT_BITS: u32 = 16;
const MOST_OPS: usize = 32;
/// A block's bytes at most, and those of one instruction more.
const LONGEST_BLOCK: usize = (MOST_OPS + 1) * LONGEST_INSTRUCTION;

/// Guest-physical base of a block's second page, and that page if it is RAM.
type Second = (u64, Option<CodePage>);

#[derive(Debug)]
pub(crate) struct Block {
    key: u64,
    pub(crate) ops: Box<[Op]>,
    /// Length in bytes of all instructions.
    pub(crate) bytes: u32,
    /// `None` where code was fetched from outside RAM.
    first: Option<CodePage>,
    /// For an instruction that crosses a page: guest-physical base of the second page.
    second: Option<Second>,
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
    /// Where a block's ops are until it is known how many.
    ops: Vec<Op>,
    pub(crate) counters: BlockCounters,
}

impl BlockCache {
    pub(crate) fn new() -> BlockCache {
        let slots = (0..1usize << SLOT_BITS).map(|_| None).collect();
        BlockCache {
            slots,
            ops: Vec::with_capacity(MOST_OPS),
            counters: BlockCounters::default(),
        }
    }

    /// The block at the CPU's instruction pointer, decoded if need be.
    #[inline(always)]
    pub(crate) fn at_rip(&mut self, cpu: &mut Cpu) -> Result<&Block, Stop> {
        let gla = linear_rip(cpu);
        let page = fetched_page(cpu, gla)?;
        let gpa = page | gla & !PAGE_MASK;
        let key = gpa << 2 | cpu.code_size as u64;
        let slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize;
        if !self.is_usable(slot, key, cpu, gla)? {
            let decoded = decode(cpu, gla, gpa, &mut self.ops)?;
            self.counters.decoded += 1;
            self.counters.instructions += self.ops.len() as u64;
            keep(&mut self.slots[slot], key, decoded, &self.ops);
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
        let mapped = fetched_page(cpu, next)?;
        Ok(mapped == *gpa && page.as_ref().is_none_or(CodePage::is_current))
    }
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

/// Puts a block in its slot, in the memory of the one that was there where that fits.
fn keep(slot: &mut Option<Box<Block>>, key: u64, decoded: Decoded, ops: &[Op]) {
    let bytes = ops
        .last()
        .map_or(0, |op| u32::from(op.start) + u32::from(op.len));
    let Decoded { first, second } = decoded;
    let Some(old) = slot else {
        *slot = Some(Box::new(Block {
            key,
            ops: ops.into(),
            bytes,
            first,
            second,
        }));
        return;
    };
    if old.ops.len() == ops.len() {
        old.ops.copy_from_slice(ops);
    } else {
        old.ops = ops.into();
    }
    (old.key, old.bytes, old.first, old.second) = (key, bytes, first, second);
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
