//! Device memory as memory slots of KVM, behind those of guest RAM. Their writes are always logged: the
//! log is the device's own.
//! Spec: Linux Documentation/virt/kvm/api.rst, "KVM_SET_USER_MEMORY_REGION", "KVM_GET_DIRTY_LOG".

use std::sync::{Arc, Mutex, PoisonError, Weak};

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use memory::{DeviceMemory, Lines, Placement, RamRange};

use crate::kvm_engine::Vm;

/// Slots below are those of the guest's own memory, a few for each range.
const FIRST: usize = 256;

/// Hears where device memory lies, and tells the kernel.
#[derive(Debug)]
pub(crate) struct DeviceSlots {
    vm: Weak<Vm>,
    /// What the kernel has, by number.
    known: Mutex<Vec<Option<RamRange>>>,
}

impl DeviceSlots {
    pub(crate) fn new(vm: &Arc<Vm>) -> DeviceSlots {
        DeviceSlots {
            vm: Arc::downgrade(vm),
            known: Mutex::default(),
        }
    }

    fn set(vm: &Vm, number: usize, memory: &DeviceMemory, range: RamRange, len: u64) -> bool {
        let slot = u32::try_from(FIRST + number);
        let (Ok(slot), Some(page)) = (slot, memory.first_page()) else {
            return false;
        };
        let region = kvm_userspace_memory_region {
            slot,
            flags: KVM_MEM_LOG_DIRTY_PAGES,
            guest_phys_addr: range.base.0,
            memory_size: len,
            userspace_addr: page.host.addr() as u64,
        };
        // SAFETY: the range is one mapping of its length at `host`. It lives as long as any handle to
        // the device's memory, of which the guest's memory has one, which the VM and each vCPU hold.
        unsafe { vm.fd.set_user_memory_region(region) }.is_ok()
    }
}

impl Placement for DeviceSlots {
    fn placed(&self, number: usize, memory: &DeviceMemory) {
        let Some(vm) = self.vm.upgrade() else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() <= number {
            known.resize(number + 1, None);
        }
        if let Some(old) = known[number].take() {
            // A slot of no length is taken away.
            DeviceSlots::set(&vm, number, memory, old, 0);
        }
        // Where the kernel has something else, the guest reaches it by exits.
        known[number] = memory
            .range()
            .filter(|range| DeviceSlots::set(&vm, number, memory, *range, range.len));
    }

    fn sync_dirty(&self, number: usize, memory: &DeviceMemory) {
        let Some(vm) = self.vm.upgrade() else {
            return;
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let range = known.get(number).copied().flatten();
        let slot = u32::try_from(FIRST + number);
        let (Some(range), Ok(slot), Some(page)) = (range, slot, memory.first_page()) else {
            return;
        };
        let len = usize::try_from(range.len).unwrap_or(usize::MAX);
        for (index, mut word) in vm
            .fd
            .get_dirty_log(slot, len)
            .into_iter()
            .flatten()
            .enumerate()
        {
            while word != 0 {
                let bit = word.trailing_zeros() as usize;
                page.tracker.note_write(index * 64 + bit, Lines::ALL);
                word &= word - 1;
            }
        }
    }
}
