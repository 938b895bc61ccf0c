//! What a PCI function has of a VGA: the frame buffer as region 0, the registers as region 2, an expansion
//! ROM. Spec: QEMU documentation, "Standard VGA".

use memory::DeviceMemory;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::SharedVga;
use super::state::Registers;
use crate::pci::{BarKind, ConfigSpace, EXPANSION_ROM};
use crate::ports::{all_ones, locked};

const PAGE: u64 = memory::PAGE_SIZE;

pub(crate) const FRAME_BUFFER: u8 = 0;
const REGISTERS: u8 = 2;
const REGISTERS_LEN: u64 = 0x1000;
/// What is where among the registers, in bytes.
const EDID: std::ops::Range<u64> = 0..0x80;
const VGA_PORTS: std::ops::Range<u64> = 0x400..0x420;
const VBE: std::ops::Range<u64> = 0x500..0x516;
const MAX_ROM: usize = 1 << 16;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RomError {
    #[error("an option ROM of {len} bytes is longer than the {MAX_ROM} that there is room for")]
    Long { len: usize },
    #[error("it is no option ROM: it does not begin with 55h AAh")]
    Signature,
}

/// The saved form. Pages of video memory that are not zero, by number.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedFace {
    registers: Registers,
    size: u64,
    pages: Vec<(u32, Vec<u8>)>,
}

#[derive(Debug)]
pub struct Face {
    vga: SharedVga,
    vram: DeviceMemory,
    rom: Vec<u8>,
}

impl Face {
    /// With an option ROM, or none where it is empty.
    ///
    /// # Errors
    /// When it is no option ROM.
    pub fn new(vga: SharedVga, rom: Vec<u8>) -> Result<Face, RomError> {
        if rom.len() > MAX_ROM {
            return Err(RomError::Long { len: rom.len() });
        }
        if !rom.is_empty() && !rom.starts_with(&[0x55, 0xaa]) {
            return Err(RomError::Signature);
        }
        let vram = locked(&vga).vram.clone();
        Ok(Face { vga, vram, rom })
    }

    /// The regions, in a function's configuration space.
    pub(crate) fn declare(&self, config: ConfigSpace) -> ConfigSpace {
        let config = config
            .with_bar(FRAME_BUFFER, BarKind::Memory32, self.vram.size())
            .with_bar(REGISTERS, BarKind::Memory32, REGISTERS_LEN);
        if self.rom.is_empty() {
            return config;
        }
        let len = self.rom.len().next_power_of_two().max(0x800);
        config.with_expansion_rom(len as u64)
    }

    /// The frame buffer.
    pub(crate) fn vram(&self) -> &DeviceMemory {
        &self.vram
    }

    fn read_registers(&self, offset: u64, size: u8) -> u64 {
        let mut vga = locked(&self.vga);
        let bytes = |table: &[u8], from: u64| {
            let byte = |n: u64| table.get(usize::try_from(from + n).unwrap_or(usize::MAX));
            (0..u64::from(size)).fold(0, |value, n| {
                value | u64::from(byte(n).copied().unwrap_or(0)) << (8 * n)
            })
        };
        match offset {
            at if EDID.contains(&at) => bytes(&vga.edid, at),
            at if at < VGA_PORTS.start => 0,
            at if VGA_PORTS.contains(&at) => vga.read_port(port(at), size),
            at if VBE.contains(&at) => u64::from(vga.read_vbe(vbe_index(at))),
            _ => all_ones(size),
        }
    }

    fn write_registers(&self, offset: u64, size: u8, value: u64) {
        let mut vga = locked(&self.vga);
        match offset {
            at if VGA_PORTS.contains(&at) => vga.write_port(port(at), size, value),
            at if VBE.contains(&at) => {
                let [low, high, ..] = value.to_le_bytes();
                vga.write_vbe(vbe_index(at), u16::from_le_bytes([low, high]));
                vga.place_window();
            }
            _ => {}
        }
    }

    fn pages(&self) -> Vec<(u32, Vec<u8>)> {
        let mut page = vec![0; usize::try_from(PAGE).unwrap_or(0)];
        let mut pages = Vec::new();
        for (number, at) in (0u32..).zip((0..self.vram.size()).step_by(page.len())) {
            self.vram.read(at, &mut page);
            if page.iter().any(|byte| *byte != 0) {
                pages.push((number, page.clone()));
            }
        }
        pages
    }

    /// Of this video memory, each once and whole.
    fn are_pages(&self, pages: &[(u32, Vec<u8>)]) -> bool {
        let whole = |(number, bytes): &(u32, Vec<u8>)| {
            bytes.len() as u64 == PAGE && u64::from(*number) < self.vram.size() / PAGE
        };
        pages.iter().all(whole) && pages.windows(2).all(|pair| pair[0].0 < pair[1].0)
    }

    pub(crate) fn read(&self, bar: u8, offset: u64, size: u8) -> u64 {
        let mut bytes = [0; 8];
        let len = usize::from(size.min(8));
        match bar {
            FRAME_BUFFER => self.vram.read(offset, &mut bytes[..len]),
            REGISTERS => return self.read_registers(offset, size),
            EXPANSION_ROM => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = self.rom.get(from..).unwrap_or_default();
                let here = rest.len().min(len);
                bytes[..here].copy_from_slice(&rest[..here]);
            }
            _ => return all_ones(size),
        }
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn write(&self, bar: u8, offset: u64, size: u8, value: u64) {
        match bar {
            FRAME_BUFFER => {
                let len = usize::from(size.min(8));
                self.vram.write(offset, &value.to_le_bytes()[..len]);
            }
            REGISTERS => self.write_registers(offset, size, value),
            _ => {}
        }
    }

    pub(crate) fn reset(&self) {
        locked(&self.vga).reset();
    }

    pub(crate) fn save(&self) -> SavedFace {
        SavedFace {
            registers: locked(&self.vga).registers.clone(),
            size: self.vram.size(),
            pages: self.pages(),
        }
    }

    /// # Errors
    /// With a reason, when it is another's. Nothing is changed then by [`Face::restore`].
    pub(crate) fn check(&self, state: &SavedFace) -> Result<(), String> {
        if state.size == self.vram.size() && self.are_pages(&state.pages) {
            return Ok(());
        }
        Err(format!(
            "its video memory is not of {} bytes",
            self.vram.size()
        ))
    }

    /// Takes over what [`Face::check`] has found right.
    pub(crate) fn restore(&self, state: SavedFace) {
        let mut vga = locked(&self.vga);
        vga.clear(self.vram.size());
        vga.registers = state.registers.sanitised();
        vga.place_window();
        for (number, bytes) in &state.pages {
            self.vram.write(u64::from(*number) * PAGE, bytes);
        }
    }
}

/// The port of a VGA's register: 3C0h is the first.
fn port(offset: u64) -> u16 {
    u16::try_from(0x3c0 + offset - VGA_PORTS.start).unwrap_or(u16::MAX)
}

fn vbe_index(offset: u64) -> usize {
    usize::try_from((offset - VBE.start) / 2).unwrap_or(usize::MAX)
}
