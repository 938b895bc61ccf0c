//! A screen as those see it who look: a picture that is brought up to date when they ask.

use std::fmt;
use std::sync::{Arc, Mutex};

use display::Picture;
use memory::DeviceMemory;

use super::mode::Shown;
use super::render::{self, Source};
use super::state::Registers;
use super::{LinearMode, SharedVga};
use crate::ports::locked;
use crate::virtio::{Cursor, GpuHandle};

/// Handle to what a VGA shows. Cloning shares it.
#[derive(Clone)]
pub struct Screen {
    vga: SharedVga,
    gpu: Option<GpuHandle>,
    drawn: Arc<Mutex<Drawn>>,
}

#[derive(Default)]
struct Drawn {
    picture: Picture,
    /// What it was drawn from.
    registers: Option<Registers>,
    blink: u64,
    /// It shows what a driver of the GPU's does.
    gpu: bool,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Screen {
    #[must_use]
    pub fn new(vga: SharedVga) -> Screen {
        Screen {
            vga,
            gpu: None,
            drawn: Arc::default(),
        }
    }

    /// With a GPU whose driver may take the screen over.
    #[must_use]
    pub fn with_gpu(mut self, gpu: GpuHandle) -> Screen {
        self.gpu = Some(gpu);
        self
    }

    /// Somebody who looks wishes for that size, in pixels. False where nobody in the guest hears it.
    #[must_use]
    pub fn wish(&self, width: u16, height: u16) -> bool {
        self.gpu
            .as_ref()
            .is_some_and(|gpu| gpu.resize(width, height))
    }

    /// The pointer that viewers are to draw; `None` where it looks as it did with the number `known`,
    /// and where the guest draws its own.
    #[must_use]
    pub fn cursor(&self, known: Option<u64>) -> Option<Cursor> {
        self.gpu.as_ref()?.cursor(known)
    }

    /// The picture as it is now, with the pointer where the guest has it: width, and red, green and blue
    /// of each pixel.
    #[must_use]
    pub fn rgb(&self) -> (u32, Vec<u8>) {
        let (width, mut rgb) = self.look_again(|it| (it.width(), it.rgb()));
        if let Some(cursor) = self.cursor(None) {
            cursor.put_over(&mut rgb, width);
        }
        (width, rgb)
    }

    /// Sets a linear mode, as firmware would.
    pub fn show_linear(&self, mode: LinearMode) {
        locked(&self.vga).show_linear(mode);
    }

    /// Shows `look` the picture as it is now. The guest goes on meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&Picture) -> T) -> T {
        let mut drawn = locked(&self.drawn);
        let drawn = &mut *drawn;
        let afresh = !drawn.gpu;
        let gpu = self.gpu.as_ref();
        drawn.gpu = gpu.is_some_and(|gpu| gpu.draw(afresh, &mut drawn.picture));
        if drawn.gpu {
            drawn.registers = None;
        } else {
            let (registers, vram, now) = self.snapshot();
            let window = locked(&self.vga).window.clone();
            if let Some(window) = window {
                window.carry();
            }
            drawn.update(registers, &vram, render::blink(now));
        }
        look(&drawn.picture)
    }

    /// Shows `look` the picture as it was when somebody looked last.
    pub fn look_again<T>(&self, look: impl FnOnce(&Picture) -> T) -> T {
        look(&locked(&self.drawn).picture)
    }

    /// The registers alone are copied under the device's lock.
    fn snapshot(&self) -> (Registers, DeviceMemory, u64) {
        let vga = locked(&self.vga);
        (vga.registers.clone(), vga.vram.clone(), vga.clock.now())
    }
}

impl Drawn {
    fn update(&mut self, registers: Registers, vram: &DeviceMemory, blink: u64) {
        let shown = Shown::of(&registers);
        let written = vram.take_dirty();
        let text = matches!(shown, Shown::Text(_));
        let same = self.registers.as_ref().is_some_and(|before| {
            // Where the index registers stand does not show.
            before.looks_like(&registers)
        });
        if same && written.is_empty() && (!text || blink == self.blink) {
            return;
        }
        self.picture.tick();
        let source = Source {
            registers: &registers,
            vram,
            blink,
        };
        let written = same.then_some(&written[..]);
        render::draw(&source, &shown, written, &mut self.picture);
        self.registers = Some(registers);
        self.blink = blink;
    }
}

impl Registers {
    /// Do both show the same, of the same memory?
    fn looks_like(&self, other: &Registers) -> bool {
        Shown::of(self) == Shown::of(other)
            && self.crtc == other.crtc
            && self.attribute == other.attribute
            && self.dac.mask == other.dac.mask
            && self.dac.palette == other.dac.palette
            && self.sequencer[3] == other.sequencer[3]
            && self.vbe == other.vbe
    }
}
