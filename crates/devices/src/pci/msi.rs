//! MSI: one message of a function, in its configuration space. Spec: PCI Local Bus Specification 3.0, "MSI Capability
//! Structure".

use std::sync::Arc;

use crate::MsiSink;
use crate::pci::ConfigSpace;

const MSI_CAPABILITY: u8 = 0x05;
const ENABLE: u16 = 1 << 0;
/// Addresses have 64 bits.
const WIDE: u16 = 1 << 7;

/// The message of one function, if its space had room for the capability.
#[derive(Debug)]
pub(crate) struct Msi {
    at: Option<u16>,
    sink: Arc<dyn MsiSink>,
}

impl Msi {
    /// Declares the capability.
    pub(crate) fn new(config: &mut ConfigSpace, sink: Arc<dyn MsiSink>) -> Msi {
        let mut body = [0; 12];
        body[..2].copy_from_slice(&WIDE.to_le_bytes());
        let mut writable = [0xff; 12];
        writable[..2].copy_from_slice(&ENABLE.to_le_bytes());
        // Messages are doublewords: the low two bits of the address are zero.
        writable[2] = 0xfc;
        let at = config.add_capability(MSI_CAPABILITY, &body, &writable);
        Msi {
            at: at.map(u16::from),
            sink,
        }
    }

    /// Has the guest chosen it over the pin?
    pub(crate) fn enabled(&self, config: &ConfigSpace) -> bool {
        let enable = u32::from(ENABLE);
        self.at
            .is_some_and(|at| config.read(at + 2, 2) & enable != 0)
    }

    /// Sends the message. Nothing while it is off.
    pub(crate) fn fire(&self, config: &ConfigSpace) {
        let Some(at) = self.at.filter(|_| self.enabled(config)) else {
            return;
        };
        let low = u64::from(config.read(at + 4, 4));
        let high = u64::from(config.read(at + 8, 4));
        self.sink
            .send(high << 32 | low, config.read(at + 12, 2) & 0xffff);
    }
}
