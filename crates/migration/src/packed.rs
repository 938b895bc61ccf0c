//! Bytes on their way: compressed where that pays.
//!
//! LZ4, since it is faster than the networks and the guests that it works between; what it makes hardly
//! smaller goes as it is, and for some time nothing is tried then.

use crate::frame::{Body, FrameError};

const PLAIN: u32 = 0;
const LZ4: u32 = 1;
/// Pieces that go as they are after one that did not get smaller.
const PAUSE: u32 = 16;

/// Compresses, and remembers whether it paid.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    off: bool,
    /// Pieces until it is tried again.
    pause: u32,
    room: Vec<u8>,
}

impl Packer {
    #[must_use]
    pub(crate) fn new(compress: bool) -> Packer {
        Packer {
            off: !compress,
            ..Packer::default()
        }
    }

    /// Adds `data` to a frame's body.
    pub(crate) fn pack(&mut self, data: &[u8], body: &mut Vec<u8>) {
        if self.off || self.pause > 0 {
            self.pause = self.pause.saturating_sub(1);
        } else {
            self.room
                .resize(lz4_flex::block::get_maximum_output_size(data.len()), 0);
            let packed = lz4_flex::block::compress_into(data, &mut self.room);
            if let Ok(len) = packed
                && len < data.len() / 8 * 7
            {
                body.extend(LZ4.to_le_bytes());
                body.extend(&self.room[..len]);
                return;
            }
            self.pause = PAUSE;
        }
        body.extend(PLAIN.to_le_bytes());
        body.extend(data);
    }
}

/// All that is left of the body, which is to be `room.len()` bytes of data.
///
/// # Errors
/// When it is not.
pub(crate) fn unpack(mut body: Body<'_>, room: &mut [u8]) -> Result<(), FrameError> {
    match body.u32()? {
        PLAIN if body.0.len() == room.len() => room.copy_from_slice(body.0),
        LZ4 if lz4_flex::block::decompress_into(body.0, room).ok() == Some(room.len()) => {}
        _ => return Err(FrameError::Nonsense("what a frame holds is damaged")),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
