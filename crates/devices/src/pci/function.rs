//! What every PCI function is.

use std::fmt::Debug;

use memory::DeviceMemory;

use crate::pci::ConfigSpace;
use crate::{DeviceState, RestoreError};

/// Device and function number on a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceFunction(u8);

impl DeviceFunction {
    /// `device` below 32, `function` below 8; higher bits are dropped.
    #[must_use]
    pub const fn new(device: u8, function: u8) -> DeviceFunction {
        DeviceFunction(device << 3 | function & 7)
    }

    /// From the combined number, device times eight plus function.
    #[must_use]
    pub const fn from_byte(byte: u8) -> DeviceFunction {
        DeviceFunction(byte)
    }

    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0
    }

    #[must_use]
    pub const fn device(self) -> u8 {
        self.0 >> 3
    }

    #[must_use]
    pub const fn function(self) -> u8 {
        self.0 & 7
    }
}

/// One function of a device on the PCI bus. It knows offsets in its regions, never their addresses.
pub trait PciFunction: Send + Debug {
    /// The name in saved states, as [`crate::Device::kind`].
    fn kind(&self) -> &'static str;
    fn config(&self) -> &ConfigSpace;
    /// `size` is 1, 2 or 4, `offset` aligned to it.
    fn config_read(&mut self, offset: u16, size: u8) -> u32 {
        self.config().read(offset, size)
    }
    fn config_write(&mut self, offset: u16, size: u8, value: u32);
    /// Reads `size` bytes (1, 2, 4 or 8) of region `bar`, or of the expansion ROM
    /// ([`crate::pci::EXPANSION_ROM`]); `offset + size` lies inside it.
    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        let _ = (bar, offset, size);
        u64::MAX
    }
    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        let _ = (bar, offset, size, value);
    }
    /// RAM behind whole regions, by number: the guest reaches it without exits, where the region lies in
    /// one of the bus's windows. Asked once.
    fn memories(&self) -> Vec<(u8, DeviceMemory)> {
        Vec::new()
    }
    /// Back to power-on state, as [`crate::Device::reset`].
    fn reset(&mut self);
    fn save(&self) -> DeviceState;
    /// A function that works on a thread of its own stays quiet until [`PciFunction::resume`].
    ///
    /// # Errors
    /// When the state is another function's, newer, or damaged. The function is then unchanged.
    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError>;
    /// Ends all work on guest memory, and begins none, until [`PciFunction::resume`].
    fn quiesce(&mut self) {}
    fn resume(&mut self) {}
    /// A [`crate::Timer`] that the function armed has expired.
    fn expire(&mut self) {}
}
