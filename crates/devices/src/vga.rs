//! A VGA with Bochs' linear modes: what a PC shows.
//!
//! It has four faces, all of one [`Vga`]: the ports of a VGA and of its linear modes ([`PORTS`],
//! [`Vga::read_port`]), the window at A0000h ([`Vga::read_window`]), a PCI function with the frame buffer
//! as RAM, the registers as MMIO and an expansion ROM ([`Face`], in a function of its own or beside virtio's), and a [`Screen`] that makes
//! pixels of it for whoever looks.
//!
//! Four planes lie interleaved in video memory: byte `n` of plane `p` at `4n + p`. So a linear mode, mode
//! 13h and mode X are bytes in a row, and a planar access is one doubleword. Where the hardware counts
//! addresses in words or doublewords, the address is halved or quartered here when it comes in, and the
//! display counts on by one: no program that sets modes as the BIOS does sees a difference.
//!
//! Every write, whoever makes it, is in the log of [`memory::DeviceMemory`]; drawing looks only at what
//! was written. Where the window at A0000h is bytes in a row, as in mode 13h and in a bank of a linear mode, it
//! is mapped to the guest as RAM as well ([`window`]). Rejected: a copy of the text screen to compare with (the
//! log is one).
//! Spec: IBM VGA Technical Reference; FreeVGA project, "Hardware Level VGA and SVGA Video Programming
//! Information"; Bochs, "VBE Display Extensions"; QEMU documentation, "Standard VGA".

mod dac;
mod face;
mod function;
mod mode;
mod planes;
mod ports;
mod render;
mod screen;
mod state;
mod vbe;
mod window;

use std::sync::{Arc, Mutex};

use memory::{DeviceMemory, DeviceWindow};

use crate::{Clock, PortRange, edid};

pub(crate) use face::{FRAME_BUFFER, SavedFace};
pub use face::{Face, RomError};
pub use function::VgaFunction;
pub use screen::Screen;
use state::Registers;
pub use vbe::LinearMode;

/// Ports of a VGA, monochrome ones among them, and of the linear modes.
pub const PORTS: [PortRange; 2] = [
    PortRange {
        first: 0x3b0,
        count: 0x30,
        offset: 0x3b0,
    },
    PortRange {
        first: 0x1ce,
        count: 3,
        offset: 0x1ce,
    },
];
/// Where the window at A0000h begins and how long it is, in bytes.
pub const WINDOW: u64 = 0xa_0000;
pub const WINDOW_LEN: u64 = 0x2_0000;
/// Video memory that a screen has unless somebody says otherwise, in bytes.
pub const VRAM: u64 = 16 << 20;

/// The registers and the memory.
#[derive(Debug)]
pub struct Vga {
    registers: Registers,
    vram: DeviceMemory,
    window: Option<Arc<DeviceWindow>>,
    clock: Arc<dyn Clock>,
    edid: [u8; 128],
}

/// As its faces have it.
pub type SharedVga = Arc<Mutex<Vga>>;

impl Vga {
    /// With `vram` as video memory, a power of two of at least 256 KiB, and a monitor that likes
    /// `preferred` best.
    #[must_use]
    pub fn new(vram: DeviceMemory, clock: Arc<dyn Clock>, preferred: (u16, u16)) -> Vga {
        Vga {
            registers: Registers::at_reset(),
            edid: edid::block(preferred),
            vram,
            window: None,
            clock,
        }
    }

    /// Power-on state. What was shown is gone.
    pub fn reset(&mut self) {
        self.registers = Registers::at_reset();
        self.clear(self.vram.size());
        self.place_window();
    }

    fn clear(&self, len: u64) {
        const ZEROS: [u8; 4096] = [0; 4096];
        for at in (0..len.min(self.vram.size())).step_by(ZEROS.len()) {
            let mut page = [0; ZEROS.len()];
            self.vram.read(at, &mut page);
            // What nobody wrote to need not be the host's either.
            if page != ZEROS {
                self.vram.write(at, &ZEROS);
            }
        }
    }
}

#[cfg(test)]
mod tests;
