//! Windows into the PCI bus, which has locks of its own.

use devices::pci::PciRoot;

use crate::bus::Region;

/// Guest-physical addresses in which functions' memory regions lie.
#[derive(Debug)]
pub(crate) struct MemoryRegion {
    root: PciRoot,
    base: u64,
}

impl MemoryRegion {
    /// `base` is the address of the window's first byte.
    pub(crate) fn new(root: PciRoot, base: u64) -> MemoryRegion {
        MemoryRegion { root, base }
    }
}

impl Region for MemoryRegion {
    fn read(&self, offset: u64, size: u8) -> u64 {
        self.root.memory_read(self.base + offset, size)
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        self.root.memory_write(self.base + offset, size, value);
    }

    fn name(&self) -> &'static str {
        "pci-memory-window"
    }
}
