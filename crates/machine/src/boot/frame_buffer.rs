//! A frame buffer that is set up when a Linux kernel starts, in the words of its boot protocol.
//! Spec: Linux include/uapi/linux/screen_info.h.

use memory::Gpa;

/// Of 32 bits a pixel: blue in the lowest byte, then green and red.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameBuffer {
    /// Below 4 GiB.
    pub base: Gpa,
    /// In pixels.
    pub width: u16,
    pub height: u16,
}

/// As UEFI firmware would have left it: the one kind that every kernel of a distribution has a driver for.
const VIDEO_TYPE_EFI: u8 = 0x70;
const BITS: u16 = 32;
/// Width and place of red, green, blue and what is over, in bits.
const COLOURS: [u8; 8] = [8, 16, 8, 8, 8, 0, 8, 24];

impl FrameBuffer {
    /// Fills in the part of the zero page that says so.
    pub(super) fn describe(&self, zero_page: &mut [u8]) {
        let pitch = self.width.saturating_mul(BITS / 8);
        let len = u32::from(pitch) * u32::from(self.height);
        let mut put = |at: usize, bytes: &[u8]| {
            zero_page[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0x0f, &[VIDEO_TYPE_EFI]);
        put(0x12, &self.width.to_le_bytes());
        put(0x14, &self.height.to_le_bytes());
        put(0x16, &BITS.to_le_bytes());
        put(0x18, &(self.base.0 as u32).to_le_bytes());
        put(0x1c, &len.to_le_bytes());
        put(0x24, &pitch.to_le_bytes());
        put(0x26, &COLOURS);
        put(0x32, &1u16.to_le_bytes());
    }
}
