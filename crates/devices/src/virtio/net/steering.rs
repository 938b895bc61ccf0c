//! Which pair of queues a frame for the guest goes to: the one on which the guest last sent for that
//! flow, so that one of its processors has all of it.
//! Spec: VIRTIO 1.2, "Automatic receive steering in multiqueue mode".

use std::sync::atomic::{AtomicU8, Ordering};

const FLOWS: usize = 256;
const ETHERNET: usize = 14;

#[derive(Debug)]
pub(super) struct Steering {
    pairs: [AtomicU8; FLOWS],
}

impl Default for Steering {
    fn default() -> Steering {
        Steering {
            pairs: [const { AtomicU8::new(0) }; FLOWS],
        }
    }
}

impl Steering {
    /// The guest sent this frame on a pair.
    pub(super) fn learn(&self, frame: &[u8], pair: u8) {
        if let Some(flow) = flow_of(frame) {
            self.pairs[flow].store(pair, Ordering::Relaxed);
        }
    }

    /// The pair for a frame that begins like this.
    pub(super) fn choose(&self, start: &[u8], active: u16) -> usize {
        let pair = flow_of(start).map_or(0, |flow| self.pairs[flow].load(Ordering::Relaxed));
        if u16::from(pair) < active {
            usize::from(pair)
        } else {
            0
        }
    }

    pub(super) fn reset(&self) {
        for pair in &self.pairs {
            pair.store(0, Ordering::Relaxed);
        }
    }
}

/// The same for both directions of a flow.
fn flow_of(frame: &[u8]) -> Option<usize> {
    let packet = frame.get(ETHERNET..)?;
    let (addresses, transport) = match *frame.get(12..ETHERNET)? {
        [0x08, 0x00] => {
            let len = 4 * usize::from(packet.first()? & 0xf);
            (packet.get(12..20)?, packet.get(len..))
        }
        [0x86, 0xdd] => (packet.get(8..40)?, packet.get(40..)),
        _ => return None,
    };
    let ports = transport.and_then(|transport| transport.first_chunk::<4>());
    let words = addresses.as_chunks::<4>().0.iter().chain(ports);
    // Addition does not mind which of two comes first.
    let sum = words.fold(0u32, |sum, word| {
        let word = u32::from_be_bytes(*word);
        sum.wrapping_add(word).wrapping_add(word >> 16)
    });
    let mixed = (sum & 0xffff).wrapping_mul(0x9e37_79b9);
    usize::try_from(mixed >> 24).ok()
}

#[cfg(test)]
mod tests;
