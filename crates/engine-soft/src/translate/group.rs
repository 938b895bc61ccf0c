//! Accesses that share one check: several at constant distances from one address.
//!
//! A stack frame, the fields of a structure, the words of a number: most accesses of a unit lie close
//! to others whose address comes from the same registers; so do the elements of an array that a loop
//! reads and writes in one step. Such a group is looked up in the TLB once,
//! for the whole range; its members then go straight to the host's memory. Where the range has no such
//! entry, or crosses a page, a plain unit ([`super::unit::Kind`]) runs instead.
//!
//! Several groups may be open at a time; the one that is worth most has its pointer in a register.
//!
//! A check inside a chain of additions with carry has to save the flags and to load them again, for which the
//! chain waits. So groups of accesses in a chain are opened before it begins, even those of one access.

use iced_x86::Instruction;

use super::accesses::{Near, Range, Seen};
use super::emitter::Way;
use super::reached::Place;
use super::registers::Number;

/// A group as the instruction before which it is opened sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    /// Index of that instruction.
    pub(super) begin: usize,
    /// An instruction whose memory operand is the group's first byte, as registers are there.
    pub(super) address: Instruction,
    pub(super) len: u32,
    /// What the first byte's address must be a multiple of.
    pub(super) align: u32,
    pub(super) way: Way,
    /// Index of the instruction with the last access.
    last: usize,
    pub(super) place: Place,
    /// The register that addresses come from, where that is all: the pointer is that of where it points.
    pub(super) base: Option<Number>,
}

/// Groups in the order in which they are opened.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    /// Index of the group that an instruction's access is a member of, and its distance from the first byte, or from
    /// where its base pointed.
    pub(super) members: Vec<Option<(usize, i64)>>,
}

/// A group, and its members: their instructions, and their distances from its origin.
struct Found {
    group: Group,
    members: Vec<(usize, i64)>,
    from: i64,
}

impl Plan {
    pub(super) fn new(seen: &[Seen]) -> Plan {
        let mut taken = vec![false; seen.len()];
        let mut found: Vec<Found> = Vec::new();
        for first in 0..seen.len() {
            if !taken[first]
                && let Some(group) = group_at(seen, first, &taken)
            {
                for (index, _) in &group.members {
                    taken[*index] = true;
                }
                found.push(group);
            }
        }
        give_places(&mut found);
        found.sort_by_key(|one| one.group.begin);
        let mut members = vec![None; seen.len()];
        for (number, one) in found.iter().enumerate() {
            for (index, at) in &one.members {
                let pointer = one.group.base.map_or(one.from, |_| 0);
                members[*index] = Some((number, at - pointer));
            }
        }
        Plan {
            groups: found.into_iter().map(|one| one.group).collect(),
            members,
        }
    }
}

/// Those with most members choose first; what is left without a place is no group.
fn give_places(found: &mut Vec<Found>) {
    found.sort_by_key(|one| std::cmp::Reverse(one.members.len()));
    let mut placed: Vec<Group> = Vec::with_capacity(found.len());
    found.retain_mut(|one| {
        let group = &mut one.group;
        let meets = |other: &Group| other.begin <= group.last && group.begin <= other.last;
        let is_free = |place: &Place| {
            let mut others = placed.iter();
            !others.any(|other| other.place == *place && meets(other))
        };
        let Some(place) = Place::all().find(is_free) else {
            return false;
        };
        group.place = place;
        placed.push(*group);
        true
    });
}

/// The group of the access at `first` with those that follow and are not taken.
fn group_at(seen: &[Seen], first: usize, taken: &[bool]) -> Option<Found> {
    let near = seen.get(first)?.near.as_ref()?;
    let begin = before_chain(seen, first, near);
    let registers = near.origin.registers();
    let (mut moved, mut way) = (0, Way::Read);
    let mut range: Option<Range> = None;
    let mut members: Vec<(usize, i64)> = Vec::new();
    for (index, one) in seen.iter().enumerate().skip(begin) {
        if one.barrier {
            break;
        }
        if index >= first
            && !taken[index]
            && let Some(access) = one.near.filter(|access| access.origin == near.origin)
        {
            let at = moved + access.disp;
            if let Some(wider) = range.unwrap_or(Range::at(at)).with(at, &access) {
                range = Some(wider);
                members.push((index, at));
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
    let (range, last) = (range?, members.last()?.0);
    if members.len() < 2 && begin == first {
        return None;
    }
    let mut address = near.insn;
    address.set_memory_displacement64(range.from as u64);
    let group = Group {
        begin,
        address,
        len: (range.to - range.from) as u32,
        align: range.align,
        way,
        last,
        place: Place::Register,
        base: near.origin.only_base(),
    };
    Some(Found {
        group,
        members,
        from: range.from,
    })
}

/// Where to open a group whose first access is at `first`: there, or where flags are not waited for yet.
fn before_chain(seen: &[Seen], first: usize, near: &Near) -> usize {
    let next = seen[first..]
        .iter()
        .find(|one| one.barrier || one.carries || one.replaces_flags);
    if !next.is_some_and(|one| one.carries && !one.barrier) {
        return first;
    }
    let registers = near.origin.registers();
    let mut begin = first;
    for (index, one) in seen[..first].iter().enumerate().rev() {
        if one.barrier || one.loses & registers != 0 {
            return first;
        }
        begin = index;
        if one.replaces_flags {
            break;
        }
    }
    begin
}
