//! Loops whose addresses move evenly: what to look up once for many rounds.
//!
//! A loop is a unit that jumps back to its own start. An address check in it, shared or not, costs more than most of
//! what a round does; yet the addresses of a round differ from those of the one before by constants,
//! *strides*, and most stay in their page for long. Accesses from one origin are a *stream*. Before the loop
//! goes round, each stream's page is looked up, and the number of rounds that all of them stay in their pages is
//! counted; so many rounds then run without a check, and with one comparison each. They are written in
//! [`super::streams`]. What moves by something that is not constant is checked as everywhere.

use iced_x86::Instruction;

use super::accesses::{Near, Range, Seen};
use super::emitter::Way;
use super::reached::SLOTS;
use super::registers::{Number, number};
use crate::cpu::CodeSize;

/// Streams of a loop at most.
const STREAMS: usize = SLOTS + 1;
/// A stream that moves faster leaves its page too soon.
const FASTEST: u64 = 512;

const REGISTERS: usize = 16;

#[derive(Debug)]
pub(super) struct Loop {
    /// Index of the instruction that goes back.
    pub(super) last: usize,
    pub(super) streams: Vec<Stream>,
    /// The access of an instruction, if it is one of a stream's.
    pub(super) members: Vec<Option<Member>>,
    /// A register that tells rounds apart, and how far it moves in each.
    pub(super) counter: Option<(Number, i64)>,
}

/// Accesses that move together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// An instruction whose memory operand is the first byte, as registers are when a round begins.
    pub(super) address: Instruction,
    /// That byte's distance from its origin.
    pub(super) from: i64,
    pub(super) len: u32,
    /// What its address must be a multiple of.
    pub(super) align: u32,
    pub(super) way: Way,
    /// Bytes that it moves in each round.
    pub(super) stride: i64,
    /// The register that it moves with, and by how much for one of it.
    pub(super) follows: Option<(Number, u32)>,
}

/// An access as its stream's pointer sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// Index of the stream.
    pub(super) stream: usize,
    /// Bytes from the pointer, beside what the stream follows.
    pub(super) disp: i64,
}

/// A stream that is being found.
struct Found {
    near: Near,
    range: Range,
    way: Way,
    stride: i64,
    follows: Option<(Number, u32)>,
    members: Vec<(usize, i64, i64)>,
}

/// How far registers have moved since something.
type Moved = [i64; REGISTERS];

impl Loop {
    /// The loop of a unit that goes back at instruction `last`. `None` where that is not worth its while.
    pub(super) fn of(seen: &[Seen], last: usize, code: CodeSize) -> Option<Loop> {
        let round = seen.get(..=last)?;
        // Elsewhere addresses wrap where registers do not.
        if code != CodeSize::Bits64 || round.iter().any(|one| one.barrier) {
            return None;
        }
        let (mut total, mut lost): (Moved, u16) = ([0; REGISTERS], 0);
        for one in round {
            if let Some((register, by)) = one.moves {
                total[usize::from(register)] += by;
            }
            lost |= one.loses;
        }
        let found = find(round, &total, lost);
        let mut members = vec![None; round.len()];
        let mut streams = Vec::with_capacity(found.len());
        for stream in found {
            for (index, at, beside) in &stream.members {
                let disp = if stream.follows.is_some() {
                    *beside
                } else {
                    at - stream.range.from
                };
                let number = streams.len();
                members[*index] = Some(Member {
                    stream: number,
                    disp,
                });
            }
            streams.push(stream.done());
        }
        let follows = streams.iter().find_map(|stream: &Stream| stream.follows);
        let counter = follows.map(|(register, _)| (register, total[usize::from(register)]));
        (!streams.is_empty()).then_some(Loop {
            last,
            streams,
            members,
            counter,
        })
    }
}

/// The streams of a round in which registers move by `total`, or get lost. Those with most accesses are first.
fn find(round: &[Seen], total: &Moved, lost: u16) -> Vec<Found> {
    let mut moved: Moved = [0; REGISTERS];
    let mut found: Vec<Found> = Vec::new();
    for (index, one) in round.iter().enumerate() {
        if let Some(near) = &one.near
            && near.origin.registers() & lost == 0
        {
            add(&mut found, index, near, total, &moved);
        }
        if let Some((register, by)) = one.moves {
            moved[usize::from(register)] += by;
        }
    }
    found.retain(Found::is_even);
    found.sort_by_key(|stream| std::cmp::Reverse(stream.members.len()));
    found.truncate(STREAMS);
    found
}

fn add(found: &mut Vec<Found>, index: usize, near: &Near, total: &Moved, moved: &Moved) {
    let origin = &near.origin;
    let registers = [(origin.base, 1), (origin.index, origin.scale)]
        .into_iter()
        .filter(|(register, _)| register.is_gpr())
        .map(|(register, scale)| (number(register), scale));
    let sum = |by: &Moved| -> i64 {
        let each = |(register, scale): (Number, u32)| by[usize::from(register)] * i64::from(scale);
        registers.clone().map(each).sum()
    };
    let mut moving = registers
        .clone()
        .filter(|(register, _)| total[usize::from(*register)] != 0);
    let follows = moving.next();
    if moving.next().is_some() {
        // A pointer can follow one register only.
        return;
    }
    let at = near.disp + sum(moved);
    let own = follows.map_or(0, |(register, scale)| {
        moved[usize::from(register)] * i64::from(scale)
    });
    let member = (index, at, at - own);
    for stream in found.iter_mut() {
        if stream.near.origin == near.origin
            && let Some(wider) = stream.range.with(at, near)
        {
            stream.range = wider;
            stream.members.push(member);
            if near.way == Way::Write {
                stream.way = Way::Write;
            }
            return;
        }
    }
    if let Some(range) = Range::at(at).with(at, near) {
        found.push(Found {
            near: *near,
            range,
            way: near.way,
            stride: sum(total),
            follows,
            members: vec![member],
        });
    }
}

impl Found {
    /// Does it move slowly, and keep the alignment that it needs?
    fn is_even(&self) -> bool {
        self.stride.unsigned_abs() <= FASTEST && self.stride % i64::from(self.range.align) == 0
    }

    fn done(&self) -> Stream {
        let mut address = self.near.insn;
        address.set_memory_displacement64(self.range.from as u64);
        Stream {
            address,
            from: self.range.from,
            len: (self.range.to - self.range.from) as u32,
            align: self.range.align,
            way: self.way,
            stride: self.stride,
            follows: self.follows,
        }
    }
}
