//! The functions of bus 0, by the ports. Spec: PCI Local Bus Specification 3.0, "Configuration Space".

use crate::hardware_raw::{input, output};

pub(crate) const COMMAND: u16 = 4;
const CLASS: u16 = 8;
const BARS: u16 = 0x10;
const CAPABILITIES: u16 = 0x34;
const VENDOR_CAPABILITY: u32 = 9;
const MSIX_CAPABILITY: u32 = 0x11;
/// Functions that are looked for.
const FUNCTIONS: u16 = 256;

#[derive(Clone, Copy)]
pub(crate) struct Function(pub(crate) u16);

/// Where the regions go that firmware would have placed.
pub(crate) struct Windows {
    memory: u64,
    ports: u64,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            memory: 0xd000_0000,
            ports: 0xc800,
        }
    }
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Region {
    pub(crate) base: u64,
    /// 0 where there is none.
    pub(crate) len: u64,
    pub(crate) ports: bool,
    /// The next register is the upper half of its address.
    pub(crate) wide: bool,
}

impl Function {
    /// All that are there.
    pub(crate) fn all() -> impl Iterator<Item = Function> {
        let functions = (0..FUNCTIONS).map(Function);
        functions.filter(|function| function.vendor() != 0xffff)
    }

    fn select(self, offset: u16) {
        let address = 0x8000_0000 | u32::from(self.0) << 8 | u32::from(offset & 0xfc);
        output(0xcf8, 4, address);
    }

    pub(crate) fn read(self, offset: u16) -> u32 {
        self.select(offset);
        input(0xcfc, 4)
    }

    pub(crate) fn write(self, offset: u16, value: u32) {
        self.select(offset);
        output(0xcfc, 4, value);
    }

    pub(crate) fn vendor(self) -> u16 {
        (self.read(0) & 0xffff) as u16
    }

    pub(crate) fn device(self) -> u16 {
        (self.read(0) >> 16) as u16
    }

    /// Class and subclass.
    pub(crate) fn class(self) -> u16 {
        (self.read(CLASS) >> 16) as u16
    }

    /// Decodes its regions and is master of the bus, or not.
    pub(crate) fn enable(self, command: u32) {
        self.write(COMMAND, command);
    }

    /// The region, placed if nobody has done it.
    pub(crate) fn region(self, bar: u8, windows: &mut Windows) -> Region {
        let at = BARS + 4 * u16::from(bar);
        let now = self.read(at);
        self.write(at, u32::MAX);
        let mask = self.read(at);
        self.write(at, now);
        if mask == 0 {
            return Region::default();
        }
        let ports = mask & 1 != 0;
        if ports {
            let len = u64::from(!(mask | 0xffff_0003)) + 1;
            let base = place(&mut windows.ports, now & !3, len);
            self.write(at, base as u32);
            return Region {
                base,
                len,
                ports,
                wide: false,
            };
        }
        let len = u64::from(!(mask & !0xf)) + 1;
        let wide = mask & 6 == 4;
        if wide && self.read(at + 4) != 0 {
            let base = u64::from(self.read(at + 4)) << 32 | u64::from(now & !0xf);
            return Region {
                base,
                len,
                ports,
                wide,
            };
        }
        let base = place(&mut windows.memory, now & !0xf, len);
        self.write(at, base as u32);
        Region {
            base,
            len,
            ports,
            wide,
        }
    }

    /// Offsets of the capabilities with this identity.
    fn capabilities(self, wanted: u32) -> impl Iterator<Item = u16> {
        let mut at = self.read(CAPABILITIES) as u16 & 0xfc;
        let mut left = 48;
        core::iter::from_fn(move || {
            while at != 0 && left > 0 {
                left -= 1;
                let header = self.read(at);
                let found = at;
                at = (header >> 8) as u16 & 0xfc;
                if header & 0xff == wanted {
                    return Some(found);
                }
            }
            None
        })
    }

    /// Virtio's own: the offset of each, and which part of the registers it describes.
    pub(crate) fn virtio_parts(self) -> impl Iterator<Item = (u16, u8)> {
        self.capabilities(VENDOR_CAPABILITY)
            .map(move |at| (at, (self.read(at) >> 24) as u8))
    }

    pub(crate) fn msix(self) -> Option<u16> {
        self.capabilities(MSIX_CAPABILITY).next()
    }
}

fn place(free: &mut u64, now: u32, len: u64) -> u64 {
    if now != 0 {
        return now.into();
    }
    let base = free.next_multiple_of(len.max(0x1000.min(len * 16)));
    *free = base + len;
    base
}
