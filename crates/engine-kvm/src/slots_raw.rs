//! Guest RAM and ROM as KVM's memory slots, and their dirty logs.
//!
//! Firmware makes parts of the first megabyte RAM or ROM, so a slot is a piece of one kind. What changes
//! is taken out and put in again: a vCPU that looks between the two finds no memory, as with a chipset
//! whose register is written while another processor reads through it.
//! Spec: Linux Documentation/virt/kvm/api.rst, "KVM_SET_USER_MEMORY_REGION", "KVM_GET_DIRTY_LOG".

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use engine::EngineError;
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use memory::{Gpa, GuestMemory, Lines, PAGE_SIZE, PageKind, RamRange};

use crate::host;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    range: RamRange,
    read_only: bool,
    log: bool,
}

/// The slots that the kernel has, by number.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<BTreeMap<u32, Slot>>);

impl Slots {
    /// Tells the kernel where all memory is now, and whether it logs writes; without an answer to that, as
    /// before.
    pub(crate) fn map(
        &self,
        fd: &VmFd,
        memory: &GuestMemory,
        log: Option<bool>,
    ) -> Result<(), EngineError> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = log.unwrap_or_else(|| slots.values().any(|slot| slot.log));
        let pieces = memory.kinds().into_iter();
        let visible = pieces.filter(|(_, kind)| *kind != PageKind::Hidden);
        let wanted: Vec<Slot> = visible
            .map(|(range, kind)| Slot {
                range,
                read_only: kind == PageKind::Rom,
                log,
            })
            .collect();
        // A slot's flags may change while it is in use, but not whether it can be written.
        let stays = |slot: &Slot| {
            wanted
                .iter()
                .any(|other| (other.range, other.read_only) == (slot.range, slot.read_only))
        };
        let gone: Vec<u32> = slots
            .iter()
            .filter(|(_, slot)| !stays(slot))
            .map(|(n, _)| *n)
            .collect();
        for number in gone {
            if let Some(slot) = slots.remove(&number) {
                let nothing = Slot {
                    range: RamRange {
                        len: 0,
                        ..slot.range
                    },
                    ..slot
                };
                set(fd, memory, number, nothing)?;
            }
        }
        for slot in wanted {
            let same = slots.iter().find(|(_, other)| other.range == slot.range);
            let number = match same {
                Some((_, other)) if *other == slot => continue,
                Some((number, _)) => *number,
                None => (0..)
                    .find(|number| !slots.contains_key(number))
                    .unwrap_or(u32::MAX),
            };
            set(fd, memory, number, slot)?;
            slots.insert(number, slot);
        }
        Ok(())
    }

    /// Moves the kernel's log into the memory's trackers.
    pub(crate) fn sync_dirty(&self, fd: &VmFd, memory: &GuestMemory) -> Result<(), EngineError> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, slot) in slots.iter().filter(|(_, slot)| !slot.read_only) {
            let len = usize::try_from(slot.range.len).unwrap_or(usize::MAX);
            let words = fd
                .get_dirty_log(*number, len)
                .map_err(host("cannot read the dirty log"))?;
            for (index, word) in (0u64..).zip(words) {
                note(
                    memory,
                    Gpa(slot.range.base.0 + index * 64 * PAGE_SIZE),
                    word,
                );
            }
        }
        Ok(())
    }
}

fn set(fd: &VmFd, memory: &GuestMemory, number: u32, slot: Slot) -> Result<(), EngineError> {
    let page = memory
        .host_page(slot.range.base)
        .ok_or(EngineError::Unsupported {
            what: "RAM that is not mapped",
        })?;
    let read_only = if slot.read_only { KVM_MEM_READONLY } else { 0 };
    let log = if slot.log { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
    let region = kvm_userspace_memory_region {
        slot: number,
        flags: read_only | log,
        guest_phys_addr: slot.range.base.0,
        memory_size: slot.range.len,
        userspace_addr: page.host.addr() as u64,
    };
    // SAFETY: the range is one mapping of `len` bytes at `host`, which lives as long as any handle to the
    // memory; the VM and each of its vCPUs hold one (see `Vm`).
    unsafe { fd.set_user_memory_region(region) }.map_err(host("cannot give KVM the RAM"))
}

/// Notes the up to 64 pages from `first` on that have a bit in `word`.
fn note(memory: &GuestMemory, first: Gpa, mut word: u64) {
    while word != 0 {
        let gpa = Gpa(first.0 + u64::from(word.trailing_zeros()) * PAGE_SIZE);
        if let Some(page) = memory.host_page(gpa) {
            page.tracker.note_write(page.index, Lines::ALL);
        }
        word &= word - 1;
    }
}
