//! The screen: a VGA and its four faces, and what a kernel that is booted without firmware finds on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use devices::vga::{self, LinearMode, Screen, SharedVga, Vga, VgaFunction};
use memory::DeviceMemory;

use crate::MachineError;
use crate::board::Board;
use crate::boot::FrameBuffer;
use crate::bus::Region;
use crate::sync::lock;

/// A VGA, and the monitor on it.
#[derive(Debug, Clone)]
pub struct ScreenConfig {
    /// Video memory in bytes: a power of two, from 1 to 256 MiB.
    pub memory: u64,
    /// The size that the monitor likes best, in pixels, and that a kernel booted without firmware finds.
    pub width: u16,
    pub height: u16,
    /// The option ROM, for firmware.
    pub rom: Option<PathBuf>,
}

/// What of it the machine needs later.
#[derive(Debug)]
pub(crate) struct MachineScreen {
    pub(crate) screen: Screen,
    vram: DeviceMemory,
    mode: LinearMode,
}

impl MachineScreen {
    /// Sets the mode that firmware would, and says where it is. `None` where the frame buffer is not.
    pub(crate) fn boot(&self) -> Option<FrameBuffer> {
        let base = self.vram.range()?.base;
        self.screen.show_linear(self.mode);
        Some(FrameBuffer {
            base,
            width: self.mode.width,
            height: self.mode.height,
        })
    }
}

/// The ports.
#[derive(Debug)]
struct Ports(SharedVga);

impl Region for Ports {
    fn read(&self, offset: u64, size: u8) -> u64 {
        lock(&self.0).read_port(offset as u16, size)
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        lock(&self.0).write_port(offset as u16, size, value);
    }

    fn name(&self) -> &'static str {
        "vga"
    }
}

/// The window at A0000h.
#[derive(Debug)]
struct Window(SharedVga);

impl Region for Window {
    fn read(&self, offset: u64, size: u8) -> u64 {
        lock(&self.0).read_window(offset, size)
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        lock(&self.0).write_window(offset, size, value);
    }

    fn name(&self) -> &'static str {
        "vga-window"
    }
}

/// Adds a screen to the board, as the PCI function of its next slot.
pub(crate) fn add(board: &mut Board, config: &ScreenConfig) -> Result<MachineScreen, MachineError> {
    let rom = match &config.rom {
        Some(path) => std::fs::read(path).map_err(|source| MachineError::Rom {
            path: path.clone(),
            source,
        })?,
        None => Vec::new(),
    };
    let vram = board.memory().add_device_memory(config.memory)?;
    let preferred = (config.width, config.height);
    let vga: SharedVga = Arc::new(Mutex::new(Vga::new(vram.clone(), board.clock(), preferred)));
    for range in vga::PORTS {
        let ports = Arc::new(Ports(Arc::clone(&vga)));
        board
            .ports
            .attach_region(range.first.into(), range.count.into(), range.offset, ports)?;
    }
    let window = Arc::new(Window(Arc::clone(&vga)));
    board
        .mmio
        .attach_region(vga::WINDOW, vga::WINDOW_LEN, 0, window)?;
    let function = VgaFunction::new(Arc::clone(&vga), rom).map_err(|error| MachineError::Pci {
        what: error.to_string(),
    })?;
    board.add_vga(function)?;
    Ok(MachineScreen {
        screen: Screen::new(vga),
        vram,
        mode: LinearMode {
            width: config.width,
            height: config.height,
        },
    })
}
