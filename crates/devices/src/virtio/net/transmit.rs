//! Frames from the guest. Spec: VIRTIO 1.2, "Packet Transmission".

use netio::{Link, MAX_FRAME, OffloadHeader, Offloads};

use crate::virtio::net::HEADER_LEN;
use crate::virtio::{Chain, Nonsense};

/// Takes frames out of guest memory, by way of a buffer: whoever has the frame next must not see it
/// change.
#[derive(Debug)]
pub(super) struct Transmitter {
    buffer: Vec<u8>,
}

impl Transmitter {
    pub(super) fn new() -> Transmitter {
        Transmitter { buffer: Vec::new() }
    }

    /// Sends the frame of a request. What no card could send is dropped. `see` is shown the frame.
    pub(super) fn send(
        &mut self,
        chain: &Chain,
        offloads: Offloads,
        link: &mut dyn Link,
        see: impl FnOnce(&[u8]),
    ) -> Result<u32, Nonsense> {
        let len = usize::try_from(chain.readable_len()).unwrap_or(usize::MAX);
        if (HEADER_LEN + 14..=HEADER_LEN + MAX_FRAME).contains(&len) {
            if self.buffer.is_empty() {
                self.buffer = vec![0; HEADER_LEN + MAX_FRAME];
            }
            let bytes = &mut self.buffer[..len];
            chain.read_at(0, bytes)?;
            let (header, frame) = bytes.split_at(HEADER_LEN);
            let mut offload = [0; OffloadHeader::LEN];
            offload.copy_from_slice(&header[..OffloadHeader::LEN]);
            let offload = OffloadHeader::from_bytes(offload);
            if offload.is_possible(frame.len(), offloads) {
                see(frame);
                link.send(&offload, frame);
            }
        }
        Ok(0)
    }
}
