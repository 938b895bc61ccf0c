//! Frames for the guest. Spec: VIRTIO 1.2, "Setting Up Receive Buffers", "Processing of Incoming
//! Packets".

use netio::{Frame, OffloadHeader};

use crate::virtio::net::{HEADER_LEN, QUEUE_SIZE};
use crate::virtio::{Chain, Nonsense, Ring};

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// The guest has it, or will never have it.
    Done,
    /// The guest has no buffers for it now; it will tell when it has.
    NoRoom,
}

/// Puts frames into the guest's buffers.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// Buffers of the frame in work, and the bytes that each gets.
    buffers: Vec<(Chain, usize)>,
}

impl Receiver {
    /// With `mergeable`, a frame may lie in several buffers.
    pub(super) fn put(
        &mut self,
        ring: &mut Ring,
        frame: &Frame<'_>,
        mergeable: bool,
    ) -> Result<Delivered, Nonsense> {
        let delivered = self.try_put(ring, frame, mergeable);
        self.buffers.clear();
        delivered
    }

    fn try_put(
        &mut self,
        ring: &mut Ring,
        frame: &Frame<'_>,
        mergeable: bool,
    ) -> Result<Delivered, Nonsense> {
        let needed = HEADER_LEN + frame.len();
        let mut left = needed;
        while left > 0 {
            let Some(chain) = ring.pop()? else {
                // Asked with all buffers in hand, so that the next one is what the driver tells of.
                if ring.want_notifications()? {
                    continue;
                }
                for _ in &self.buffers {
                    ring.unpop();
                }
                return Ok(Delivered::NoRoom);
            };
            let room = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX);
            if !mergeable && room < needed {
                // A guest that does not know how long frames are. It may use the buffer again.
                ring.complete(&chain, 0)?;
                return Ok(Delivered::Done);
            }
            let first = self.buffers.is_empty();
            if room == 0 || first && room < HEADER_LEN {
                return Err(Nonsense::Short);
            }
            if self.buffers.len() == usize::from(QUEUE_SIZE) {
                return Err(Nonsense::Ring);
            }
            let taken = left.min(room);
            left -= taken;
            self.buffers.push((chain, taken));
        }
        self.fill(frame)?;
        let filled = self.buffers.iter();
        let filled = filled.map(|(chain, len)| (chain, u32::try_from(*len).unwrap_or(u32::MAX)));
        ring.complete_all(filled)?;
        Ok(Delivered::Done)
    }

    /// Writes header and frame over the buffers.
    fn fill(&self, frame: &Frame<'_>) -> Result<(), Nonsense> {
        let count = u16::try_from(self.buffers.len()).unwrap_or(u16::MAX);
        let mut header = [0; HEADER_LEN];
        let (offload, buffers) = header.split_at_mut(OffloadHeader::LEN);
        offload.copy_from_slice(&frame.offload.to_bytes());
        buffers.copy_from_slice(&count.to_le_bytes());
        let mut buffers = self.buffers.iter();
        let mut current = buffers.next();
        let mut offset = 0;
        for part in std::iter::once(&&header[..]).chain(frame.parts) {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let Some((chain, len)) = current else {
                    return Err(Nonsense::Short);
                };
                let (now, later) = rest.split_at(rest.len().min(len - offset));
                chain.write_at(offset as u64, now)?;
                offset += now.len();
                rest = later;
                if offset == *len {
                    current = buffers.next();
                    offset = 0;
                }
            }
        }
        Ok(())
    }
}
