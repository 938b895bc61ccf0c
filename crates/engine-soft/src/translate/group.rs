//! Accesses that share one check: several at constant distances from one address.
//!
//! A stack frame, the fields of a structure, the words of a number: most accesses of a unit lie close
//! to others whose address comes from the same registers; so do the elements of an array that a loop
//! reads and writes in one step. Such a group is looked up in the TLB once,
//! for the whole range; its members then go straight to the host's memory. Where the range has no such
//! entry, or crosses a page, a plain unit ([`super::unit::Kind`]) runs instead.

use iced_x86::Instruction;

use super::accesses::{Origin, Range, Seen};
use super::emitter::Way;

/// A group as the instruction with its first access sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    /// An instruction whose memory operand is the group's first byte, as registers are at the group's
    /// beginning.
    pub(super) address: Instruction,
    pub(super) len: u32,
    /// What the first byte's address must be a multiple of.
    pub(super) align: u32,
    pub(super) way: Way,
    /// Index of the instruction with the last access.
    pub(super) last: usize,
}

/// What grouping knows of each instruction of a unit.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Groups that begin at an instruction.
    pub(super) begins: Vec<Option<Group>>,
    /// The member's distance from its group's first byte.
    pub(super) members: Vec<Option<u32>>,
}

impl Plan {
    pub(super) fn new(seen: &[Seen]) -> Plan {
        let mut plan = Plan {
            begins: vec![None; seen.len()],
            members: vec![None; seen.len()],
        };
        let mut first = 0;
        while first < seen.len() {
            match best(seen, first) {
                Some((group, members)) => {
                    for (index, offset) in members {
                        plan.members[index] = Some(offset);
                    }
                    plan.begins[first] = Some(group);
                    first = group.last + 1;
                }
                None => first += 1,
            }
        }
        plan
    }
}

type Members = Vec<(usize, u32)>;

/// The group that begins at `first`, unless a larger one begins inside it.
fn best(seen: &[Seen], first: usize) -> Option<(Group, Members)> {
    let (group, members) = group_at(seen, first, seen.len())?;
    for inside in first + 1..group.last {
        let rival = group_at(seen, inside, seen.len());
        if let Some((other, of_other)) = rival
            && Origin::of(&other.address) != Origin::of(&group.address)
            && of_other.len() > members.len()
        {
            return group_at(seen, first, inside);
        }
    }
    Some((group, members))
}

/// The group of the access at `first` with those that follow before `end`.
fn group_at(seen: &[Seen], first: usize, end: usize) -> Option<(Group, Members)> {
    let near = seen.get(first)?.near?;
    let mut range = Range::at(near.disp);
    let (mut moved, mut way) = (0, Way::Read);
    let registers = near.origin.registers();
    let mut found: Vec<(usize, i64)> = Vec::new();
    for (index, one) in seen.iter().enumerate().take(end).skip(first) {
        if one.barrier {
            break;
        }
        if let Some(access) = one.near.filter(|access| access.origin == near.origin) {
            let at = moved + access.disp;
            if let Some(wider) = range.with(at, &access) {
                range = wider;
                found.push((index, at));
                if access.way == Way::Write {
                    way = Way::Write;
                }
            }
        }
        if let Some((register, by)) = one.moves
            && let Some(each) = near.origin.moved_by(register)
        {
            moved += by * each;
        }
        if one.loses & registers != 0 {
            break;
        }
    }
    let last = found.last()?.0;
    if found.len() < 2 {
        return None;
    }
    let members = found
        .into_iter()
        .map(|(index, at)| (index, (at - range.from) as u32))
        .collect();
    let mut address = near.insn;
    address.set_memory_displacement64(range.from as u64);
    let group = Group {
        address,
        len: (range.to - range.from) as u32,
        align: range.align,
        way,
        last,
    };
    Some((group, members))
}
