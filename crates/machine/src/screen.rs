//! The screen: a VGA and its four faces, and what a kernel that is booted without firmware finds on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use devices::vga::{self, Face, LinearMode, Screen, SharedVga, Vga, VgaFunction};
use devices::virtio::Gpu;
use memory::DeviceMemory;

use crate::MachineError;
use crate::board::Board;
use crate::boot::FrameBuffer;
use crate::bus::Region;
use crate::sync::lock;

/// What shows the picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Card {
    /// A VGA, alone.
    #[default]
    Vga,
    /// A virtio GPU with a VGA in the same function.
    Virtio,
}

/// A VGA, and the monitor on it.
#[derive(Debug, Clone)]
pub struct ScreenConfig {
    pub card: Card,
    /// Video memory in bytes: a power of two, from 1 to 256 MiB.
    pub memory: u64,
    /// The size that the monitor likes best, in pixels, and that a kernel booted without firmware finds.
    pub width: u16,
    pub height: u16,
    /// The option ROM, for firmware.
    pub rom: Option<PathBuf>,
    /// A virtio keyboard, beside the tablet that a screen has.
    pub keyboard: bool,
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
    let window = board.memory().add_device_window(&vram, vga::WINDOW_LEN)?;
    let vga = Vga::new(vram.clone(), board.clock(), preferred).with_window(window);
    let vga: SharedVga = Arc::new(Mutex::new(vga));
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
    let failed = |what: String| MachineError::Pci { what };
    let mut screen = Screen::new(Arc::clone(&vga));
    match config.card {
        Card::Vga => {
            let function = VgaFunction::new(vga, rom).map_err(|error| failed(error.to_string()))?;
            board.add_vga(function)?;
        }
        Card::Virtio => {
            let face = Face::new(vga, rom).map_err(|error| failed(error.to_string()))?;
            let gpu = Gpu::new(board.memory().clone(), preferred, Some(face));
            let gpu = gpu.map_err(|source| MachineError::Host {
                what: "file descriptor",
                source,
            })?;
            screen = screen.with_gpu(gpu.handle());
            board.add_virtio_display(gpu)?;
        }
    }
    Ok(MachineScreen {
        screen,
        vram,
        mode: LinearMode {
            width: config.width,
            height: config.height,
        },
    })
}
