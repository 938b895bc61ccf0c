//! Where the window at A0000h is RAM: while its addresses are those of video memory, byte for byte. Planes,
//! and text, whose bytes alternate between two of them, are reached by exits.

use std::sync::Arc;

use memory::{DeviceWindow, Gpa, Part};

use super::{Vga, WINDOW};

impl Vga {
    /// `window` is on the video memory, and for [`super::WINDOW_LEN`] bytes of it.
    #[must_use]
    pub fn with_window(mut self, window: DeviceWindow) -> Vga {
        self.window = Some(Arc::new(window));
        self
    }

    /// Engines find the window as the registers have it now.
    pub(super) fn place_window(&self) {
        if let Some(window) = &self.window {
            window.show(self.linear_part());
        }
    }

    fn linear_part(&self) -> Option<Part> {
        if !self.is_linear() {
            return None;
        }
        let (first, len) = self.window_range();
        Some(Part {
            at: Gpa(WINDOW + first),
            offset: self.bank(),
            len,
        })
    }
}
