//! One descriptor chain, checked as a whole before any of it is used.
//! Spec: "The Virtqueue Descriptor Table", "Indirect Descriptors", "Message Framing".

use memory::{GuestMemory, GuestRam};
use thiserror::Error;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Most descriptors in a chain. Drivers stay below their queue's size; indirect tables could hold
/// 65,536 descriptors, which no device here has a use for.
const MAX_DESCRIPTORS: usize = 1024;

/// How a driver broke the protocol beyond what the specification answers.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum Nonsense {
    #[error("a descriptor chain is empty, endless or too long")]
    Chain,
    #[error("a device-readable descriptor follows a device-writable one")]
    Order,
    #[error("a buffer lies outside RAM")]
    Address,
    #[error("a ring lies outside RAM or its index is wrong")]
    Ring,
    #[error("a buffer is too short for the request")]
    Short,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    address: u64,
    len: u32,
}

/// A request: what the device may read, then what it may write, each as one run of bytes.
#[derive(Debug)]
pub struct Chain {
    head: u16,
    memory: GuestMemory,
    readable: Vec<Span>,
    writable: Vec<Span>,
}

impl Chain {
    pub(super) fn collect(
        memory: &GuestMemory,
        mut descriptors: DescriptorChain<&GuestRam>,
    ) -> Result<Chain, Nonsense> {
        let mut chain = Chain {
            head: descriptors.head_index(),
            memory: memory.clone(),
            readable: Vec::new(),
            writable: Vec::new(),
        };
        let mut ended = false;
        for descriptor in &mut descriptors {
            let span = Span {
                address: descriptor.addr().0,
                len: descriptor.len(),
            };
            chain.check(span)?;
            if descriptor.is_write_only() {
                chain.writable.push(span);
            } else if chain.writable.is_empty() {
                chain.readable.push(span);
            } else {
                return Err(Nonsense::Order);
            }
            if chain.readable.len() + chain.writable.len() > MAX_DESCRIPTORS {
                return Err(Nonsense::Chain);
            }
            ended = !descriptor.has_next();
        }
        // The iterator ends early, without a word, on a bad index or a loop.
        if ended {
            Ok(chain)
        } else {
            Err(Nonsense::Chain)
        }
    }

    fn check(&self, span: Span) -> Result<(), Nonsense> {
        let len = usize::try_from(span.len).map_err(|_| Nonsense::Address)?;
        if len > 0
            && !self
                .memory
                .ram()
                .check_range(GuestAddress(span.address), len)
        {
            return Err(Nonsense::Address);
        }
        Ok(())
    }

    pub(super) fn head(&self) -> u16 {
        self.head
    }

    /// Bytes that the device may read.
    #[must_use]
    pub fn readable_len(&self) -> u64 {
        total(&self.readable)
    }

    /// Bytes that the device may write.
    #[must_use]
    pub fn writable_len(&self) -> u64 {
        total(&self.writable)
    }

    /// Where the buffers lie that the device may write: guest-physical address and length.
    pub(super) fn writable_buffers(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let spans = self.writable.iter();
        spans.map(|span| (span.address, u64::from(span.len)))
    }

    /// Copies readable bytes from `offset` on.
    ///
    /// # Errors
    /// When the readable part is shorter.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Nonsense> {
        check_len(&self.readable, offset, buf.len())?;
        let mut rest = buf;
        for (address, len) in pieces(&self.readable, offset, rest.len()) {
            let (piece, after) = rest.split_at_mut(len);
            let read = self.memory.ram().read_slice(piece, GuestAddress(address));
            read.map_err(|_| Nonsense::Address)?;
            rest = after;
        }
        Ok(())
    }

    /// Copies `bytes` to the writable part from `offset` on.
    ///
    /// # Errors
    /// When the writable part is shorter. Nothing is written then.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Nonsense> {
        check_len(&self.writable, offset, bytes.len())?;
        let mut rest = bytes;
        for (address, len) in pieces(&self.writable, offset, rest.len()) {
            let (piece, after) = rest.split_at(len);
            let written = self.memory.ram().write_slice(piece, GuestAddress(address));
            written.map_err(|_| Nonsense::Address)?;
            rest = after;
        }
        Ok(())
    }
}

fn check_len(spans: &[Span], offset: u64, len: usize) -> Result<(), Nonsense> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= total(spans) => Ok(()),
        _ => Err(Nonsense::Short),
    }
}

fn total(spans: &[Span]) -> u64 {
    spans.iter().map(|span| u64::from(span.len)).sum()
}

/// The guest-physical pieces of `len` bytes from `offset` on: address and length.
fn pieces(spans: &[Span], offset: u64, len: usize) -> impl Iterator<Item = (u64, usize)> + '_ {
    let mut skip = offset;
    let mut want = len;
    spans.iter().filter_map(move |span| {
        let inside = u64::from(span.len);
        if skip >= inside {
            skip -= inside;
            return None;
        }
        let start = skip;
        skip = 0;
        let len = usize::try_from(inside - start).map_or(want, |left| left.min(want));
        want -= len;
        (len > 0).then_some((span.address + start, len))
    })
}

#[cfg(test)]
mod tests;
