//! Guest RAM as KVM's memory slots, one a range, and their dirty logs.
//! Spec: Linux Documentation/virt/kvm/api.rst, "KVM_SET_USER_MEMORY_REGION", "KVM_GET_DIRTY_LOG".

use engine::EngineError;
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use memory::{Gpa, GuestMemory, Lines, PAGE_SIZE, RamRange};

use crate::host;

/// Tells the kernel where all RAM is, or changes whether it logs writes.
pub(crate) fn map(fd: &VmFd, memory: &GuestMemory, log: bool) -> Result<(), EngineError> {
    for (slot, range) in (0u32..).zip(memory.ranges()) {
        let page = memory
            .host_page(range.base)
            .ok_or(EngineError::Unsupported {
                what: "RAM that is not mapped",
            })?;
        let region = kvm_userspace_memory_region {
            slot,
            flags: if log { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
            guest_phys_addr: range.base.0,
            memory_size: range.len,
            userspace_addr: page.host.addr() as u64,
        };
        // SAFETY: the range is one mapping of `len` bytes at `host`, which lives as long as any
        // handle to the memory; the VM and each of its vCPUs hold one (see `Vm`).
        unsafe { fd.set_user_memory_region(region) }.map_err(host("cannot give KVM the RAM"))?;
    }
    Ok(())
}

/// Moves the kernel's log into the memory's trackers.
pub(crate) fn sync_dirty(fd: &VmFd, memory: &GuestMemory) -> Result<(), EngineError> {
    for (slot, RamRange { base, len }) in (0u32..).zip(memory.ranges()) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let words = fd
            .get_dirty_log(slot, len)
            .map_err(host("cannot read the dirty log"))?;
        for (index, word) in (0u64..).zip(words) {
            note(memory, Gpa(base.0 + index * 64 * PAGE_SIZE), word);
        }
    }
    Ok(())
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
