//! A guest's own page tables, read without touching them. KVM_TRANSLATE would set accessed bits.
//! Spec: Intel SDM Vol. 3, "Paging".

use kvm_bindings::kvm_sregs;
use memory::{Gla, Gpa, GuestMemory};
use vm_memory::{Bytes, GuestAddress};
use x86::register::{cr0, cr4, efer};

const PRESENT: u64 = 1 << 0;
const LARGE: u64 = 1 << 7;
/// Bits 51 to 12 of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// How one level of tables is walked.
struct Level {
    /// Lowest bit of the linear address that the level's index takes.
    shift: u32,
    index_bits: u32,
    /// An entry may map a page of its own.
    may_be_large: bool,
}

const fn level(shift: u32, index_bits: u32, may_be_large: bool) -> Level {
    Level {
        shift,
        index_bits,
        may_be_large,
    }
}

const FOUR_LEVELS: [Level; 5] = [
    level(48, 9, false),
    level(39, 9, false),
    level(30, 9, true),
    level(21, 9, true),
    level(12, 9, false),
];
const PAE: [Level; 3] = [level(30, 2, false), level(21, 9, true), level(12, 9, false)];

/// Where `address` is mapped.
pub(crate) fn translate(memory: &GuestMemory, sregs: &kvm_sregs, address: Gla) -> Option<Gpa> {
    if sregs.cr0 & cr0::PG == 0 {
        return Some(Gpa(address.0 & 0xffff_ffff));
    }
    if sregs.efer & efer::LMA != 0 {
        let levels = &FOUR_LEVELS[usize::from(sregs.cr4 & cr4::LA57 == 0)..];
        return walk(memory, sregs.cr3 & ADDRESS, levels, address.0);
    }
    if sregs.cr4 & cr4::PAE != 0 {
        return walk(
            memory,
            sregs.cr3 & 0xffff_ffe0,
            &PAE,
            address.0 & 0xffff_ffff,
        );
    }
    walk_32(memory, sregs, address.0 & 0xffff_ffff)
}

fn walk(memory: &GuestMemory, root: u64, levels: &[Level], address: u64) -> Option<Gpa> {
    let mut table = root;
    for (depth, level) in levels.iter().enumerate() {
        let index = (address >> level.shift) & ((1 << level.index_bits) - 1);
        let entry: u64 = memory
            .ram()
            .read_obj(GuestAddress(table.checked_add(index * 8)?))
            .ok()?;
        if entry & PRESENT == 0 {
            return None;
        }
        let last = depth + 1 == levels.len() || (level.may_be_large && entry & LARGE != 0);
        table = entry & ADDRESS;
        if last {
            let inside = (1 << level.shift) - 1;
            return Some(Gpa((table & !inside) | (address & inside)));
        }
    }
    None
}

/// Two levels of four-byte entries; a 4 MiB page has address bits 39 to 32 in bits 20 to 13.
fn walk_32(memory: &GuestMemory, sregs: &kvm_sregs, address: u64) -> Option<Gpa> {
    let entry = |table: u64, index: u64| {
        let at = GuestAddress(table.checked_add(index * 4)?);
        let entry: u32 = memory.ram().read_obj(at).ok()?;
        Some(u64::from(entry)).filter(|entry| entry & PRESENT != 0)
    };
    let directory = entry(sregs.cr3 & 0xffff_f000, address >> 22)?;
    if directory & LARGE != 0 && sregs.cr4 & cr4::PSE != 0 {
        let high = (directory >> 13 & 0xff) << 32;
        return Some(Gpa(high
            | (directory & 0xffc0_0000)
            | (address & 0x3f_ffff)));
    }
    let page = entry(directory & 0xffff_f000, (address >> 12) & 0x3ff)?;
    Some(Gpa((page & 0xffff_f000) | (address & 0xfff)))
}

#[cfg(test)]
mod tests;
